"""The embedding operator as a Ray actor; Decode and Write are actors as they are."""

from __future__ import annotations

import os

import pyarrow as pa

from ndvr.pipeline.settings import Setting


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
