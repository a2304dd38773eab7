"""What people decided about pairs of videos: rows that are only ever added, as Parquet beside a library's features.

    log = DecisionLog(Library("library").store)
    log.append([decision])                     # from any process; nobody waits for anybody
    decisions = log.read()
    decisions.verdict(content_a, content_b)    # "same", "different" or None

LIBRARY/decisions/<time>-<id>.parquet   columns in SCHEMA; a row is never changed: `undo` is a row as well.
                                        <time> is that of the latest row, to the millisecond

The last word on a pair counts. So what is said now is later than all that is there, whatever the clock of its host
says.

A video is known by its content, the SHA-256 of its file: a decision survives renaming, moving, extracting and indexing
again, and says nothing about a file that was changed. Of what was imported without a file, the id stands for it.
"""

from __future__ import annotations

import contextlib
import csv
import getpass
import io
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa

from ndvr.operators.connected import families
from ndvr.operators.library.library import Entry, Library
from ndvr.operators.storage.sealed import store_table, stored_table
from ndvr.operators.storage.store import Store
from ndvr.operators.storage.text_files import read_table, visible

FOLDER = "decisions"
_MOST_FILES = 64  # more are folded into one
_REMEDY = "take it from a backup, or remove it: what it says of pairs is then not known"
_TRIES = 5  # to read files that somebody folds at this moment
_TIMED = re.compile(r"(?:folded-)?(\d{8}T\d{9})-")  # how a name begins
_TICK = timedelta(milliseconds=1)
_LAST = datetime(9999, 12, 31, tzinfo=timezone.utc)  # there is no time after much later ones

# same, different: whether the pair is a match. keep: a is kept where one of the two is to go. note: its text counts.
Verdict = Literal["same", "different", "keep", "note", "undo"]
VERDICTS: tuple[str, ...] = get_args(Verdict)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("time", pa.timestamp("ms", tz="UTC")),
        ("who", pa.string()),
        ("verdict", pa.string()),
        ("a_content", pa.string()),  # SHA-256 of the file, or "id:" and the id
        ("b_content", pa.string()),
        ("a_id", pa.string()),  # what the videos were called then
        ("b_id", pa.string()),
        ("score", pa.float64()),  # of the pair, as it was shown then; null: not known
        ("false_per_million", pa.float64()),
        ("note", pa.string()),
        ("undoes", pa.string()),  # id of a decision that does not count any more
    ]
)
LIMITS = (0.001, 0.1, 10.0, 1000.0)  # false matches per million, at which decisions are counted


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One row. ValueError for a verdict that there is none of, or a pair of one content."""

    verdict: Verdict
    a_content: str
    b_content: str
    a_id: str = ""
    b_id: str = ""
    who: str = ""
    note: str = ""
    score: float | None = None
    false_per_million: float | None = None
    undoes: str = ""
    time: datetime
    id: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"unknown verdict {self.verdict!r}; choose one of {', '.join(VERDICTS[:-1])}")
        if self.verdict != "undo" and self.a_content == self.b_content:
            raise ValueError(
                f"{self.a_id!r} and {self.b_id!r} are the same file, byte by byte: there is nothing to decide"
            )

    @classmethod
    def now(cls, **known: Any) -> Decision:
        """Make one of this moment and, unless `who` says otherwise, of this user."""
        if not known.get("who"):
            known["who"] = this_user()
        return cls(**known, time=datetime.now(timezone.utc), id=uuid.uuid4().hex)

    @property
    def pair(self) -> tuple[str, str]:
        """The two contents, sorted."""
        return pair_of(self.a_content, self.b_content)

    def to_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"time": self.time.isoformat()}

    def text(self) -> str:
        """Return a line for people."""
        words = {
            "same": "{} is the same as {}",
            "different": "{} is no match of {}",
            "keep": "{} is kept rather than {}",
            "note": "{} and {}",
            "undo": "what was said of {} and {} is taken back",
        }[self.verdict].format(self.a_id, self.b_id)
        note = f" ({self.note})" if self.note else ""
        return visible(f"{self.time:%Y-%m-%d %H:%M} {self.who}: {words}{note}")


def this_user() -> str:
    """Name the user who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user table
        return "unknown"


def pair_of(a: str, b: str) -> tuple[str, str]:
    """Sort two contents into a pair."""
    return (a, b) if a <= b else (b, a)


def content_key(sha256: str | None, video_id: str) -> str:
    """Name what a video is known by: its content, or its id where no file was read."""
    return sha256 or f"id:{video_id}"


def contents_of(library: Library, ids: Iterable[str]) -> dict[str, str]:
    """Find the contents of videos of a library, by id; those that it does not know are left out."""
    wanted = sorted(set(ids))
    keys: dict[str, str] = {}
    for entries in library.lookup(library.configs, wanted).entries.values():
        for video_id in wanted:
            if video_id in entries and not keys.get(video_id, "id:").partition("id:")[0]:
                keys[video_id] = content_key(entries[video_id].end["sha256"], video_id)
    return keys


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How right matches were that were as sure as this, by those that people judged."""

    false_per_million: float  # or fewer
    judged: int
    wrong: int

    def text(self) -> str:
        """Return a sentence."""
        of = f"of {self.judged:,} pairs judged with {self.false_per_million:g} or fewer false per million"
        return f"{of}, {self.wrong:,} {'was' if self.wrong == 1 else 'were'} not a match"


class Decisions:
    """All decisions, in order of time, and what stands of them."""

    def __init__(self, rows: Iterable[Decision] = ()):
        self.every = sorted({row.id: row for row in rows}.values(), key=lambda row: (row.time, row.id))
        undone = {row.undoes for row in self.every if row.verdict == "undo"}
        self.standing = [row for row in self.every if row.verdict != "undo" and row.id not in undone]
        self._latest = {row.pair: row for row in self.standing if row.verdict in ("same", "different")}
        self._kept = {row.pair: row.a_content for row in self.standing if row.verdict == "keep"}
        self._partners: dict[tuple[str, str], list[str]] = {}  # by content and verdict
        for (a, b), row in self._latest.items():
            self._partners.setdefault((a, row.verdict), []).append(b)
            self._partners.setdefault((b, row.verdict), []).append(a)

    def __len__(self) -> int:
        return len(self.standing)

    def pairs(self, verdict: Literal["same", "different"]) -> list[tuple[str, str]]:
        """Return the pairs of contents of which this was said last."""
        return [pair for pair, row in self._latest.items() if row.verdict == verdict]

    def verdict(self, a: str, b: str) -> Literal["same", "different"] | None:
        """Return what was said last of a pair of contents."""
        row = self._latest.get(pair_of(a, b))
        return None if row is None else row.verdict  # type: ignore[return-value]  # only these two are kept there

    def partners(self, content: str, verdict: Literal["same", "different"]) -> list[str]:
        """Return the contents that were judged to be a match of this one, or none."""
        return self._partners.get((content, verdict), [])

    def leaves_out(self, a: str, b: str, kind: str) -> bool:
        """Say whether a pair of contents is no answer: judged different, or there by a decision that was taken back."""
        verdict = self.verdict(a, b)
        return verdict == "different" or (kind == "decided" and verdict != "same")

    def of_pair(self, a: str, b: str) -> list[Decision]:
        """Return what stands of a pair, the latest last."""
        pair = pair_of(a, b)
        return [row for row in self.standing if row.pair == pair]

    def latest_of(self, who: str) -> Decision | None:
        """Return the last decision of somebody that stands."""
        return next((row for row in reversed(self.standing) if row.who == who), None)

    def kept(self) -> dict[tuple[str, str], str]:
        """By pair, the content that is to be kept of it."""
        return self._kept

    def contradictions(self) -> list[str]:
        """Write sentences on people who disagree,
        and on sames that lead from one video to another that is judged different.
        """
        return self._disagreements() + self._broken_chains()

    def _disagreements(self) -> list[str]:
        newest: dict[tuple[str, str, bool], dict[str, Decision]] = {}
        for row in self.standing:
            if row.verdict != "note":
                newest.setdefault((*row.pair, row.verdict == "keep"), {})[row.who] = row
        lines = []
        for rows in newest.values():
            words = {row.a_content if row.verdict == "keep" else row.verdict for row in rows.values()}
            if len(words) > 1:
                last = max(rows.values(), key=lambda row: (row.time, row.id))
                lines.append(
                    "; ".join(row.text() for row in rows.values()) + f": the word of {last.who} counts, the last"
                )
        return lines

    def _broken_chains(self) -> list[str]:
        same = families(self.pairs("same"))
        family = {content: number for number, contents in enumerate(same) for content in contents}
        return [
            f"{row.text()}: but others that were judged the same lead from one to the other"
            for (a, b), row in self._latest.items()
            if row.verdict == "different" and a in family and family[a] == family.get(b)
        ]

    def calibration(self) -> list[Calibration]:
        """Measure how right matches of each sureness were; only limits under which something was judged."""
        judged = [row for row in self._latest.values() if row.false_per_million is not None]
        made: list[Calibration] = []
        for limit in LIMITS:
            sure = [row for row in judged if (row.false_per_million or 0.0) <= limit]
            wrong = sum(row.verdict == "different" for row in sure)
            if sure and (not made or len(sure) > made[-1].judged):
                made.append(Calibration(false_per_million=limit, judged=len(sure), wrong=wrong))
        return made

    def to_json(self) -> dict[str, Any]:
        counts = {word: sum(row.verdict == word for row in self.standing) for word in VERDICTS[:-1]}
        return {
            "decisions": len(self.standing),
            "undone": sum(row.verdict == "undo" for row in self.every),
            "verdicts": counts,
            "contradictions": self.contradictions(),
            "calibration": [vars(each) | {"text": each.text()} for each in self.calibration()],
        }

    def text(self) -> str:
        """Say what was decided in all, contradictions, and how right the matches were."""
        counts = self.to_json()["verdicts"]
        what = f"{counts['same']:,} same, {counts['different']:,} not a match, {counts['keep']:,} to keep"
        lines = [f"{len(self.standing):,} decisions stand: {what}"]
        lines += [f"CONTRADICTION: {each}" for each in self.contradictions()]
        return "\n".join(lines + [each.text() for each in self.calibration()])

    def as_csv(self) -> str:
        """Write all rows as a table, undone ones as well."""
        text = io.StringIO()
        writer = csv.DictWriter(text, SCHEMA.names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.to_json() for row in self.every)
        return text.getvalue()


class DecisionLog:
    """The decisions that lie beside a library."""

    def __init__(self, store: Store):
        self.store = store

    def read(self) -> Decisions:
        """Read all decisions, as of now."""
        return Decisions(self._rows(self._names()))

    def append(self, decisions: Sequence[Decision], *, keep_times: bool = False) -> list[Decision]:
        """Add decisions: one file, whole or not at all. Several processes may do so at once. Returns them as written.

        keep_times  Default: they are said now, one after the other, after all that are there.
        """
        if not decisions:
            return []
        written = list(decisions)
        if not keep_times:
            now = self.now()
            written = [replace(row, time=now + number * _TICK) for number, row in enumerate(decisions)]
        self._write(f"{_stamp(written)}-{written[0].id}.parquet", written)
        if len(names := self._names()) > _MOST_FILES:
            self._fold(names)
        return written

    def now(self) -> datetime:
        """Return now, or a time after those of all decisions when the clock of this host says less."""
        latest = max(map(self._latest, self._names()), default=None)
        now = datetime.now(timezone.utc)
        return now if latest is None else max(now, min(latest, _LAST) + _TICK)

    def _latest(self, name: str) -> datetime:
        """Find the time of the latest row of a file, which its name says."""
        if timed := _TIMED.match(name):
            with contextlib.suppress(ValueError):
                return datetime.strptime(f"{timed[1]}000+0000", "%Y%m%dT%H%M%S%f%z")
        return max((row.time for row in self._rows([name])), default=datetime.min.replace(tzinfo=timezone.utc))

    def _names(self) -> list[str]:
        return [name for name in self.store.names(FOLDER) if name.endswith(".parquet")]

    def _write(self, name: str, decisions: Sequence[Decision]) -> None:
        rows = [{name: getattr(row, name) for name in SCHEMA.names} for row in decisions]
        store_table(self.store, f"{FOLDER}/{name}", pa.Table.from_pylist(rows, SCHEMA))

    def _rows(self, names: Sequence[str]) -> list[Decision]:
        for _ in range(_TRIES):
            try:
                tables = [stored_table(self.store, f"{FOLDER}/{name}", SCHEMA, remedy=_REMEDY) for name in names]
            except FileNotFoundError:  # folded by somebody since it was listed
                names = self._names()
            else:
                return [Decision(**row) for table in tables for row in table.to_pylist()]
        raise FileNotFoundError(f"{self.store}/{FOLDER} changes all the time; try again")

    def _fold(self, names: Sequence[str]) -> None:
        """Put many files into one. A row that two processes fold at once is there twice and counts once, by its id."""
        rows = self._rows(names)
        self._write(f"folded-{_stamp(rows)}-{uuid.uuid4().hex}.parquet", rows)
        self.store.remove(*(f"{FOLDER}/{name}" for name in names))


def _stamp(decisions: Iterable[Decision]) -> str:
    """Write the time of the latest one as names of files begin with it; its last digits are cut off."""
    return f"{max(decision.time for decision in decisions).astimezone(timezone.utc):%Y%m%dT%H%M%S%f}"[:-3]


def decisions_of(library: str | Store | Library) -> Decisions:
    """Read the decisions beside a library; none where there is no such folder."""
    return DecisionLog(library.store if isinstance(library, Library) else Store(library)).read()


def judged_pairs(
    decisions: Decisions, entries: Iterable[Entry], verdict: Literal["same", "different"]
) -> set[tuple[str, str]]:
    """The pairs of ids, each sorted, of whose contents this was said last, of the videos of a library."""
    contents = decisions.pairs(verdict)
    if not contents:
        return set()
    ids: dict[str, list[str]] = {}
    for entry in entries:
        ids.setdefault(content_key(entry.end["sha256"], entry.video_id), []).append(entry.video_id)
    return {pair_of(a, b) for first, second in contents for a in ids.get(first, ()) for b in ids.get(second, ())}


def rejected_text(count: int) -> str:
    """Say how many pairs are left out, on a line of its own; nothing where there are none."""
    if not count:
        return ""
    what = "1 pair is" if count == 1 else f"{count:,} pairs are"
    return f"\n{what} left out: judged not a match"


def decided_text(count: int) -> str:
    """Say how many pairs are there by decision alone, on a line of its own; nothing where there are none."""
    if not count:
        return ""
    what = "1 pair scores less and is" if count == 1 else f"{count:,} pairs score less and are"
    return f"\n{what} here by decision: judged the same"


def from_csv(path: str | Path, contents: Mapping[str, str], *, now: datetime | None = None) -> list[Decision]:
    """Read decisions that `as_csv` wrote, or a table with the columns a_id, b_id and verdict.

    contents  of the videos that are known, by id; for rows that have none. ValueError names the line that does not fit.
    now       the time of rows that have none, each of which is later than those before it. Default: this moment
    """
    rows, names = list[Decision](), {field.name for field in fields(Decision)}
    now = now or datetime.now(timezone.utc)
    for line, row in read_table(path, needs=("a_id", "b_id", "verdict"), purpose="decisions")[1]:
        known: dict[str, Any] = {name: value for name, value in row.items() if name in names and value}
        try:
            for side in "ab" if known.get("verdict") != "undo" else "":
                key = f"{side}_content"
                known[key] = known.get(key) or contents[known[f"{side}_id"]]
            for name in ("score", "false_per_million"):
                known[name] = float(known[name]) if name in known else None
            rows.append(_from_text({"a_content": "", "b_content": ""} | known, now + len(rows) * _TICK))
        except KeyError as error:
            raise ValueError(f"{path}, line {line}: the library has no video {error}") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    return rows


def _from_text(known: dict[str, Any], now: datetime) -> Decision:
    time, identity = known.pop("time", None), known.pop("id", None)
    when = datetime.fromisoformat(time.replace("Z", "+00:00")) if time else now
    decision = replace(Decision.now(**known), time=when if when.tzinfo else when.replace(tzinfo=timezone.utc))
    return replace(decision, id=identity) if identity else decision
