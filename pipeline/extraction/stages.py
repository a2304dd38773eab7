"""The operators as Ray actors; writing is done by one that is an actor as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ndvr.operators.library.runs import AtWork
from ndvr.operators.video.decode import Decode
from ndvr.pipeline.settings import Setting


class DecodeActor(Decode):
    """Leaves a note of the video it has at hand, for the case that it is gone before it can say so itself."""

    def __init__(self, *, library: str, run: str, **settings: Any):
        super().__init__(run=run, **settings)
        self._note = AtWork(library, run)

    def __call__(self, videos: pa.Table) -> Iterator[pa.Table]:
        for number in range(len(videos)):
            video = videos.slice(number, 1)
            self._note.on(video["video_id"][0].as_py())
            yield from super().__call__(video)
        self._note.off()


class EmbedActor:
    """All models of the run, on this worker's GPU if it was given one.

    threads  batches a CPU computes at once; no feature depends on it, see ndvr.operators.features.embed
    """

    def __init__(self, *, settings: dict[str, Setting], threads: int):
        import torch

        from ndvr.operators.features.embed import Embed

        gpu = torch.cuda.is_available()
        # Before anything starts MKL's and OpenMP's own threads, which would only wait.
        torch.set_num_threads(1)
        # The same kernels for the same shapes, whatever was fastest when they were first met.
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        models = {method: setting.load("cuda" if gpu else "cpu", "embed") for method, setting in settings.items()}
        self._embed = Embed(models, threads=1 if gpu else threads)

    def __call__(self, pieces: pa.Table) -> pa.Table:
        return self._embed(pieces)
