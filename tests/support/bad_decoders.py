"""Decode with a decoder that misbehaves for real, in the child: the first one is replaced by a few lines of Python."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from ndvr.models.card import Frames, Mel, View
from ndvr.operators.video.decode import Decode, Job, Limits

VIEW = Frames(fps=1, resize=(96, 96), crop=96)

_SITE = """
import os, signal, time
import ndvr.operators.video.decoders as d
import ndvr.operators.video.windows as w
open_pyav, open_decord, listen = d.DECODERS["pyav"], d.DECODERS["decord"], w.listen

seen = os.open(os.path.join({folder!r}, "seen"), os.O_RDWR | os.O_CREAT | os.O_APPEND)  # not to be opened later

def first_time(name):
    known = os.pread(seen, 1 << 16, 0).decode().split()
    os.write(seen, f"{{name}} ".encode())
    return name not in known

{code}
"""


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """misbehaving(code, decoder="auto", **limits) -> Decode whose children run `code` as they start.

    There `d.DECODERS` can be changed, `w.listen`, which hears a file on its own, and `first_time(name)` is true once.
    """
    made: list[Decode] = []

    def make(code: str, decoder: str = "auto", views: dict[str, View] | None = None, **limits: float) -> Decode:
        folder = tmp_path / f"site{len(made)}"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_SITE.format(folder=str(folder), code=textwrap.dedent(code)))
        monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        jobs = {name: Job(view=view, config=f"{name}-1") for name, view in (views or {"m": VIEW}).items()}
        made.append(Decode(jobs=jobs, run="r", decoder=decoder, limits=Limits(**{"stall_s": 20, **limits})))
        return made[-1]

    yield make
    for decode in made:
        decode.close()


def rows_of(decode: Decode, path: Path, *, methods: list[str] | None = None) -> list[dict]:
    video = {"video_id": "v", "uri": str(path), "methods": methods or list(decode.jobs)}
    return [row for table in decode(pa.Table.from_pylist([video])) for row in table.to_pylist()]


BOTH = {"picture": VIEW, "sound": Mel()}
