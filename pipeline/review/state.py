"""What the review server knows: the pairs, in pages and orders, the decisions as of now, groups, and searches.

One State serves all reviewers; decisions are read again when somebody has written, here or with `ndvr decide`.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from ndvr.operators.library.decisions import (
    FOLDER,
    Decision,
    DecisionLog,
    Decisions,
    Verdict,
    contents_of,
    pair_of,
)
from ndvr.operators.library.library import Library
from ndvr.pipeline.review.decide import Decided, undoing, write
from ndvr.pipeline.review.evidence import Evidence, Looked, sound_config
from ndvr.pipeline.review.keep import DEFAULT, RULES, Group, absent, choose, facts_of, groups_of, keep_plan, video_json
from ndvr.pipeline.review.media import Files, plays
from ndvr.pipeline.review.pairs import Found, Pair, Video, pairs_of_answers, videos_of_library
from ndvr.pipeline.search.answers import where_text
from ndvr.pipeline.search.queries import Queries
from ndvr.pipeline.search.search import Index
from ndvr.pipeline.search.verdict import Verdict as PairVerdict

MOST_ROWS = 500  # of an answer
_READ_AGAIN_S = 1.0
ORDERS: dict[str, Callable[[Pair], Any]] = {
    "found": lambda pair: 0,  # as they were found
    "score": lambda pair: -pair.score,
    "doubt": lambda pair: -(pair.false_per_million if pair.false_per_million is not None else 1e9),
    "a": lambda pair: (pair.a.video_id, pair.b.video_id),
    "b": lambda pair: (pair.b.video_id, pair.a.video_id),
}
STATES = ("all", "open", "same", "different")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which pairs are listed."""

    text: str = ""
    kind: str = ""
    state: str = "all"
    order: str = "found"
    offset: int = 0
    limit: int = 50

    def __post_init__(self) -> None:
        if self.order not in ORDERS or self.state not in STATES:
            raise ValueError(f"order is one of {', '.join(ORDERS)}; state is one of {', '.join(STATES)}")
        if self.offset < 0 or not 1 <= self.limit <= MOST_ROWS:
            raise ValueError(f"offset is 0 or more, limit from 1 to {MOST_ROWS}")


@dataclass
class State:
    """See above. `pairs` grow by what is searched for; a pair's number never changes."""

    library: Library
    found: Found | None
    who: str
    pairs: list[Pair] = field(default_factory=list, repr=False)
    files: Files = field(default_factory=Files, repr=False)

    def __post_init__(self) -> None:
        self._log = DecisionLog(self.library.store)
        self._read: tuple[float, list[str], Decisions] = (float("-inf"), [], Decisions())
        self._lock, self._search_lock, self._look_lock = threading.Lock(), threading.Lock(), threading.Lock()
        self._looked: dict[int, Looked] = {}
        self._heard: dict[int, PairVerdict | None] = {}
        self._orders: dict[tuple[str, int], list[int]] = {}
        self._evidence: dict[int, Evidence] = {}  # by the first pair of a search; 0: of what was found
        self._ears: dict[int, Evidence] = {}  # the same, by sound
        self._uploads = tempfile.TemporaryDirectory(prefix="ndvr-review-")
        self.pairs = list(self.found.pairs) if self.found else decided_pairs(self.library, self._log.read())
        self._left_out = range(len(self.pairs), len(self.pairs) + (len(self.found.left_out) if self.found else 0))
        self.pairs += self.found.left_out if self.found else []
        self._add_evidence(0, self.found or _found(self.library, self._config(), [], of_library=True))

    def _add_evidence(self, first: int, found: Found) -> None:
        """Keep what compares the pairs from `first` on again, by picture and, where the library has sound, by sound."""
        self._evidence[first] = Evidence(found)
        config = sound_config(str(self.library))
        if config and config != found.config:
            self._ears[first] = Evidence(found, config)

    def close(self) -> None:
        """End decoders and remove uploads."""
        self.files.close()
        self._uploads.cleanup()

    # --- Decisions

    @property
    def decisions(self) -> Decisions:
        """Decisions as of now, give or take a second."""
        with self._lock:
            read_s, names, decisions = self._read
            if time.monotonic() - read_s > _READ_AGAIN_S:
                now = self.library.store.names(FOLDER)
                decisions = self._log.read() if now != names else decisions
                self._read = time.monotonic(), now, decisions
            return decisions

    def _forget(self) -> None:
        with self._lock:
            self._read = (float("-inf"), ["?"], self._read[2])

    def decide(self, number: int, verdict: str, *, note: str = "", who: str = "", swap: bool = False) -> Decided:
        """Write what somebody says of a pair; with `swap` b is kept and not a."""
        pair = self.pairs[number]
        a, b = ((video.video_id, video.content) for video in (pair.a, pair.b))
        facts: dict[str, Any] = {"score": pair.score, "false_per_million": pair.false_per_million}
        return self._decided(*((b, a) if swap else (a, b)), verdict, note=note, who=who, **facts)

    def decide_ids(self, a: str, b: str, verdict: str, *, note: str = "", who: str = "") -> Decided:
        """Write what somebody says of two videos by their ids. ValueError where neither list nor library has one."""
        known = {video.video_id: video.content for pair in self.pairs for video in (pair.a, pair.b)}
        known |= contents_of(self.library, (a, b))
        if unknown := [name for name in (a, b) if name not in known]:
            raise ValueError(f"no video {unknown[0]!r} in the library or among the matches")
        return self._decided((a, known[a]), (b, known[b]), verdict, note=note, who=who)

    def _decided(self, a: tuple[str, str], b: tuple[str, str], verdict: str, *, who: str, **facts: Any) -> Decided:
        """Write a row about two videos, each an id and its content."""
        known: dict[str, Any] = {"a_id": a[0], "a_content": a[1], "b_id": b[0], "b_content": b[1]}
        row = Decision.now(verdict=cast(Verdict, verdict), **known, who=who or self.who, **facts)
        done = write(self.library, [row])
        self._forget()
        return done

    def undo(self, who: str = "") -> Decided:
        """Take back the last decision of somebody. ValueError where there is none."""
        self._forget()
        last = self.decisions.latest_of(who or self.who)
        if last is None:
            raise ValueError(f"no decision by {who or self.who} stands")
        done = write(self.library, [undoing(last, who or self.who)])
        self._forget()
        return done

    # --- Pairs

    def listed(self, wanted: Wanted) -> tuple[int, list[int]]:
        """List the pairs on the page by number, and count all that are wanted."""
        numbers, decisions = self._ordered(wanted.order), self.decisions
        if wanted.state != "different" and (out := self._still_left_out(decisions)):
            numbers = [number for number in numbers if number not in out]
        text = wanted.text.lower()
        if text or wanted.kind or wanted.state != "all":
            numbers = [number for number in numbers if self._fits(self.pairs[number], wanted, text, decisions)]
        return len(numbers), numbers[wanted.offset : wanted.offset + wanted.limit]

    def _still_left_out(self, decisions: Decisions) -> set[int]:
        """Find the pairs that were left out when this began, unless that was taken back since."""
        pairs = ((number, self.pairs[number]) for number in self._left_out)
        return {number for number, pair in pairs if decisions.verdict(pair.a.content, pair.b.content) == "different"}

    def _ordered(self, order: str) -> list[int]:
        key = order, len(self.pairs)
        if key not in self._orders:
            of = ORDERS[order]
            self._orders[key] = sorted(range(len(self.pairs)), key=lambda number: of(self.pairs[number]))
        return self._orders[key]

    def _fits(self, pair: Pair, wanted: Wanted, text: str, decisions: Decisions) -> bool:
        if wanted.kind and pair.kind != wanted.kind:
            return False
        if text and text not in pair.a.video_id.lower() and text not in pair.b.video_id.lower():
            return False
        verdict = decisions.verdict(pair.a.content, pair.b.content) if wanted.state != "all" else None
        return wanted.state == "all" or (verdict or "open") == wanted.state

    def row(self, number: int) -> dict[str, Any]:
        """Describe a pair, with what was decided."""
        pair, decisions = self.pairs[number], self.decisions
        kept = decisions.kept().get(pair_of(pair.a.content, pair.b.content))
        return pair.to_json() | {
            "match": number,
            "words": pair.words,
            "sure": pair.sure,
            "verdict": decisions.verdict(pair.a.content, pair.b.content),
            "keep": None if kept is None else "a" if kept == pair.a.content else "b",
        }

    def details(self, number: int) -> dict[str, Any]:
        """Describe a pair with all that is shown of it: how its videos can be played, its decisions."""
        pair = self.pairs[number]
        stretches = pair.segments or ()
        sides = {}
        for side in "ab":
            video: Video = getattr(pair, side)
            header = self.files.header(video)
            sides[side] = {
                "video_id": video.video_id,
                "plays": plays(header),
                "problem": header.message or "",
                "duration_s": header.duration_s or video.duration_s,
                "width": header.width,
                "height": header.height,
                "codec": header.codec or "",
                "bytes": video.bytes,
                "media": f"/matches/{number}/{side}/video",
                "picture": f"/matches/{number}/{side}/picture",
            }
        said = [row.text() for row in self.decisions.of_pair(pair.a.content, pair.b.content)]
        where = [where_text(each, pair.placement) for each in stretches]
        verdict = pair.verdict or self._heard.get(number)
        sound = sound_json(verdict) if verdict or number in self._heard or not self._ears else None
        where += sound["where"] if sound else []
        return self.row(number) | sides | {"said": said, "where": where, "sound": sound}

    def look(self, number: int) -> Looked:
        """Look closer at a pair; what is seen is kept."""
        with self._look_lock:
            if number not in self._looked:
                self._looked[number] = _of(self._evidence, number).of(self.pairs[number])
            return self._looked[number]

    def hear(self, number: int) -> PairVerdict | None:
        """Say what picture and sound of a pair say together; kept.
        ValueError where LIBRARY has no features of sound.
        """
        pair = self.pairs[number]
        if pair.verdict:
            return pair.verdict
        if not self._ears:
            raise ValueError(f"{self.library} has no features of sound")
        segments = self.look(number).segments if pair.segments is None else pair.segments
        with self._look_lock:
            if number not in self._heard:
                self._heard[number] = _of(self._ears, number).hear(pair, segments)
            return self._heard[number]

    # --- Groups

    @cached_property
    def _groups(self) -> list[Group]:
        return groups_of(self.found) if self.found else []

    def groups(self, rules: Sequence[str] = DEFAULT, *, offset: int = 0, limit: int = 20) -> dict[str, Any]:
        """List groups with what each rule says, and what is to be kept and why."""
        made, decisions = [], self.decisions
        shown = list(enumerate(self._groups, 1))[offset : offset + limit]
        every = [video for _, group in shown for video in group.videos]
        headers, away = self.files.headers(every), absent(every)
        for number, group in shown:
            facts = facts_of(group.videos, headers)
            lines = keep_plan(number, group, facts, rules, decisions, absent=away)
            by = {rule: choose(group, facts, (rule,), Decisions(), absent=away)[0].video_id for rule in RULES}
            action = {line.video_id: (line.action, line.reason) for line in lines}
            videos = [
                video_json(video, facts[video.content]) | dict(zip(("action", "reason"), action[video.video_id]))
                for video in group.videos
            ]
            kept = {"group": number, "keep": lines[0].kept, "reason": lines[0].reason}
            made.append(kept | {"by_rule": by, "videos": videos})
        return {"total": len(self._groups), "rules": list(rules), "groups": made}

    # --- Searches

    def _config(self) -> str:
        """Choose the configuration that searches use: that of what was found, else thumbprint's, else any."""
        if self.found:
            return self.found.config
        names = sorted(self.library.configs.values(), key=lambda config: (config.method != "thumbprint", config.name))
        return names[0].name if names else ""

    @cached_property
    def _index(self) -> Index:
        config = self._config()
        return Index.open(self.library.store, method=self.library.config(config).method, config=config).update()

    def new_file(self, name: str) -> Path:
        """Make a place for a file that is sent to be searched for, under its bare name."""
        folder = Path(tempfile.mkdtemp(dir=self._uploads.name))
        bare = "".join(sign for sign in name.replace("\\", "/").rpartition("/")[2] if sign.isprintable()).lstrip(".")
        return folder / (bare[:120] or "video")

    def search(self, path: Path, *, top: int = 10) -> dict[str, Any]:
        """Search for a file that was sent; its matches become pairs."""
        return self._search(str(path), top)

    def search_id(self, video_id: str, *, top: int = 10) -> dict[str, Any]:
        """Search for a video of the library. ValueError where it has none of this id."""
        video = videos_of_library(self.library, [video_id])[video_id]
        if not video.uri:
            raise ValueError(f"no video {video_id!r} in {self.library}")
        return self._search(Queries(str(self.library), {video_id: video.uri}, {video_id: None}, self.library), top)

    def _search(self, videos: str | Queries, top: int) -> dict[str, Any]:
        with self._search_lock:
            done = self._index.search(videos, top=top)
            pairs = pairs_of_answers(self.library, done.answers)
            first, config = len(self.pairs), self._index.library_index.config
            if pairs:
                self._add_evidence(first, _found(self.library, config, pairs, of_library=not isinstance(videos, str)))
                self.pairs.extend(pairs)
        return done.to_json() | {"first_match": first, "matches": len(pairs)}


def sound_json(verdict: PairVerdict | None) -> dict[str, Any]:
    """Describe what picture and sound of a pair say together, and where the sound is the same."""
    segments = verdict.by_sound.segments if verdict and verdict.by_sound else []
    return {
        "picture_and_sound": verdict.words if verdict else None,
        "segments": [asdict(each) for each in segments],
        "where": [f"sound: {where_text(each)}" for each in segments],
    }


def _of(evidence: dict[int, Evidence], number: int) -> Evidence:
    """Choose what compares a pair again: that of the search by which the pair came."""
    return evidence[max(at for at in evidence if at <= number)]


def _found(library: Library, config: str, pairs: list[Pair], *, of_library: bool) -> Found:
    """Collect pairs that no folder holds; `of_library`: their first videos are read from the library too."""
    place = str(library)
    known: dict[str, Any] = {
        "source": "",
        "what": "pairs",
        "weights": "",
        "options": {},
        "library": place,
        "query_library": place if of_library else "",
    }
    return Found(**known, config=config, pairs=pairs, rejected=0)


def decided_pairs(library: Library, decisions: Decisions) -> list[Pair]:
    """Find the pairs of the library that people spoke of: what a review without MATCHES shows."""
    rows = {row.pair: row for row in decisions.standing}
    videos = videos_of_library(library, {name for row in rows.values() for name in (row.a_id, row.b_id)})

    def video(video_id: str, content: str) -> Video:
        # A file, or a query of a search, is no video of the library, whatever it is called.
        known = videos[video_id]
        return known if known.content == content else Video(video_id=video_id, content=content)

    return [
        Pair(
            a=video(row.a_id, row.a_content),
            b=video(row.b_id, row.b_content),
            kind="alike",
            score=row.score if row.score is not None else 0.0,
            false_per_million=row.false_per_million,
        )
        for row in rows.values()
    ]
