"""One query against many videos, and in pieces, gives the scores of one by one and as a whole."""

import subprocess
import sys

import golden_s2vs
import numpy as np
import pytest
import torch

from ndvr.models import weights as files
from ndvr.models.layers import chamfer
from ndvr.models.layers import packed_comparator as strips
from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.head import SimilarityHead

ATOL = 1e-5  # promised by `Model.similarities`

PADDINGS = ("zeros", "replicate")  # S2VS and DnS; ViSiL, AuSiL and TCA


def walk(length: int, seed: int, *, regions: int = 9, dims: int = 64) -> torch.Tensor:
    """A walk around one place in feature space: neighbours alike, like a video."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((length, regions, dims)) + 2 * rng.standard_normal((regions, dims))
    return torch.nn.functional.normalize(torch.from_numpy(steps).float(), dim=-1)


def head_of(padding: str, symmetric: bool) -> SimilarityHead:
    """A head for signatures of 64 numbers a region."""
    head = SimilarityHead(64, attention=None, comparator=Comparator(padding=padding), symmetric=symmetric)
    drawn = golden_s2vs.state(golden_s2vs.PLAIN, 103)
    drawn["visil_head.fconv.weight"] /= 6  # so that few scores are clipped, which would hide wrong ones
    files.load_into(head, {key: torch.from_numpy(value) for key, value in drawn.items()}, source="the recipe")
    return head.eval()


@pytest.mark.slow
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("regions", [9, 1])
@pytest.mark.parametrize("symmetric", [False, True])
def test_many_targets_of_very_different_lengths_score_as_one_by_one(padding, regions, symmetric):
    head = head_of(padding, symmetric)
    targets = [walk(n, n, regions=regions) for n in [*range(4, 24), 61, 112, 113, 250, 10, 10]]
    for length in (4, 5, 6, 7, 10, 47):
        query = walk(length, 99, regions=regions)
        alone = [head.one_by_one(query, target).item() for target in targets]
        assert np.std(alone) > 0.02
        np.testing.assert_allclose(head.similarities(query, targets), alone, atol=ATOL)


@pytest.mark.slow
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("tile_frames", [21, 24, 64])
def test_tiles_score_as_the_whole(padding, symmetric, tile_frames):
    head = head_of(padding, symmetric)
    query, targets = walk(83, 1), [walk(130, 2), walk(9, 3), walk(25, 4)]
    found = strips.similarities(
        query, targets, head.visil_head, rows=head.rows, symmetric=symmetric, tile_frames=tile_frames
    )
    whole = [head.one_by_one(query, target) for target in targets]
    np.testing.assert_allclose(found, torch.stack(whole), atol=ATOL)


@pytest.mark.parametrize("padding", PADDINGS)
def test_many_strips_score_as_one(padding, monkeypatch):
    head = head_of(padding, False)
    query, targets = walk(12, 1), [walk(n, n) for n in (9, 40, 4, 5, 17, 8)]
    together = head.similarities(query, targets)
    monkeypatch.setitem(strips.STRIP_CELLS, "cpu", 12 * 30)  # thirty rows a strip: two short targets, or a long one
    np.testing.assert_allclose(head.similarities(query, targets), together, atol=ATOL)


def test_frame_similarities_can_be_of_anything_that_can_be_cut_in_time():
    codes = torch.tensor([[3], [1], [4], [1], [5], [9], [2], [6]], dtype=torch.uint8)

    def rows(query, targets):
        return (torch.cat(list(targets)) == query.T).float()

    found = strips.similarities(codes[:3], [codes, codes[3:]], None, rows=rows)
    np.testing.assert_allclose(found, [1, 1 / 3])  # of 3, 1, 4 only the 1 is in the rest


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("block", ["BLOCK_BYTES", "JOINED_BYTES"])
def test_frame_similarities_in_blocks_are_those_of_the_definition(monkeypatch, symmetric, block):
    # Three target frames at a time, of products or of vectors.
    bytes_of = {"BLOCK_BYTES": 81 * 13 * 4 * 3, "JOINED_BYTES": 9 * 64 * 4 * 3}
    monkeypatch.setitem(getattr(chamfer, block), "cpu", bytes_of[block])
    query, targets = walk(13, 1), [walk(2, 2), walk(8, 3), walk(1, 4)]
    products = torch.einsum("tod,upd->utop", query, torch.cat(targets))
    wanted = products.amax(3).mean(2)
    if symmetric:
        wanted = (wanted + products.amax(2).mean(2)) / 2
    np.testing.assert_allclose(chamfer.frame_rows(query, targets, symmetric=symmetric), wanted, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("padding", PADDINGS)
def test_memory_does_not_grow_with_the_matrix(padding):
    # 25 min against 65 min: all region products take 1.9 GB, the first convolution of the whole matrix 0.75 GB.
    code = f"""
import resource, torch
from ndvr.models.layers import comparator
from ndvr.models.layers import packed_comparator as strips
torch.set_num_threads(1)
query, target, cnn = torch.randn(1500, 9, 4), torch.randn(3900, 9, 4), comparator.Comparator(padding="{padding}")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
with torch.inference_mode():
    strips.similarities(query, [target], cnn)
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert int(run.stdout) < 500_000  # kB; a tile of 1024 x 1024 takes 0.2 GB
