"""JSON that is damaged or made by hand ends in a sentence that names its file, never in a traceback."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from ndvr.operators.storage.sealed import CHECKSUM
from ndvr.pipeline.cli import main

COMPARED = ("--method", "csl3d", "--workers", "0", "--quiet")
WRONG = (None, [], {}, "x", -1, 10**30, float("nan"), [None], {"a": None})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A library, its scores and pairs, a record of a run, and what a search says of itself."""
    folder = tmp_path_factory.mktemp("json")
    (folder / "f").mkdir()
    for number in range(3):
        np.save(folder / "f" / f"v{number}.npy", np.random.default_rng(number).standard_normal((2, 768)))
    library = str(folder / "lib")
    for command in (
        ("import", str(folder / "f"), library, "--method", "csl3d", "--quiet"),
        ("similarity", library, library, str(folder / "scores"), *COMPARED),
        ("dedupe", library, str(folder / "pairs"), "--top-k", "1", *COMPARED),
    ):
        assert CliRunner().invoke(main, command).exit_code == 0
    record = {"run": "r1", "library": "lib", "settings": {}, "configs": {}, "started": "2026", "seconds": {}}
    record["stages"] = [{"stage": "decode", "workers": 1, "unit": "frames"} | dict.fromkeys(_NUMBERS, 1.0)]
    record["counts"] = {"done": 1, "failed": {"io": 1}, "windows": 3}
    (folder / "lib" / "runs" / "r1.json").write_text(json.dumps(record))
    (folder / "matches").mkdir()
    (folder / "matches" / "search.json").write_text(json.dumps({"library": library, "config": "c", "top": 10}))
    return folder


_NUMBERS = ("busy_s", "utilisation", "share", "count", "per_s")
READERS = {
    "scores/scores.json": [("report", "scores", "page.html"), ("evaluate", "scores", "--truth", "truth.csv")],
    "pairs/pairs.json": [("review", "lib", "pairs", "--write-plan", "plan.csv")],
    "matches/search.json": [("report", "matches", "page.html")],
    "lib/runs/r1.json": [("show", "lib", "--runs")],
    "lib/configs/*.json": [("show", "lib")],
    "lib/library.json": [("fsck", "lib", "--quiet")],
}


def variants(value):
    """Another value as a whole, and each key missing or of another kind."""
    yield from ([], {}, float("nan"))
    for number, key in enumerate(sorted(value)):
        yield {name: each for name, each in value.items() if name != key}
        yield value | {key: WRONG[number % len(WRONG)]}
        yield value | {key: WRONG[(number + 4) % len(WRONG)]}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_no_json_whatever_it_says_is_a_traceback(place, monkeypatch, name):
    monkeypatch.chdir(place)
    (place / "truth.csv").write_text("query_id,video_id\nv0,v1\n")
    (path,) = place.glob(name)
    whole, seal = path.read_bytes(), path.with_suffix(".sha256")
    sealed = seal.read_bytes() if seal.exists() else None
    value = {key: each for key, each in json.loads(whole).items() if key != CHECKSUM}
    seal.unlink(missing_ok=True)  # who may write the one may write the other
    refused = 0
    for variant in variants(value):
        path.write_text(json.dumps(variant))
        for command in READERS[name]:
            done = CliRunner().invoke(main, command)
            assert done.exception is None or isinstance(done.exception, SystemExit), (variant, command, done.exception)
            if "Error" in done.output:
                refused += 1
                assert path.parent.name in done.output, (variant, command, done.output)
    path.write_bytes(whole)
    if sealed is not None:
        seal.write_bytes(sealed)
    assert refused > 5
