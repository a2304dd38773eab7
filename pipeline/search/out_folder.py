"""OUT of a search: tables that grow with every run, one file of each kind per run.

    OUT/search.json             library, method and settings: what decides the answers
    OUT/queries/<run>.parquet   a row per query: status, message, how many matches; a query without matches is here too
    OUT/matches/<run>.parquet   a row per match
    OUT/segments/<run>.parquet  a row per segment of a match

The columns are in ndvr.pipeline.search.answers. Rows of queries are written last: a query that has one was answered.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndvr.operators.index.kinds import Stretch
from ndvr.operators.library.decisions import Decisions, content_key
from ndvr.operators.storage.sealed import store_table, stored_table
from ndvr.operators.storage.store import Store
from ndvr.pipeline.search.answers import MATCHES, QUERIES, SEGMENTS, Answer, Match

ABOUT = "search.json"


class OutFolder:
    """ValueError when OUT holds answers of another library or other settings."""

    def __init__(self, out: str | Path, about: dict[str, Any]):
        self.store = Store(out)
        if self.store.exists(ABOUT):
            there = self.store.read_json(ABOUT)
            if different := [key for key in about if there.get(key) != about[key]]:
                key = different[0]
                raise ValueError(
                    f"{out} holds answers with {key} {there.get(key)!r}, not {about[key]!r}; name another folder"
                )
        else:
            self.store.write_json(ABOUT, about)

    def answered(self) -> dict[str, tuple[int | None, int | None]]:
        """Bytes and mtime_ns of the queries that were answered, by id; not of those that failed or were so in part."""
        rows = [row for row in self._rows("queries", QUERIES) if row["status"] not in ("failed", "partial")]
        return {row["query_id"]: (row["bytes"], row["mtime_ns"]) for row in rows}

    def _rows(self, kind: str, schema: pa.Schema) -> list[dict[str, Any]]:
        return _rows(self.store, kind, schema)

    def write(self, answers: Sequence[Answer]) -> None:
        """Add answers; the same answers have the same file names."""
        if not answers:
            return
        decisive = [(answer.query_id, answer.bytes, answer.mtime_ns) for answer in answers]
        name = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]
        for kind, schema, rows in tables(answers):
            table = pa.Table.from_pylist(rows, schema)
            store_table(self.store, f"{kind}/{name}.parquet", table)


def read_answers(out: str | Path) -> tuple[dict[str, Any], list[Answer]]:
    """What decided the answers in OUT, and the latest answer to every query, by id.

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
    answers = {}
    for row in _rows(store, "queries", QUERIES):
        row.pop("matches")
        answers[row["query_id"]] = Answer(**row, matches=list(matches.get(row["query_id"], {}).values()))
    return store.read_json(ABOUT), [answers[query_id] for query_id in sorted(answers)]


def respect(answers: Sequence[Answer], decisions: Decisions, contents: Mapping[str, str]) -> list[Answer]:
    """The answers without matches that were judged to be none, which are counted; `contents`: of the videos, by id."""

    def stands(answer: Answer, match: Match) -> bool:
        pair = content_key(answer.sha256, answer.query_id), contents.get(match.video_id, "")
        return decisions.verdict(*pair) != "different"

    kept = [[match for match in answer.matches if stands(answer, match)] for answer in answers]
    return [
        replace(answer, matches=matches, rejected=(answer.rejected or 0) + len(answer.matches) - len(matches))
        for answer, matches in zip(answers, kept)
    ]


def _rows(store: Store, kind: str, schema: pa.Schema) -> list[dict[str, Any]]:
    names = [name for name in store.names(kind) if name.endswith(".parquet")]
    remedy = "name a new folder for OUT"
    return [row for name in names for row in stored_table(store, f"{kind}/{name}", schema, remedy=remedy).to_pylist()]


def tables(answers: Sequence[Answer]) -> list[tuple[str, pa.Schema, list[dict[str, Any]]]]:
    """Segments, matches and queries as rows: name, columns, rows."""
    return [
        ("segments", SEGMENTS, [row for answer in answers for row in answer.segment_rows()]),
        ("matches", MATCHES, [row for answer in answers for row in answer.match_rows()]),
        ("queries", QUERIES, [answer.query_row() for answer in answers]),
    ]


def as_csv(answers: Sequence[Answer]) -> str:
    """A row per segment with the columns of its match; of a match without segments one row without times."""
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
