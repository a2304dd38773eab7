"""DnS's networks by name, told by the names of their tensors: three students and the selector.

Their authors can leave out blocks of a student, for ablations; so does a state dict without any tensor of one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import Card
from ndvr.models.layers.comparator import Comparator
from ndvr.models.layers.head import SimilarityHead
from ndvr.models.layers.regions import head_state
from ndvr.models.methods.dns.binary import BinaryHead
from ndvr.models.methods.dns.dns_coarse import CoarseStudent
from ndvr.models.methods.dns.dns_selector import Selector

_BLOCKS = ("attention", "transformer", "netvlad")  # of the coarse student
_WORDS = {
    "fine_attention": "the fine attention student",
    "fine_binary": "the fine binary student",
    "fine_plain": "a fine student without attention",
    "coarse": "the coarse student",
    "selector": "the selector",
}


def student_of(keys: Iterable[str]) -> str | None:
    """Which network a state dict is of, or None where nothing tells: attention alone may be of any."""
    blocks = _blocks(keys)
    if "mlp" in blocks:
        return "selector"
    if blocks & {"transformer", "netvlad"}:
        return "coarse"
    if "binarization" in blocks:
        return "fine_binary"
    if "visil_head" in blocks:
        return "fine_attention" if "attention" in blocks else "fine_plain"
    return None


def load(weights: Any, student: str, card: Card, *, cache: Any) -> tuple[str, nn.Module]:
    """Name and network: the one asked for, or for "auto" the one that the weights are of."""
    seed = random_weights.seed_of(weights)
    if seed is not None:
        name = "fine_attention" if student == "auto" else student
        network = _new(name, set(_BLOCKS))
        state, source = random_weights.seeded(network, seed), str(weights)
    else:
        state, source = head_state(weights, {"cache": cache}, card)
        name = _agreed(student, state, source=source)
        network = _new(name, _blocks(state))
    files.load_into(network, state, source=source)
    return name, network


def _agreed(wanted: str, state: files.State, *, source: str) -> str:
    """The network to build: `wanted`, or for "auto" what the tensors are of. WeightsError where they are of another."""
    found = student_of(state)
    if found == "selector" != wanted:
        where = "give it to ndvr.models.methods.dns.search.Search"
        raise files.WeightsError(f"{source} holds {_WORDS[found]}, which picks pairs and scores none; {where}")
    if wanted == "auto":
        return found or "fine_attention"
    if found not in (wanted, None):
        raise files.WeightsError(f"{source} holds {_WORDS[found]}, not {_WORDS[wanted]} that was asked for")
    return wanted


def _blocks(keys: Iterable[str]) -> set[str]:
    return {key.split(".", 1)[0] for key in keys}


def _new(student: str, blocks: set[str]) -> nn.Module:
    with torch.device("meta"):  # no point in initialising what is loaded next
        if student == "coarse":
            return CoarseStudent(**{block: block in blocks for block in _BLOCKS})
        if student == "selector":
            return Selector()
        if student == "fine_binary":
            return BinaryHead()
        return SimilarityHead(attention=None if student == "fine_plain" else "mlp", comparator=Comparator())
