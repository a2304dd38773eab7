"""The reference numbers in `golden/losses.npz`, and their inputs: drawn again from their seeds, padded and masked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import golden_inputs
import golden_s2vs
import numpy as np
import torch
from places import GOLDEN_FOLDER

from ndvr import models
from ndvr.models.layers.head import SimilarityHead
from ndvr.models.training import batches as training

GOLDEN = np.load(GOLDEN_FOLDER / "losses.npz")
ATOL = 1e-5  # of numbers near 1
RTOL = 1e-6  # float32 sums of many terms, in another order than the authors'

# File of the full reference -> the beginnings of the names taken from it, all where there are none.
SOURCES: dict[str, tuple[str, ...]] = {
    "s2vs/s2vs_training": (),
    "s2vs/s2vs_similarity": ("att/forward", "att/masked/"),
    "s2vs/dns_losses": (),
    "s2vs/visil_similarity": ("loss/",),
    "s2vs/dns_fg_similarity": tuple(f"{s}/{p}/" for s in ("fg_att", "fg_bin", "fg_none") for p in ("train", "masked")),
    "s2vs/dns_cg": ("cg/train_nodropout_gh",),
    "s2vs/dns_selector": ("index_batched_masked",),
    "tca/circle_loss": (),
    "tca/moco_m0_t1": (),
    "tca/moco_m999_t07": (),
    "tca/similarity": ("q", "d", "video_", "tn"),
    "c3dhash/triplet_loss": (),
}
Padded = tuple[torch.Tensor, torch.Tensor]


def clips() -> dict[str, torch.Tensor]:
    """Clips a..h, (T, 9, 512), repeated until there are four frames."""
    found = {}
    for clip, features in golden_inputs.region_features().items():
        while len(features) < 4:
            features = np.concatenate([features, features])
        found[clip] = torch.from_numpy(features)
    return found


def forward_batch() -> torch.Tensor:
    """(4, 8, 9, 512)."""
    found = clips()
    return torch.stack([found["g"][0:8], found["h"][0:8], found["g"][2:10], found["h"][5:13]])


def training_batch() -> torch.Tensor:
    """(6, 8, 9, 512): three weak views, then three strong ones."""
    found = clips()
    weak = [found["g"][0:8], found["h"][0:8], found["f"][[0, 1, 2, 3, 4, 5, 6, 0]]]
    return torch.stack([*weak, found["g"][2:10], found["h"][5:13], found["h"][1:9]])


def padded(names: Sequence[str], length: int) -> Padded:
    """Clips with zeros at their ends, (N, length, 9, 512), and their masks (N, length)."""
    found = clips()
    features, mask = torch.zeros(len(names), length, 9, 512), torch.zeros(len(names), length)
    for k, name in enumerate(names):
        features[k, : len(found[name])] = found[name]
        mask[k, : len(found[name])] = 1
    return features, mask


def frames(seed: int, lengths: Sequence[int], longest: int = 6, width: int = 32) -> list[torch.Tensor]:
    """Videos of TCA's memory bank, (T, width) unit rows, without the padding that the authors mask away."""
    rng, videos = np.random.default_rng(seed), []
    for length in lengths:
        rows = rng.standard_normal((1, width)) + 0.8 * rng.standard_normal((min(length, longest), width))
        videos.append(torch.from_numpy((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)))
    return videos


def reference(folder: Path) -> dict[str, np.ndarray]:
    """What losses.npz holds, taken from the full reference files in `folder`."""
    found = {}
    for file, starts in SOURCES.items():
        arrays = np.load(folder / f"{file}.npz")
        keys = [key for key in arrays if not starts or key.startswith(starts)]
        found |= {f"{file.rpartition('/')[2]}/{key}": arrays[key] for key in keys}
    return found


def golden(key: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(GOLDEN[key]))


def close(found: torch.Tensor | float, key: str, *, rtol: float = RTOL, atol: float = ATOL) -> None:
    found = found.detach() if isinstance(found, torch.Tensor) else found
    np.testing.assert_allclose(found, GOLDEN[key], rtol=rtol, atol=atol)


def network(kind: str, seed: int) -> SimilarityHead:
    return models.load("s2vs", golden_s2vs.state(golden_s2vs.S2VS[kind], seed)).network("similarity")


def all_pairs(head: SimilarityHead, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    prepared = training.prepare(head, batch)
    return training.compare(head, prepared[:, None], prepared[None])
