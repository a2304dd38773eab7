"""Chamfer similarity of sets of vectors is that of the definition, however the work is cut."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ndvr.models.layers import chamfer as layer
from ndvr.models.layers.chamfer import chamfer

KINDS = [{}, {"symmetric": True}, {"top_k": 3}]
ATOL = 1e-6  # float32 sums of 64 products, in another order


def unit_vectors(count: int, seed: int, dims: int = 64) -> torch.Tensor:
    drawn = np.random.default_rng(seed).standard_normal((count, dims))
    return torch.nn.functional.normalize(torch.from_numpy(drawn), dim=1).float()


def by_definition(query, target, *, symmetric=False, top_k=None) -> float:
    products = query.double() @ target.double().t()
    best = products.amax(1)
    if top_k:
        return best.sort(descending=True).values[:top_k].mean().item()
    return ((best.mean() + products.amax(0).mean()) / 2 if symmetric else best.mean()).item()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("block_vectors", "query_vectors"), [(16384, 1024), (16384, 5), (7, 1024), (7, 5), (1, 1)])
def test_scores_of_any_lengths_and_cuts_are_those_of_the_definition(monkeypatch, kind, block_vectors, query_vectors):
    monkeypatch.setitem(layer.BLOCK_BYTES, "cpu", block_vectors * 64 * 4)
    monkeypatch.setattr(layer, "QUERY_VECTORS", query_vectors)
    targets = [unit_vectors(length, seed) for seed, length in enumerate((1, 2, 7, 8, 30, 1, 1, 120, 4, 5))]
    for length in (1, 2, 3, 4, 13, 50):
        query = unit_vectors(length, 99 + length)
        wanted = [by_definition(query, target, **kind) for target in targets]
        np.testing.assert_allclose(chamfer(query, targets, **kind), wanted, atol=ATOL)


def test_the_best_of_the_query_lies_anywhere():
    query, target = unit_vectors(1, 0), unit_vectors(40, 1)
    for place in range(40):
        moved = target.clone()
        moved[place] = query[0]
        assert chamfer(query, [target, moved, target])[1].item() == pytest.approx(1, abs=ATOL)


def test_nothing_to_compare_with_gives_no_scores():
    assert chamfer(unit_vectors(3, 0), []).shape == (0,)


def test_the_best_few_of_the_query_have_no_symmetric_form():
    with pytest.raises(ValueError, match="top_k=3 looks for the query in the target"):
        chamfer(unit_vectors(3, 0), [unit_vectors(3, 1)], symmetric=True, top_k=3)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_lengths():
    # 3000 vectors against 100,000, once in one video and once in many: all products would take 1.2 GB.
    code = """
import resource, torch
from ndvr.models.layers.chamfer import chamfer
torch.set_num_threads(1)
query, target = torch.randn(3000, 8), torch.randn(100_000, 8)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
with torch.inference_mode():
    chamfer(query, [target], symmetric=True)
    chamfer(query, target.split(50), symmetric=True)
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert int(run.stdout) < 100_000  # kB
