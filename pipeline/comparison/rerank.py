"""From coarse to fine: a fast method scores all pairs, a slower one those that matter.

ndvr similarity QUERIES DATABASE SCORES --method s2vs --propose tca:similarity=cosine --best 5%

SCORES/proposed     score folder of the fast method
SCORES/check        score folder of the slow method on all pairs of a few queries, when asked for
SCORES/selector     what the method's selector says of each video, when it chooses
SCORES/parts        every pair once: compared by the slow method, or (*-rest-*) with the score of the fast one

Scores of the two methods are on different scales. Where the best are chosen, all others are put below the slow
method's range, at least 1 and at most 2 below, in their own order: whatever was compared ranks first, and it shows.
Where the method's selector chooses, both stand on the scale of the fast method, which learnt the slow one's scores.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndvr.operators.metrics.agreement import Agreement, agreement
from ndvr.operators.scores.files import open_scores
from ndvr.operators.scores.shortlist import count_of
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import grid
from ndvr.pipeline.comparison.inputs import Comparable, Opened, comparable, open_comparison
from ndvr.pipeline.comparison.proposals import (
    Index,
    Indexed,
    Proposals,
    Proposer,
    chosen_of,
    digest_of,
    keep_signatures,
)
from ndvr.pipeline.comparison.score_folder import copy_ids
from ndvr.pipeline.comparison.selection import Best, Doubtful
from ndvr.pipeline.comparison.similarity import Comparison, score_all, similarity
from ndvr.pipeline.notebook import as_html
from ndvr.pipeline.settings import Setting

if TYPE_CHECKING:
    from ndvr.operators.scores.cells import ChosenCell


# --- What comparing some pairs only has cost and saved, found by comparing a few queries with everything -------------


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


@dataclass(frozen=True, kw_only=True)
class Reranked:
    """What a run from coarse to fine did."""

    scores: str
    method: str
    weights: str
    proposer: str
    trained: bool
    queries: int
    videos: int
    pairs: int  # that there are
    pairs_scored: int  # by either method
    pairs_compared: int  # by the slow one
    pairs_computed: int  # of them, now
    missing_queries: int  # asked for, without features of the fast method
    missing_videos: int
    propose_s: float  # what the workers took for it now
    compare_s: float
    seconds: float  # everything but the check
    check: Check | None

    def to_json(self) -> dict[str, Any]:
        """One object for programs."""
        return asdict(self) | {"check": self.check.to_json() if self.check else None}

    def _repr_html_(self) -> str:
        return as_html(self.text(), trained=self.trained)

    def text(self) -> str:
        """A line, and two more when the result was checked."""
        share = self.pairs_compared / max(1, self.pairs)
        told = (
            f"{self.pairs_scored:,} scores of {self.queries:,} queries x {self.videos:,} videos in {self.scores}: "
            f"{self.pairs_compared:,} pairs ({share:.1%}) compared by {self.method}, "
            + ("the others left out by" if self.pairs_scored < self.pairs else "the others scored by")
            + f" {self.proposer} ({self.seconds:.1f} s)"
        )
        return "\n".join([told, *(self.check.lines() if self.check else ())])


def rerank(
    queries: str | Path,
    database: str | Path,
    scores: str | Path,
    *,
    method: str,
    propose: str,
    best: str | int | None = None,
    doubtful: str | int | None = None,
    selector: str | None = None,
    index: Index | None = None,
    check: int = 0,
    weights: str | None = None,
    options: dict[str, Any] | None = None,
    config: str | None = None,
    query_ids: Iterable[str] | str | Path | None = None,
    workers: Workers | None = None,
) -> Reranked:
    """Score all pairs with `propose` ("METHOD:KEY=VALUE,..."), those that matter with `method`, and write SCORES.

    best      compare so many videos (250) or so large a share of the database ("5%") with each query: those that
              score highest
    doubtful  instead, those of which the method's selector (its weights: `selector`) doubts the fast method's score
    index     do not score all pairs with the fast method, search its vectors or codes: "flat" exactly, "ivf" nearly.
              What is not proposed has no score at all
    check     compare so many queries with the whole database too, to say what was lost and what was saved
    Everything else as in `similarity`; running again continues, and compares only pairs that were not chosen before.
    """
    began = time.monotonic()
    force = workers or Workers()
    if (best is None) == (doubtful is None):
        raise ValueError("say how many videos to compare with each query: --best N or P%, or --doubtful P%")
    fine: dict[str, Any] = {"method": method, "weights": weights, "options": options, "config": config}
    proposer = Proposer.parse(propose)
    fast = comparable(queries, database, **asdict(proposer))
    if index is not None and not fast.model.compact:
        raise ValueError(
            f"--index searches one vector or code a video, which {propose} does not keep: leave --index out, or "
            "propose by another method"
        )
    found = comparable(queries, database, **fine)
    choice: Best | Doubtful
    if doubtful is None:
        choice = Best(found, proposer, best or "")
    else:
        choice = Doubtful(found, proposer, doubtful, selector)
    about = {"propose": asdict(proposer), "choice": choice.about, "index": index}
    opened = open_comparison(found, scores, query_ids=query_ids, memory_gb=force.memory_gb, about=about)
    ids = None if query_ids is None else list(opened.asked["queries"])
    proposed, proposals = _propose(fast, opened.folder.out / "proposed", ids, force, index)
    chosen = proposals.choose(
        count_of(choice.wanted, len(proposals.video_ids)),
        queries={video.video_id for video in opened.videos["queries"]},
        videos={video.video_id for video in opened.videos["videos"]},
        urgency=choice.urgency(proposals, opened.videos, opened.folder.out / "selector", force),
    )
    parts, computed, compare_s = _compare(opened, proposals, chosen, force, to_proposer_scale=choice.to_proposer_scale)
    parts += proposals.write_rest(opened.folder.parts, chosen, choice.rest)
    opened.folder.finish(parts, copy_ids(Path(proposed.scores), opened.folder.out), groups=opened.groups)
    seconds, n_compared = round(time.monotonic() - began, 3), sum(map(len, chosen.values()))
    checked = None
    if check:
        close = {q: {proposals.video_ids[place] for place in chosen[q]} for q in sample_of(chosen, check)}
        whole = similarity(queries, database, opened.folder.out / "check", **fine, query_ids=close, **asdict(force))
        everything = computed == n_compared and proposed.pairs_computed == proposed.pairs
        spent_s = proposed.compute_s + compare_s if everything else None
        checked = check_against(opened.folder.out, whole, close, n_pairs=proposed.pairs, spent_s=spent_s)
    return Reranked(
        scores=str(scores),
        method=method,
        weights=found.model.weights,
        proposer=propose,
        trained=found.about["trained"] and proposed.trained,
        queries=proposed.queries,
        videos=proposed.videos,
        pairs=proposed.pairs,
        pairs_scored=proposed.pairs if index is None else n_compared,
        pairs_compared=n_compared,
        pairs_computed=computed,
        missing_queries=proposed.missing_queries,
        missing_videos=proposed.missing_videos,
        propose_s=proposed.compute_s,
        compare_s=round(compare_s, 3),
        seconds=seconds,
        check=checked,
    )


def _propose(
    fast: Comparable, out: Path, query_ids: list[str] | None, workers: Workers, index: Index | None
) -> tuple[Comparison, Proposals]:
    """Let the fast method score all pairs, or keep its signatures to be searched."""
    if index is None:
        return score_all(fast, out, query_ids=query_ids, workers=workers), Proposals(out)
    opened, done = keep_signatures(fast, out, query_ids=query_ids, workers=workers)
    return done, Indexed(opened, index)


def _compare(
    opened: Opened, proposals: Proposals, chosen: Mapping[str, np.ndarray], workers: Workers, *, to_proposer_scale: bool
) -> tuple[list[str], int, float]:
    """Write the parts of the chosen pairs: their names, how many pairs were compared for it, the seconds of work."""
    folder, sides, shrunk = opened.folder, opened.sides, opened.shrunk
    folder.record(sides)
    there = folder.there()
    earlier: dict[str, list[Path]] = {}
    for name in there:
        earlier.setdefault(name[: name.rfind("-")], []).append(folder.parts / name)
    names, tasks = [], []
    columns = sides["videos"].groups
    for row in sides["queries"].groups:
        for number, pairs in chosen_of(row, columns, proposals, chosen).items():
            cell = row, columns[number]
            names.append(f"{folder.path(cell).stem}-{digest_of(*pairs)}.parquet")
            if names[-1] not in there:
                before = "-".join(shrunk.get(group.name, group.name) for group in cell)
                old = [path for known in {folder.path(cell).stem, before} for path in earlier.get(known, ())]
                tasks.append((cell, folder.parts / names[-1], (*pairs, *old)))
    if not tasks:
        return names, 0, 0.0
    make = partial(_worker, to_proposer_scale=to_proposer_scale, **opened.worker(workers.memory_gb))
    return names, *grid.run(make, tasks, workers)


def _worker(device: str, *, setting: Setting, libraries: list[Store], **settings: Any) -> ChosenCell:
    from ndvr.operators.scores.cells import ChosenCell

    return ChosenCell(setting.load(device, "similarity"), *libraries, **settings)
