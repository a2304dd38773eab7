"""What comparing some pairs only has cost and saved, found by comparing a few queries with everything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ndvr.operators.metrics.agreement import Agreement, agreement
from ndvr.operators.scores.files import open_scores
from ndvr.pipeline.comparison.similarity import Comparison


@dataclass(frozen=True, kw_only=True)
class Check:
    """How the ranking agrees with that of all pairs compared, and how long that would take."""

    agreement: Agreement
    all_pairs_s: float | None  # extrapolated from what the few queries took; None when nothing was computed now
    spent_s: float | None  # what proposing and comparing took; None when parts were there from before

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        found = self.agreement
        told = [
            f"of {found.queries} queries compared with everything, the {depth} best were among those compared here in "
            f"{found.recall[depth]:.1%}; mAP with them as right: {found.ap[depth]:.4f}"
            for depth in found.recall
        ]
        if self.all_pairs_s is not None and self.spent_s:
            told.append(
                f"all pairs would take about {self.all_pairs_s:.1f} s, this took {self.spent_s:.1f} s: "
                f"{self.all_pairs_s / self.spent_s:.1f} times less"
            )
        return told


def sample_of(query_ids: Iterable[str], count: int) -> list[str]:
    """As good as random, and mostly the same when there are more to choose from."""
    return sorted(query_ids, key=lambda query_id: hashlib.sha256(query_id.encode()).hexdigest())[:count]


def check_against(
    scores: Path, whole: Comparison, close: Mapping[str, set[str]], *, n_pairs: int, spent_s: float | None
) -> Check:
    """`whole` compared the queries of `close` with everything; `close` says with whom `scores` compared them."""
    all_pairs_s = whole.compute_s / whole.pairs_computed * n_pairs if whole.pairs_computed else None
    found = agreement(_rows(whole.scores, close), _rows(scores, close), close)
    return Check(agreement=found, all_pairs_s=all_pairs_s, spent_s=spent_s)


def _rows(scores: str | Path, queries: Iterable[str]) -> dict[str, dict[str, float]]:
    """{query: {video: score}} of these queries."""
    rows: dict[str, dict[str, float]] = {query: {} for query in queries}
    for batch in open_scores(scores).batches():
        names, videos = batch.queries.to_pylist(), batch.videos.to_pylist()
        for number, name in enumerate(names):
            if name in rows:
                mine = batch.query == number
                found = zip(batch.video[mine].tolist(), batch.score[mine].tolist())
                rows[name].update((videos[video], score) for video, score in found)
    return rows
