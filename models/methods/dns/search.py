"""Coarse scores of all targets, and fine ones of those that DnS's selector doubts.

    search = Search("fine_binary")
    query, *targets = [search.signature(features) for features in videos]
    scores = search.scores(query, targets, percentage=0.05)

It is no method: which targets are looked at again depends on all others, so that a score would depend on how the
targets of a run are grouped. Features are those of `models.load("dns")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from ndvr import models
from ndvr.models.method import Part, Signature
from ndvr.models.methods.dns._selector import check_student
from ndvr.models.methods.dns.method import METHOD

_PARTS: tuple[Part, ...] = ("similarity",)


class SearchSignature(NamedTuple):
    """What is kept of a video: a signature for each of the three networks."""

    coarse: Signature
    selector: torch.Tensor  # (1,)
    fine: Signature


class Search:
    """The coarse student, the selector and one of the fine students.

    Weights of each as for `models.load`; None: the published ones that belong together.
    """

    def __init__(
        self,
        student: Literal["fine_attention", "fine_binary"] = "fine_attention",
        *,
        fine: Any = None,
        coarse: Any = None,
        selector: Any = None,
        device: str = "cpu",
        cache: str | None = None,
    ):
        check_student(student)
        self.fine = models.load("dns", fine, device, parts=_PARTS, student=student, cache=cache)
        self.coarse = models.load("dns", coarse, device, parts=_PARTS, student="coarse", cache=cache)
        self.selector = models.load_selector("dns", selector, device, student=student, cache=cache)
        self.trained = self.fine.trained and self.coarse.trained and self.selector.trained

    def signature(self, features: np.ndarray) -> SearchSignature:
        """Make the signatures of one video out of its features (T, 9, 512), T >= 1; they stay on the device."""
        return SearchSignature(*(model.signature(features) for model in (self.coarse, self.selector, self.fine)))

    def doubts(self, query: SearchSignature, targets: Sequence[SearchSignature], coarse: np.ndarray) -> np.ndarray:
        """Rate how much each target calls for the fine student, (V,) in (0, 1); `coarse` are its scores (V,)."""
        return self.selector.urgency([query.selector], [target.selector for target in targets], coarse[None])[0]

    def scores(
        self, query: SearchSignature, targets: Sequence[SearchSignature], *, percentage: float = 0.05
    ) -> np.ndarray:
        """Score all targets, (V,) float32: int(percentage * V) by fine / 2 + 1 / 2, in [0, 1], all others coarsely.

        `percentage` is a share between 0 and 1, as in the authors' code: 0.05 is 5 %.
        """
        if not targets:
            return np.zeros(0, np.float32)
        coarse = self.coarse.similarities(query.coarse, [target.coarse for target in targets])
        chosen = doubtful(self.doubts(query, targets, coarse), percentage)
        return merged(coarse, chosen, self.fine.similarities(query.fine, [targets[k].fine for k in chosen]))


def doubtful(doubts: np.ndarray, percentage: float) -> np.ndarray:
    """Find where the int(percentage * V) largest of V doubts are, largest first; of equal ones the first."""
    if not 0 <= percentage <= 1:
        raise ValueError(f"percentage {percentage!r}: give a share between 0 and 1, as 0.05 for 5 %")
    return np.argsort(-np.asarray(doubts), kind="stable")[: int(percentage * len(doubts))]


def merged(coarse: np.ndarray, chosen: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Replace coarse scores (V,) at `chosen` (P,) by their fine ones (P,), brought to their scale."""
    scores = coarse.copy()
    scores[chosen] = METHOD.to_proposer_scale(torch.from_numpy(fine)).numpy()
    return scores
