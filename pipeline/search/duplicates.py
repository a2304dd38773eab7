"""Duplicates within a library, found through its index: pairs with what they cover, and groups that say what they are.

ndvr dedupe LIBRARY PAIRS --by-index

PAIRS/pairs.parquet    video_id_a < video_id_b, score, kind of a in b, a_covered, b_covered, false_per_million
PAIRS/groups.parquet   group, video_id, representative, covered (by the representative), weakest_link, chain
PAIRS/left_out.parquet  those that people judged to be no match, with the columns of pairs.parquet
PAIRS/groups.json      what was searched, and the threshold
PAIRS/searches/        the answers of all videos, as `ndvr search LIBRARY LIBRARY --out` keeps them
PAIRS/locks/           who is writing: see ndvr.operators.library.lease

Every video is searched for once; when the library grew, only new ones are, each against all. Answers are kept from
the lowest score of a match on, so another threshold is a matter of reading them again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndvr.operators.connected import families, needed
from ndvr.operators.library.decisions import decided_text, decisions_of, judged_pairs, rejected_text
from ndvr.operators.library.feature_reader import LeavesOut, gone_text
from ndvr.operators.library.fencing import check
from ndvr.operators.library.lease import Lease
from ndvr.operators.scores.groups import videos_of
from ndvr.operators.storage.sealed import seal_json, store_table
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.comparison.dedupe import LEFT_OUT
from ndvr.pipeline.comparison.dedupe import PAIRS as PAIRS_FILE
from ndvr.pipeline.search.library_index import LibraryIndex
from ndvr.pipeline.search.out_folder import ABOUT, read_answers
from ndvr.pipeline.search.search import crew_of, open_updated, search_index

GROUPING = ("identical", "decided", "copy", "part", "contains")  # kinds that make a group; shared material does not
_TURNED = {"part": "contains", "contains": "part"}
PAIRS = pa.schema(
    [
        ("video_id_a", pa.string()),
        ("video_id_b", pa.string()),
        ("score", pa.float32()),
        ("kind", pa.string()),  # of a: a copy of b, a part of it, contains it, decided, ...
        ("a_covered", pa.float32()),
        ("b_covered", pa.float32()),
        ("false_per_million", pa.float64()),
    ]
)
GROUPS = pa.schema(
    [
        ("group", pa.int32()),  # from 1, the largest first
        ("video_id", pa.string()),
        ("representative", pa.string()),  # the member that covers the others best; the longer, then by id
        ("covered", pa.float32()),  # share of the video that the representative shows; null: not compared or not alike
        ("weakest_link", pa.float32()),  # lowest score that holds the group together
        ("chain", pa.bool_()),  # some members are only alike by way of others
    ]
)


@dataclass(frozen=True, kw_only=True)
class Duplicates(LeavesOut):
    """What was found."""

    pairs: str  # the folder
    method: str
    trained: bool
    threshold: float
    videos: int
    searched: int  # now; the others had answers
    found: int  # pairs
    groups: int
    videos_in_groups: int
    chains: int  # groups
    rejected: int  # pairs that are left out, as people judged them to be no match
    decided: int  # of the pairs found: only there as people judged them the same
    lost: tuple[str, ...] = ()  # ids of videos that were left out: their features are gone or damaged
    gone: tuple[str, ...] = ()  # ids of videos in groups that the folder which gave them has no more
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """Write two lines."""
        chains = f", {self.chains:,} of them chains" if self.chains else ""
        return (
            f"{self.found:,} pairs of {self.videos:,} videos scored {self.threshold:g} or more by {self.method}, "
            f"{self.searched:,} videos searched for now: {self.pairs}/pairs.parquet ({self.seconds:.1f} s)\n"
            f"{self.videos_in_groups:,} videos in {self.groups:,} groups{chains}: {self.pairs}/groups.parquet"
            f"{rejected_text(self.rejected)}{decided_text(self.decided)}{gone_text(self.gone)}"
        )


def duplicates(
    library: str | Path,
    pairs: str | Path,
    *,
    threshold: float | None = None,
    workers: int | None = None,
    address: str | None = None,
    strict: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Duplicates:
    """Search for every video of a library in the library itself; write PAIRS. Settings as of `open_index`.

    `workers` and `address` as of ndvr.pipeline.search.search.search.

    ValueError when the threshold is outside of what was kept: from a half of the method's range to its end.
    """
    began = time.monotonic()
    index = open_updated(library, strict=strict, progress=progress, **settings)
    least, high = index.model.card.least_match, index.model.card.range[1]
    threshold = least if threshold is None else threshold
    if not least <= threshold <= high:
        raise ValueError(f"threshold {threshold:g}: scores are kept from {least:g} to {high:g}")
    store = Store(pairs)
    with Lease(store, "ndvr dedupe --by-index"):
        crew = crew_of(workers, address, progress=progress)
        done = _search_all(index, store, threshold, crew, strict=strict)
        done = replace(done, seconds=round(time.monotonic() - began, 3))
        check(store)
        store.write_json("groups.json", seal_json(done.to_json()))
    return done


def _search_all(index: LibraryIndex, store: Store, threshold: float, workers: Workers, *, strict: bool) -> Duplicates:
    """Search for every video, and write pairs and groups under the lease of PAIRS."""
    entries = index.library.entries(index.config)
    lengths = {video.video_id: video.windows for video in videos_of(entries.values(), index.config)}
    searches = Store(f"{store}/searches")
    # Not where some have answers and only new ones are searched for: a pair is met twice when both ends are.
    mutual = not searches.exists(ABOUT) and index.n_videos == len(lengths)
    wanted: dict[str, Any] = {"top": 1000, "false_per_million": 1e6, "strict": strict, "mutual": mutual}
    result = search_index(
        index, str(index.library), out=str(searches), workers=workers, progress=workers.progress, **wanted
    )
    every = read_pairs(searches, lengths, threshold)
    decisions = decisions_of(index.library)
    rejected, same = (judged_pairs(decisions, entries.values(), verdict) for verdict in ("different", "same"))
    every = [row for row in every if row["kind"] != "decided" or _ends(row) in same]
    rows = [row for row in every if _ends(row) not in rejected]
    groups = group(rows, lengths)
    check(store)
    store_table(store, PAIRS_FILE, pa.Table.from_pylist(rows, PAIRS))
    left_out = [row for row in every if _ends(row) in rejected]
    store_table(store, LEFT_OUT, pa.Table.from_pylist(left_out, PAIRS))
    store_table(store, "groups.parquet", pa.Table.from_pylist(groups, GROUPS))
    return Duplicates(
        pairs=str(store),
        method=result.method,
        trained=result.trained,
        threshold=threshold,
        videos=len(lengths),
        searched=len(result.answers),
        found=len(rows),
        groups=len({row["group"] for row in groups}),
        videos_in_groups=len(groups),
        chains=len({row["group"] for row in groups if row["chain"]}),
        rejected=len(every) - len(rows),
        decided=sum(row["kind"] == "decided" for row in rows),
        lost=tuple(sorted({*result.lost, *(each.query_id for each in result.answers if each.status == "failed")})),
        gone=tuple(sorted(row["video_id"] for row in groups if entries[row["video_id"]].gone)),
        seconds=0.0,
    )


def read_pairs(searches: Store, videos: Iterable[str], threshold: float) -> list[dict[str, Any]]:
    """Read each pair once, by the surer of its two answers; highest first, equals by id.
    Only of videos that are there.
    """
    there = set(videos)
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for answer in read_answers(searches)[1]:
        query = answer.query_id
        for match in (*answer.matches, *answer.left_out):
            video, kind, covered = match.video_id, str(match.kind), (match.query_covered, match.video_covered)
            enough = match.score >= threshold or kind == "decided"
            if not enough or query == video or not {query, video} <= there:
                continue
            pair = query, video
            if query > video:
                pair, kind, covered = (video, query), _TURNED.get(kind, kind), covered[::-1]
            if pair not in best or (match.score, sum(covered)) > (best[pair]["score"], _sum(best[pair])):
                best[pair] = {
                    "video_id_a": pair[0],
                    "video_id_b": pair[1],
                    "score": match.score,
                    "kind": kind,
                    "a_covered": covered[0],
                    "b_covered": covered[1],
                    "false_per_million": match.false_per_million,
                }
    return sorted(best.values(), key=lambda row: (-row["score"], row["video_id_a"], row["video_id_b"]))


def _sum(row: dict[str, Any]) -> float:
    return row["a_covered"] + row["b_covered"]


def group(pairs: Iterable[dict[str, Any]], lengths: dict[str, int]) -> list[dict[str, Any]]:
    """Group videos of which each is a copy or a part of another: rows of GROUPS, the largest group first.

    `pairs` come highest first.
    """
    edges = [pair for pair in pairs if pair["kind"] in GROUPING]
    groups = families([_ends(edge) for edge in edges])
    group_of = {video: number for number, videos in enumerate(groups, 1) for video in videos}
    edges_of: dict[int, list[dict[str, Any]]] = {}
    shown: dict[tuple[str, str], float] = {}  # (by, of): the share of `of` that `by` shows
    for edge in edges:
        a, b = _ends(edge)
        edges_of.setdefault(group_of[a], []).append(edge)
        shown[b, a], shown[a, b] = edge["a_covered"], edge["b_covered"]
    rows = []
    for number, videos in enumerate(groups, 1):
        chosen = max(videos, key=lambda by: (sum(shown.get((by, of), 0.0) for of in videos), lengths[by]))
        facts = {
            "group": number,
            "representative": chosen,
            "weakest_link": edges_of[number][needed([_ends(edge) for edge in edges_of[number]]) - 1]["score"],
            "chain": not all((a, b) in shown for a in videos for b in videos if a != b),
        }
        for video in videos:
            covered = 1.0 if video == chosen else shown.get((chosen, video))
            rows.append(facts | {"video_id": video, "covered": covered})
    return rows


def _ends(edge: dict[str, Any]) -> tuple[str, str]:
    return edge["video_id_a"], edge["video_id_b"]
