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
from ndvr.models.method import Method, Model, Network, Options, Part, Signature
from ndvr.models.methods.dns import networks as dns_students

_SELECTORS = {"fine_attention": "dns_selector_cg-fg_att", "fine_binary": "dns_selector_cg-fg_bin"}
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
        _check_student(student)
        self.fine = models.load("dns", fine, device, parts=_PARTS, student=student, cache=cache)
        self.coarse = models.load("dns", coarse, device, parts=_PARTS, student="coarse", cache=cache)
        self.doubt = load_selector(student, selector, device, cache=cache)
        self.selector = self.doubt.network("similarity")
        self.trained = self.fine.trained and self.coarse.trained and self.doubt.trained

    @torch.inference_mode()
    def signature(self, features: np.ndarray) -> SearchSignature:
        """The signatures of one video's features (T, 9, 512), T >= 1, kept on the device."""
        coarse, fine = self.coarse.signature(features), self.fine.signature(features)  # which check the features
        own = self.selector.signature(torch.as_tensor(np.array(features), device=self.fine.device).float())
        return SearchSignature(coarse, own, fine)

    @torch.inference_mode()
    def doubts(self, query: SearchSignature, targets: Sequence[SearchSignature], coarse: np.ndarray) -> np.ndarray:
        """How much each target calls for the fine student, (V,) float32 in (0, 1); `coarse` are its scores (V,)."""
        own = torch.cat([target.selector for target in targets])
        return self.selector(query.selector, own, torch.as_tensor(coarse, device=own.device)).cpu().numpy()

    def scores(
        self, query: SearchSignature, targets: Sequence[SearchSignature], *, percentage: float = 0.05
    ) -> np.ndarray:
        """(V,) float32: of int(percentage * V) targets fine / 2 + 1 / 2 in [0, 1], of all others the coarse score.

        `percentage` is a share between 0 and 1, as in the authors' code: 0.05 is 5 %.
        """
        if not targets:
            return np.zeros(0, np.float32)
        coarse = self.coarse.similarities(query.coarse, [target.coarse for target in targets])
        chosen = doubtful(self.doubts(query, targets, coarse), percentage)
        return merged(coarse, chosen, self.fine.similarities(query.fine, [targets[k].fine for k in chosen]))


class _Doubt(Method):
    """The selector by itself, for a `Model` that makes its signatures; it scores no pair."""

    def compact(self, options: Options) -> bool:
        return True

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> torch.nn.Module:
        name = _SELECTORS[options["student"]] if weights is None else weights
        return dns_students.load(name, "selector", self.card, cache=options["cache"])[1]

    def embed(self, network: Network, windows: torch.Tensor) -> torch.Tensor:
        raise ValueError("the selector compares the features of dns; make them with that method")

    def signature(self, network: Network, features: torch.Tensor) -> torch.Tensor:
        """(T, 9, 512) -> (1,)."""
        return network.signature(features)

    def similarities(self, network: Network, query: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
        raise ValueError("the selector says who should compare a pair, not how alike it is")


def load_selector(student: str, weights: Any = None, device: str = "cpu", *, cache: str | None = None) -> Model:
    """The selector between the coarse student and a fine one: signatures (1,) by `signature`, doubts by `doubts_of`."""
    _check_student(student)
    method = _Doubt(models.card("dns"))
    options = {"student": student, "cache": cache}
    network = method.build(weights, options, part="similarity", fetch=True)
    label = str(_SELECTORS[student] if weights is None else weights)
    return Model("dns_selector", method, {"similarity": network}, options=options, device=device, weights=label)


@torch.inference_mode()
def doubts_of(selector: Model, queries: np.ndarray, targets: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """(Q, V) float32 in (0, 1) from the selector's signatures (Q, 1), (V, 1) and the coarse scores (Q, V)."""
    network = selector.network("similarity")
    own, theirs, scores = (
        torch.as_tensor(np.array(array), device=selector.device) for array in (queries, targets[:, 0], coarse)
    )
    return torch.stack([network(query, theirs, row) for query, row in zip(own, scores)]).cpu().numpy()


def _check_student(student: str) -> None:
    if student not in _SELECTORS:
        raise ValueError(f"student {student!r}: choose one of {', '.join(_SELECTORS)}")


def doubtful(doubts: np.ndarray, percentage: float) -> np.ndarray:
    """Where the int(percentage * V) largest of V doubts are, largest first; of equal ones those that come first."""
    if not 0 <= percentage <= 1:
        raise ValueError(f"percentage {percentage!r}: give a share between 0 and 1, as 0.05 for 5 %")
    return np.argsort(-np.asarray(doubts), kind="stable")[: int(percentage * len(doubts))]


def merged(coarse: np.ndarray, chosen: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Coarse scores (V,) where those at `chosen` (P,) are replaced by their fine ones (P,), from [-1, 1] to [0, 1].

    That is the range in which the coarse student learnt the fine scores.
    """
    scores = coarse.copy()
    scores[chosen] = fine / 2 + 0.5
    return scores
