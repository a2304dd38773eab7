"""DnS's selector as a method of its own: it makes signatures of videos and says which pairs to compare closely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ndvr.models.method import Method, Network, Options, Part, Signature
from ndvr.models.methods.dns import _networks as networks

_PUBLISHED = {"fine_attention": "dns_selector_cg-fg_att", "fine_binary": "dns_selector_cg-fg_bin"}


class SelectorMethod(Method):
    """The selector between the coarse student and one of the fine ones; it scores no pair."""

    def compact(self, options: Options) -> bool:
        return True

    def published(self, options: Options) -> str:
        check_student(options["student"])
        return _PUBLISHED[options["student"]]

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> torch.nn.Module:
        weights = self.published(options) if weights is None else weights
        return networks.load(weights, "selector", self.card, cache=options["cache"])[1]

    def embed(self, network: Network, windows: torch.Tensor) -> torch.Tensor:
        raise ValueError("the selector compares the features of dns; make them with that method")

    def similarities(self, network: Network, query: Signature, targets: list[Signature]) -> torch.Tensor:
        raise ValueError("the selector says who should compare a pair, not how alike it is")

    def to_proposer_scale(self, scores: torch.Tensor) -> torch.Tensor:
        """Bring scores from [-1, 1] to [0, 1], the range in which the coarse student learnt the fine ones' scores."""
        return scores / 2 + 0.5

    def urgency(
        self, network: Network, queries: Sequence[Signature], targets: Sequence[Signature], scores: torch.Tensor
    ) -> torch.Tensor:
        """Rate doubt, (Q, V) in (0, 1), by the selector's signatures, (1,) each, and the coarse scores (Q, V)."""
        return torch.stack([network(query, torch.cat(list(targets)), row) for query, row in zip(queries, scores)])


def check_student(student: str) -> None:
    """Refuse a student that no selector was made for."""
    if student not in _PUBLISHED:
        raise ValueError(f"student {student!r}: choose one of {', '.join(_PUBLISHED)}")
