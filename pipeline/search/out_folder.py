"""OUT of a search: tables that grow with every run, one file of each kind per run.

    OUT/search.json             library, method and settings: what decides the answers
    OUT/queries/<run>.parquet   a row per query: status, message, how many matches; a query without matches is here too
    OUT/matches/<run>.parquet   a row per match
    OUT/segments/<run>.parquet  a row per segment of a match
    OUT/left_out/<run>.parquet  a row per match, with its segments, that people had judged to be none; mostly none

The columns are in ndvr.pipeline.search.answers. Rows of queries are written last: a query that has one was answered.
A query has one answer: when it is searched again (its file changed, or it failed), the earlier rows are taken out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndvr.operators.index.kinds import Stretch
from ndvr.operators.library.decisions import Decisions, content_key
from ndvr.operators.storage.sealed import SealedTable, read_sealed_json, seal_json, store_table, stored_table
from ndvr.operators.storage.shapes import shaped
from ndvr.operators.storage.store import Store
from ndvr.pipeline.search.answers import LEFT_OUT, MATCHES, QUERIES, SEGMENTS, Answer, Match, in_order

ABOUT = "search.json"
_REMEDY = "name a new folder for OUT"
_SAID = {"config": str, "weights": str, "top": int | None}  # of later versions than the first
SOUND, VERDICTS_FOLDER = "sound", "verdicts"  # of a search by pictures and by sound: see ndvr.pipeline.search.both
_NEEDED = {
    "queries": ("query_id", "status", "message", "videos", "seconds"),
    "matches": ("query_id", "video_id", "kind", "score", "query_covered", "video_covered", "placement"),
    "segments": ("query_id", "video_id", *SEGMENTS.names[2:]),
}  # columns that were there from the first version on
_KINDS = ("queries", "matches", "segments", "left_out", VERDICTS_FOLDER)


class OutFolder:
    """ValueError when OUT holds answers of another library or other settings."""

    def __init__(self, out: str | Path, about: dict[str, Any]):
        self.store = Store(out)
        if self.store.exists(ABOUT):
            there = about_answers(self.store)
            if different := [key for key in (*about, SOUND) if there.get(key) != about.get(key)]:
                key = different[0]
                raise ValueError(
                    f"{out} holds answers with {key} {there.get(key)!r}, not {about.get(key)!r}; name another folder"
                )
        else:
            self.store.write_json(ABOUT, seal_json(about))

    def answered(self, same: Callable[[str], set[str]]) -> dict[str, tuple[int | None, int | None]]:
        """Read bytes and mtime_ns of the queries that were answered, by id;
        not of those that failed or were so in part.

        Nor of those that were judged the same as a video since: `same` has the ids of these by content.
        """
        rows = [row for row in _rows(self.store, "queries", QUERIES) if row["status"] not in ("failed", "partial")]
        compared = {row["query_id"] for row in rows if row["seconds"]}  # what has no features cannot be
        wanted = {row["query_id"]: same(content_key(row["sha256"], row["query_id"])) for row in rows}
        wanted = {query_id: ids if query_id in compared else set() for query_id, ids in wanted.items()}
        if any(wanted.values()):
            tables = (("matches", MATCHES), ("left_out", LEFT_OUT))
            for row in (row for kind, schema in tables for row in _rows(self.store, kind, schema)):
                wanted.get(row["query_id"], set()).discard(row["video_id"])
        return {row["query_id"]: (row["bytes"], row["mtime_ns"]) for row in rows if not wanted[row["query_id"]]}

    def write(self, answers: Sequence[Answer], more: Mapping[str, pa.Table] | None = None) -> None:
        """Add answers, and `more` about them by folder; the same answers have the same file names."""
        if not answers:
            return
        decisive = [(answer.query_id, answer.bytes, answer.mtime_ns) for answer in answers]
        name = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]
        ids = {answer.query_id for answer in answers}
        if ids & self._there:
            self._take_out(ids)
        self._there |= ids
        for kind, table in (more or {}).items():
            store_table(self.store, f"{kind}/{name}.parquet", table)
        for kind, schema, rows in tables(answers):
            if rows or kind != "left_out":
                store_table(self.store, f"{kind}/{name}.parquet", pa.Table.from_pylist(rows, schema))

    @cached_property
    def _there(self) -> set[str]:
        """The queries of which there are rows in any table, those of a run that was killed included."""
        return {
            query_id
            for kind in _KINDS
            for name in self.store.names(kind)
            if name.endswith(".parquet")
            for query_id in _table(self.store, f"{kind}/{name}", ["query_id"])["query_id"].to_pylist()
        }

    def _take_out(self, ids: set[str]) -> None:
        """Take out all rows of these queries, those that say it was answered first: killed, it is searched again."""
        for kind in _KINDS:
            for name in (f"{kind}/{each}" for each in self.store.names(kind) if each.endswith(".parquet")):
                table = _table(self.store, name)
                stays = [query_id not in ids for query_id in table["query_id"].to_pylist()]
                if not any(stays):
                    self.store.remove(name)
                elif not all(stays):
                    store_table(self.store, name, table.filter(pa.array(stays)))


def _table(store: Store, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table of OUT with the columns it has, or some of them."""
    with store.open(name) as source:
        return SealedTable(source, f"{store}/{name}", remedy=_REMEDY).read(columns=columns)


def read_answers(out: str | Path | Store) -> tuple[dict[str, Any], list[Answer]]:
    """Read what decided the answers in OUT, and the latest answer to every query, by id.

    Raises FileNotFoundError when there is none. What people decide afterwards is not in it: see `respect`.
    """
    store = Store(out)
    if not store.exists(ABOUT):
        raise FileNotFoundError(f"no matches at {out}: `ndvr search VIDEOS LIBRARY --out {out}` writes them")
    segments: dict[tuple[str, str], list[Stretch]] = {}
    for row in _rows(store, "segments", SEGMENTS):
        key = row.pop("query_id"), row.pop("video_id")
        if (stretch := Stretch(**row)) not in segments.setdefault(key, []):
            segments[key].append(stretch)
    matches: dict[str, dict[str, Match]] = {}
    for row in _rows(store, "matches", MATCHES):
        query_id, _ = row.pop("query_id"), row.pop("rank")
        match = Match(**row, segments=segments.get((query_id, row["video_id"]), []))
        matches.setdefault(query_id, {})[match.video_id] = match
    left_out: dict[str, dict[str, Match]] = {}
    for row in _rows(store, "left_out", LEFT_OUT):
        query_id, _ = row.pop("query_id"), row.pop("rank")
        match = Match(**row | {"segments": [Stretch(**each) for each in row["segments"]]})
        left_out.setdefault(query_id, {})[match.video_id] = match
    answers = {}
    for row in _rows(store, "queries", QUERIES):
        row.pop("matches")
        of_query = matches.get(row["query_id"], {})
        none = [match for video_id, match in left_out.get(row["query_id"], {}).items() if video_id not in of_query]
        answers[row["query_id"]] = Answer(**row, matches=list(of_query.values()), left_out=none)
    return about_answers(store), [answers[query_id] for query_id in sorted(answers)]


def about_answers(store: Store) -> dict[str, Any]:
    """Read what decided the answers in OUT."""
    values = read_sealed_json(store, ABOUT, remedy=_REMEDY)
    return shaped(values, {"library": str}, f"{store}/{ABOUT}", optional=_SAID, remedy=_REMEDY)


def respect(
    answers: Sequence[Answer], decisions: Decisions, contents: Mapping[str, str], *, top: int | None = None
) -> list[Answer]:
    """Bring the answers under today's decisions:
    what was judged no match is left out and counted, what no longer is is back.

    contents  of the videos, by id
    top       matches of an answer, at most
    """
    made = []
    for answer in answers:
        of_query = content_key(answer.sha256, answer.query_id)
        matches: list[Match] = []
        left_out: list[Match] = []
        for match in in_order([*answer.matches, *answer.left_out]):
            is_out = decisions.leaves_out(of_query, contents.get(match.video_id, ""), match.kind)
            (left_out if is_out else matches).append(match)
        left_out = [match for match in left_out if match.kind != "decided"]
        rejected = (answer.rejected or 0) - len(answer.left_out) + len(left_out)
        made.append(replace(answer, matches=matches[:top], left_out=left_out, rejected=rejected))
    return made


def _rows(store: Store, kind: str, schema: pa.Schema) -> list[dict[str, Any]]:
    names = [name for name in store.names(kind) if name.endswith(".parquet")]
    tables = (
        stored_table(store, f"{kind}/{name}", schema, needs=_NEEDED.get(kind, ()), remedy=_REMEDY) for name in names
    )
    return [row for table in tables for row in table.to_pylist()]


def tables(answers: Sequence[Answer]) -> list[tuple[str, pa.Schema, list[dict[str, Any]]]]:
    """Make tables of segments, matches, those left out, and queries: name, columns, rows."""
    return [
        ("segments", SEGMENTS, [row for answer in answers for row in answer.segment_rows()]),
        ("matches", MATCHES, [row for answer in answers for row in answer.match_rows()]),
        ("left_out", LEFT_OUT, [row for answer in answers for row in answer.left_out_rows()]),
        ("queries", QUERIES, [answer.query_row() for answer in answers]),
    ]


def as_csv(answers: Sequence[Answer]) -> str:
    """Write a row per segment with the columns of its match; of a match without segments one row without times."""
    columns = [*MATCHES.names, *SEGMENTS.names[2:]]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for answer in answers:
        segments = answer.segment_rows()
        for match in answer.match_rows():
            mine = [row for row in segments if row["video_id"] == match["video_id"]]
            writer.writerows(match | segment for segment in mine or [{}])
    return text.getvalue().rstrip("\n")
