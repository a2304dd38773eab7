"""Decide about pairs of videos: what `ndvr decide` and the review page write beside a library.

decide("library", "new.mp4", "film.mp4", "different", note="another take")
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ndvr.operators.errors import DecodeError
from ndvr.operators.library.decisions import (
    Decision,
    DecisionLog,
    Decisions,
    Verdict,
    contents_of,
    decisions_of,
    from_csv,
    pair_of,
    this_user,
)
from ndvr.operators.library.library import Library
from ndvr.operators.storage.fetch import content_of
from ndvr.operators.storage.object_store import is_remote
from ndvr.pipeline.search.out_folder import read_answers


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What was written, and what it contradicts."""

    decisions: list[Decision]
    contradictions: list[str]

    def to_json(self) -> dict[str, Any]:
        return {"decided": [each.to_json() for each in self.decisions], "contradictions": self.contradictions}

    def text(self) -> str:
        """Write a line each."""
        lines = [each.text() for each in self.decisions]
        return "\n".join(lines + [f"CONTRADICTION: {each}" for each in self.contradictions])


def decide(
    library: str | Path,
    a: str,
    b: str,
    verdict: str,
    *,
    note: str = "",
    who: str | None = None,
    matches: str | Path | None = None,
) -> Decided:
    """Write a decision about A and B: ids of the library's videos, queries of `matches`, or files.

    verdict  same; different: not a match; keep: A, where one of the two is to go; note: only its text counts
    who      Default: the user of this process.
    matches  a folder of `ndvr search --out`: with it score and sureness are kept, which says how right searches were
    """
    opened = Library(library)
    facts = _facts(matches, a, b) if matches else {}
    contents = find_contents(opened, (a, b), facts.pop("contents", {}))
    known = {"a_content": contents[a], "b_content": contents[b], "a_id": a, "b_id": b}
    row = Decision.now(verdict=cast(Verdict, verdict), **known, note=note, who=who or "", **facts)
    return write(opened, [row])


def write(library: Library, rows: list[Decision]) -> Decided:
    """Append decisions; say what they contradict."""
    log = DecisionLog(library.store)
    rows = log.append(rows)
    every = log.read()
    new = {row.id for row in rows}
    known = Decisions(row for row in every.every if row.id not in new).contradictions()
    return Decided(decisions=rows, contradictions=[line for line in every.contradictions() if line not in known])


def undo(library: str | Path, pair: tuple[str, str] | None = None, *, who: str | None = None) -> Decided:
    """Take back the last decision of somebody, or the last one about a pair of ids. ValueError where there is none."""
    opened, who = Library(library), who or this_user()
    decisions = decisions_of(opened)
    if pair is None:
        last = decisions.latest_of(who)
        of = f"by {who}"
    else:
        named = [row for row in decisions.standing if pair_of(row.a_id, row.b_id) == pair_of(*pair)]
        last, of = (named[-1] if named else None), f"about {pair[0]} and {pair[1]}"
    if last is None:
        raise ValueError(f"{library}: no decision {of} stands")
    return write(opened, [undoing(last, who)])


def undoing(decision: Decision, who: str) -> Decision:
    """Make the row that takes a decision back."""
    known = {name: getattr(decision, name) for name in ("a_content", "b_content", "a_id", "b_id")}
    return Decision.now(verdict="undo", **known, who=who, undoes=decision.id)


def import_csv(library: str | Path, path: str | Path) -> int:
    """Add the decisions of a table; those that are known, by their id, stay as they are. Returns how many were new."""
    opened = Library(library)
    log, contents = DecisionLog(opened.store), all_contents(opened)
    there = {row.id for row in log.read().every}
    new = [row for row in from_csv(path, contents, now=log.now()) if row.id not in there]
    log.append(new, keep_times=True)
    return len(new)


def summary(library: str | Path) -> Decisions:
    """Summarise all decisions beside a library."""
    return decisions_of(Library(library))


def all_contents(library: Library) -> dict[str, str]:
    """Look up the contents of all videos of a library, by id."""
    ids = {video_id for config in library.configs for video_id in library.entries(config)}
    return contents_of(library, ids)


def find_contents(library: Library, names: Iterable[str], known: dict[str, str]) -> dict[str, str]:
    """Find the contents of videos by id in the library, then as `known`, then as files. ValueError for what is none."""
    contents = known | contents_of(library, names)
    for name in names:
        if name in contents:
            continue
        if not (is_remote(name) or Path(name).is_file()):
            raise ValueError(
                f"{library} has no video {name!r}, and there is no such file; a query of a search is known with "
                "--matches MATCHES"
            )
        try:
            contents[name] = content_of(name)
        except DecodeError as error:
            raise ValueError(f"{name}: {error.message}") from None
    return contents


def _facts(matches: str | Path, a: str, b: str) -> dict[str, Any]:
    """Note what a search said of a pair: the contents of queries, score and sureness."""
    _, answers = read_answers(matches)
    facts: dict[str, Any] = {"contents": {each.query_id: each.sha256 for each in answers if each.sha256}}
    for answer in answers:
        for match in answer.matches:
            if pair_of(answer.query_id, match.video_id) == pair_of(a, b):
                facts |= {"score": match.score, "false_per_million": match.false_per_million}
    return facts
