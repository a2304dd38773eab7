"""Packed binary codes give what the authors' float codes give, to the last bit."""

import golden_dns
import golden_inputs
import numpy as np
import pytest
import torch
from places import GOLDEN_FOLDER

from ndvr import models
from ndvr.models.layers import chamfer
from ndvr.models.methods.dns import _binary as binary_codes


@pytest.fixture(scope="module")
def model():
    return models.load("dns", golden_dns.state("fg_bin"))


def codes(length: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (length, 9, 64), dtype=np.uint8))


def test_packed_codes_take_64_bytes_a_region_and_hold_the_signs(model):
    signature = model.signature(golden_inputs.region_features()["e"])
    assert signature.shape == (5, 9, 64) and signature.dtype == torch.uint8
    authors = np.load(GOLDEN_FOLDER / "s2vs.npz")["bin/index/e"]  # of the same network
    np.testing.assert_array_equal(binary_codes.unpack(signature), authors)
    zeros = model.signature(np.zeros((4, 9, 512), np.float32))
    assert (binary_codes.unpack(zeros) == 1).all()  # the sign of an exact zero


def test_codes_score_as_float_signs_to_the_last_bit(model, monkeypatch):
    query, targets = codes(13), [codes(n, n) for n in (4, 21, 8)]
    expected = chamfer.frame_rows(*unpacked(query, targets), scale=1 / 512)
    assert torch.equal(binary_codes.frame_rows(query, targets), expected)
    monkeypatch.setitem(binary_codes.BLOCK_BYTES, "cpu", 81 * 13 * 4 * 3)  # three target frames at a time
    assert torch.equal(binary_codes.frame_rows(query, targets), expected)

    network = model.network("similarity")
    scores = network.similarities(query, targets)
    monkeypatch.setattr(network, "rows", lambda q, t: chamfer.frame_rows(*unpacked(q, t), scale=1 / 512))
    assert torch.equal(network.similarities(query, targets), scores)


def unpacked(query: torch.Tensor, targets: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    return binary_codes.unpack(query), [binary_codes.unpack(target) for target in targets]


def test_popcount_and_the_half_precision_product_of_gpus_count_the_same():
    block, columns = codes(6, 1), codes(5, 2).transpose(0, 1).reshape(-1, 64)
    counted, multiplied = (
        dots(block, columns, 5) for dots in (binary_codes.dots_by_popcount, binary_codes.dots_by_product)
    )
    assert torch.equal(counted, multiplied)


def test_binary_scores_of_many_targets_are_those_one_by_one(model):
    targets = [model.signature(golden_dns.walk(n, n)) for n in (1, 4, 5, 9, 30, 61, 112)]
    query = model.signature(golden_dns.walk(10, 99))
    alone = [model.network("similarity").one_by_one(query, target).item() for target in targets]
    np.testing.assert_allclose(model.similarities(query, targets), alone, atol=1e-5)
