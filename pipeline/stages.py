"""The operators as Ray actors: what each one sets up where it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ndvr.operators.decode import Decode, Job, Limits
from ndvr.pipeline.settings import Setting


class DecodeActor:
    """A decoder with its child process."""

    def __init__(self, *, jobs: dict[str, Job], run: str, decoder: str, limits: Limits):
        self._decode = Decode(jobs=jobs, run=run, decoder=decoder, limits=limits)

    def __call__(self, videos: pa.Table) -> Iterator[pa.Table]:
        yield from self._decode(videos)


class EmbedActor:
    """All models of the run, on this worker's GPU if it was given one."""

    def __init__(self, *, settings: dict[str, Setting], threads: int):
        # Decoders want the same cores: threads that spin while they wait for each other would take them.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch

        from ndvr.operators.embed import Embed

        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(threads)
        models = {method: setting.load(device, "embed") for method, setting in settings.items()}
        self._embed = Embed(models, windows_per_batch=256 if device == "cuda" else 32)

    def __call__(self, pieces: pa.Table) -> pa.Table:
        return self._embed(pieces)


class WriteActor:
    """The writer of shards and commits."""

    def __init__(self, *, library: Path, configs: dict[str, dict]):
        from ndvr.operators.write import Write

        self._write = Write(library, configs)

    def __call__(self, pieces: pa.Table) -> pa.Table:
        return self._write(pieces)
