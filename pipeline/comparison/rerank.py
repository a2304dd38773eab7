"""From coarse to fine: a fast method scores all pairs, a slower one those that matter.

ndvr similarity QUERIES DATABASE SCORES --method s2vs --propose tca:similarity=cosine --best 5%

SCORES/proposed     score folder of the fast method
SCORES/check        score folder of the slow method on all pairs of a few queries, made by `spot_check`
SCORES/selector     what the method's selector says of each video, when it chooses
SCORES/parts        every pair once: compared by the slow method, or (*-rest-*) with the score of the fast one

Scores of the two methods are on different scales. Where the best are chosen, all others are put below the slow
method's range, at least 1 and at most 2 below, in their own order: whatever was compared ranks first, and it shows.
Where the method's selector chooses, both stand on the scale of the fast method, which learnt the slow one's scores.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndvr.operators.metrics.agreement import Agreement, agreement
from ndvr.operators.scores.files import open_scores
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison import _grid as grid
from ndvr.pipeline.comparison._proposals import Chosen, Index, Proposals, chosen_pairs, digest_of, propose
from ndvr.pipeline.comparison._score_folder import copy_ids, one_writer, write_identical
from ndvr.pipeline.comparison.inputs import (
    Inputs,
    MethodSpec,
    Scored,
    ScoreGrid,
    check_inputs,
    leaving_out_lost,
    open_grid,
)
from ndvr.pipeline.comparison.selection import Selection
from ndvr.pipeline.comparison.similarity import score_all
from ndvr.pipeline.notebook import as_html
from ndvr.pipeline.settings import Setting

if TYPE_CHECKING:
    from ndvr.operators.scores.cells import ChosenCell


@dataclass(frozen=True, kw_only=True)
class Methods:
    """Both methods on the same libraries, and what decides which pairs the slow one compares.

    ValueError when they do not fit each other.
    """

    slow: Inputs
    fast: Inputs
    proposer: MethodSpec  # of `fast`
    selection: Selection
    index: Index | None

    def __post_init__(self) -> None:
        if self.index is not None and not self.fast.model.compact:
            raise ValueError(
                f"--index searches one vector or code a video, which {self.proposer} does not keep: leave --index out, "
                "or propose by another method"
            )
        self.selection.check(self.slow, self.proposer)

    def open(self, scores: str | Path, query_ids: Iterable[str] | str | Path | None, workers: Workers) -> ScoreGrid:
        """Make or open SCORES, in the groups of the slow method."""
        decisive = {"propose": asdict(self.proposer), "choice": self.selection.settings, "index": self.index}
        return open_grid(self.slow, scores, query_ids=query_ids, workers=workers, decisive=decisive)


@dataclass(frozen=True, kw_only=True)
class ComparedParts:
    """Parts of SCORES that hold the chosen pairs."""

    names: list[str]
    computed: int  # pairs that were compared for them now
    seconds: float  # of work


@dataclass(frozen=True, kw_only=True)
class Reranked(Scored):
    """What a run from coarse to fine did; `method` is the slow one, queries and videos are those of the fast one."""

    proposer: str
    pairs_scored: int  # by either method
    pairs_compared: int  # by the slow one
    pairs_computed: int  # of them, now
    propose_s: float  # what the workers took for it now
    compare_s: float
    methods: Methods = field(repr=False)
    proposals: Proposals = field(repr=False)
    chosen: Chosen = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Make one flat object for programs."""
        return {key: value for key, value in vars(self).items() if key not in ("methods", "proposals", "chosen")}

    def _repr_html_(self) -> str:
        return as_html(self.text(), trained=self.trained)

    def text(self) -> str:
        """Write a line for people."""
        share = self.pairs_compared / max(1, self.pairs)
        return (
            f"{self.pairs_scored:,} scores of {self.queries:,} queries x {self.videos:,} videos in {self.scores}: "
            f"{self.pairs_compared:,} pairs ({share:.1%}) compared by {self.method}, "
            + ("the others left out by" if self.pairs_scored < self.pairs else "the others scored by")
            + f" {self.proposer} ({self.seconds:.1f} s)"
        )


def rerank(
    queries: str | Path,
    database: str | Path,
    scores: str | Path,
    *,
    method: MethodSpec,
    proposer: MethodSpec,
    selection: Selection,
    index: Index | None = None,
    query_ids: Iterable[str] | str | Path | None = None,
    workers: Workers | None = None,
    strict: bool = False,
) -> Reranked:
    """Score all pairs with `proposer`, a fast method, those that matter with `method`, and write SCORES.

    Check that all fits; propose; choose the pairs that matter; compare them; put all scores in force.
    Libraries and `query_ids` are as in `similarity`; running again compares only pairs that were not chosen before.

    selection  Best("5%") or Doubtful("5%"): which videos are compared with each query
    strict     features that are missing or damaged are Damaged; otherwise their videos are left out by name
    index      do not score all pairs with the fast method, search its vectors or codes: "flat" exactly, "ivf" nearly.
               What is not proposed has no score at all
    """
    began, workers = time.monotonic(), workers or Workers()
    inputs = [check_inputs(queries, database, spec, strict=strict) for spec in (method, proposer)]
    methods = Methods(slow=inputs[0], fast=inputs[1], proposer=proposer, selection=selection, index=index)
    ids = None if query_ids is None else list(inputs[0].pick(query_ids))

    with one_writer(scores, "ndvr similarity --propose") as lease:
        crew = replace(workers, lease=lease)

        def work(slow: Inputs, fast: Inputs) -> Reranked:
            return _rerank(replace(methods, slow=slow, fast=fast), scores, query_ids=ids, workers=crew)

        done = leaving_out_lost(work, *inputs, strict=strict)
    return replace(done, seconds=round(time.monotonic() - began, 3))


def _rerank(methods: Methods, scores: str | Path, *, query_ids: list[str] | None, workers: Workers) -> Reranked:
    """Do the work of `rerank`."""
    selection, score_grid = methods.selection, methods.open(scores, query_ids, workers)
    proposed = score_grid.folder.out / "proposed"
    proposals = propose(methods.fast, proposed, query_ids=query_ids, workers=workers, index=methods.index)
    chosen = selection.choose(proposals, score_grid, workers)
    compared = compare_chosen(score_grid, proposals, chosen, workers, on_proposer_scale=selection.on_proposer_scale)
    write_scores(score_grid, proposals, chosen, compared, methods=methods)
    return _report(score_grid, proposals, chosen, compared, methods=methods)


def compare_chosen(
    score_grid: ScoreGrid, proposals: Proposals, chosen: Chosen, workers: Workers, *, on_proposer_scale: bool
) -> ComparedParts:
    """Write the parts of the chosen pairs, unless they are there; pairs that earlier parts have are not compared."""
    folder, sides, shrunk = score_grid.folder, score_grid.sides, score_grid.shrunk
    folder.record(sides)
    written = folder.written()
    earlier: dict[str, list[Path]] = {}
    for name in written:
        earlier.setdefault(name[: name.rfind("-")], []).append(folder.parts / name)
    names, tasks = [], []
    columns = sides["videos"].groups
    for row in sides["queries"].groups:
        for number, pairs in chosen_pairs(row, columns, proposals, chosen).items():
            cell = row, columns[number]
            names.append(f"{folder.path(cell).stem}-{digest_of(*pairs)}.parquet")
            if names[-1] not in written:
                before = "-".join(shrunk.get(group.name, group.name) for group in cell)
                old = [path for known in {folder.path(cell).stem, before} for path in earlier.get(known, ())]
                tasks.append((cell, folder.parts / names[-1], (*pairs, *old)))
    if not tasks:
        return ComparedParts(names=names, computed=0, seconds=0.0)
    make = partial(_worker, to_proposer_scale=on_proposer_scale, **score_grid.worker(workers.memory_gb))
    computed, seconds = grid.run(make, tasks, score_grid.inputs.hire(workers))
    return ComparedParts(names=names, computed=computed, seconds=seconds)


def _worker(device: str, *, setting: Setting, libraries: list[Store], **settings: Any) -> ChosenCell:
    from ndvr.operators.scores.cells import ChosenCell

    return ChosenCell(setting.load(device, "similarity"), *libraries, **settings)


def write_scores(
    score_grid: ScoreGrid, proposals: Proposals, chosen: Chosen, compared: ComparedParts, *, methods: Methods
) -> None:
    """Write the scores of all pairs that were not chosen, then put them and the compared ones in force together."""
    folder, cards = score_grid.folder, (methods.slow.model.card, methods.fast.model.card)
    others = proposals.write_others(folder.parts, chosen, lambda scores: methods.selection.scale_others(scores, *cards))
    ids = copy_ids(Path(proposals.report.scores), folder.out)
    folder.finish([*compared.names, *others], ids, groups=score_grid.groups)
    write_identical(folder.out, score_grid.entries)


def _report(
    score_grid: ScoreGrid,
    proposals: Proposals,
    chosen: Chosen,
    compared: ComparedParts,
    *,
    methods: Methods,
) -> Reranked:
    proposed, n_compared = proposals.report, sum(map(len, chosen.values()))
    return Reranked(
        scores=str(score_grid.folder.out),
        method=methods.slow.model.name,
        weights=methods.slow.model.weights,
        proposer=str(methods.proposer),
        trained=methods.slow.trained and proposed.trained,
        queries=proposed.queries,
        videos=proposed.videos,
        pairs=proposed.pairs,
        pairs_scored=proposed.pairs if methods.index is None else n_compared,
        pairs_compared=n_compared,
        pairs_computed=compared.computed,
        missing_queries=proposed.missing_queries,
        missing_videos=proposed.missing_videos,
        too_long=tuple(sorted({*score_grid.too_long, *proposed.too_long})),
        lost=tuple(sorted({*score_grid.lost, *proposed.lost})),
        propose_s=proposed.compute_s,
        compare_s=round(compared.seconds, 3),
        seconds=0.0,
        methods=methods,
        proposals=proposals,
        chosen=chosen,
    )


# --- What comparing some pairs only has cost and saved, found by comparing a few queries with everything -------------


@dataclass(frozen=True, kw_only=True)
class SpotCheck:
    """How the ranking agrees with that of all pairs compared, and how long that would take."""

    agreement: Agreement
    all_pairs_s: float | None  # extrapolated from what the few queries took; None when nothing was computed now
    spent_s: float | None  # what proposing and comparing took; None when parts were there from before

    def to_json(self) -> dict[str, Any]:
        """Make one object for programs."""
        return asdict(self)

    def text(self) -> str:
        """Write two or three lines for people."""
        agreed = self.agreement
        lines = [
            f"of {agreed.queries} queries compared with everything, the {depth} best were among those compared here in "
            f"{agreed.recall[depth]:.1%}; mAP with them as right: {agreed.ap[depth]:.4f}"
            for depth in agreed.recall
        ]
        if self.all_pairs_s is not None and self.spent_s:
            lines.append(
                f"all pairs would take about {self.all_pairs_s:.1f} s, this took {self.spent_s:.1f} s: "
                f"{self.all_pairs_s / self.spent_s:.1f} times less"
            )
        return "\n".join(lines)


def spot_check(reranked: Reranked, n_queries: int, *, workers: Workers | None = None) -> SpotCheck:
    """Compare a few queries of a finished run with the whole database, to say what was lost and what was saved."""
    proposed, video_ids = reranked.proposals.report, reranked.proposals.video_ids
    compared_with = {
        query_id: {video_ids[place] for place in reranked.chosen[query_id]}
        for query_id in pick_queries(reranked.chosen, n_queries)
    }
    folder = Path(reranked.scores) / "check"
    with one_writer(folder, "ndvr similarity --check") as lease:
        crew = replace(workers or Workers(), lease=lease)
        whole = score_all(reranked.methods.slow, folder, query_ids=compared_with, workers=crew)
    all_now = reranked.pairs_computed == reranked.pairs_compared and proposed.pairs_computed == proposed.pairs
    return SpotCheck(
        agreement=agreement(
            _scores_of(whole.scores, compared_with), _scores_of(reranked.scores, compared_with), compared_with
        ),
        all_pairs_s=whole.compute_s / whole.pairs_computed * proposed.pairs if whole.pairs_computed else None,
        spent_s=reranked.propose_s + reranked.compare_s if all_now else None,
    )


def pick_queries(query_ids: Iterable[str], count: int) -> list[str]:
    """Pick queries by a hash of their ids: as good as random, and mostly the same when the queries grow."""
    return sorted(query_ids, key=lambda query_id: hashlib.sha256(query_id.encode()).hexdigest())[:count]


def _scores_of(scores: str | Path, queries: Iterable[str]) -> dict[str, dict[str, float]]:
    """Read {query: {video: score}} of these queries."""
    rows: dict[str, dict[str, float]] = {query: {} for query in queries}
    for batch in open_scores(scores).batches():
        names, videos = batch.queries.to_pylist(), batch.videos.to_pylist()
        for number, name in enumerate(names):
            if name in rows:
                chosen = batch.query == number
                pairs = zip(batch.video[chosen].tolist(), batch.score[chosen].tolist())
                rows[name].update((videos[video], score) for video, score in pairs)
    return rows
