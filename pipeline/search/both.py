"""Pictures and sound together: one verdict a pair, out of the matches of a method that looks and one that listens.

    result = search_both("new", "library", methods=("thumbprint", "soundprint"))
    result.answers[0].verdicts[0].words      # same picture, other sound

What one of the two finds is compared by the other as well: "other sound" rests on a comparison, not on what an index
did not propose.

OUT/            the answers by pictures, as `ndvr search` keeps them
OUT/sound/      those by sound, in the same way
OUT/verdicts/   a row per pair: see ndvr.pipeline.search.verdict
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndvr import models
from ndvr.models.card import Mel
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.search.answers import MATCHES, SEGMENTS, Answer, Status, status_of_both
from ndvr.pipeline.search.explain import Explanation, explain
from ndvr.pipeline.search.library_index import LibraryIndex
from ndvr.pipeline.search.matcher import Crew, Matcher, Wanted
from ndvr.pipeline.search.out_folder import SOUND, VERDICTS_FOLDER, OutFolder
from ndvr.pipeline.search.queries import Queries, Query, read_each, read_queries
from ndvr.pipeline.search.search import SearchResult, Side, collected, crew_of, open_updated
from ndvr.pipeline.search.verdict import VERDICTS, Judgeable, Verdict, verdict_of


@dataclass(frozen=True, kw_only=True)
class BothAnswer:
    """What is known of one query."""

    query_id: str
    by_picture: Answer = field(repr=False)
    by_sound: Answer = field(repr=False)
    verdicts: list[Verdict]
    left_out: list[Verdict]  # of pairs that people judged to be no match

    @property
    def status(self) -> Status:
        """As of a search by one method: failed where both did, partial where one did, unsure where neither can tell."""
        return status_of_both(self.by_picture.status, self.by_sound.status)

    def to_json(self) -> dict[str, Any]:
        answers = {name: getattr(self, name).to_json() for name in ("by_picture", "by_sound")}
        for answer in answers.values():
            del answer["matches"]  # the verdicts have them
        verdicts = [each.to_json() for each in self.verdicts]
        return {"query_id": self.query_id, "status": self.status, "verdicts": verdicts} | answers

    def text(self) -> str:
        """Write a line, and some per pair."""
        sides = {"by picture": self.by_picture, "by sound": self.by_sound}
        among = "; ".join(f"{name}, {_among(answer)}" for name, answer in sides.items())
        count = "1 match" if len(self.verdicts) == 1 else f"{len(self.verdicts):,} matches"
        if not self.verdicts:
            count = "not seen" if self.status == "searched" else "cannot judge"
        note = f" ({len(self.left_out):,} left out, judged not a match)" if self.left_out else ""
        lines = [f"{self.query_id}: {count}{note}: {among}"]
        return "\n".join(lines + [verdict.text(number) for number, verdict in enumerate(self.verdicts, 1)])


def _among(answer: Answer) -> str:
    """Say what was searched, or why it was not."""
    if answer.status in ("failed", "unsure"):
        return answer.message
    return f"among {answer.videos:,} videos" + (f" ({answer.message})" if answer.message else "")


@dataclass(frozen=True, kw_only=True)
class BothResult:
    """The answers, and what they do not cover by pictures and by sound."""

    by_picture: SearchResult  # without answers: they are in `answers`
    by_sound: SearchResult
    answers: list[BothAnswer] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        sides = {name: asdict(getattr(self, name)) for name in ("by_picture", "by_sound")}
        for side in sides.values():
            del side["answers"]
        return sides | {"answers": [each.to_json() for each in self.answers]}

    @property
    def trained(self) -> bool:
        """Whether the weights of both were."""
        return self.by_picture.trained and self.by_sound.trained

    @property
    def seen(self) -> bool:
        """Whether any query has a match."""
        return any(answer.verdicts for answer in self.answers)

    @property
    def complete(self) -> bool:
        """Whether all queries could be judged, by pictures or by sound."""
        return all(answer.status == "searched" for answer in self.answers)

    def csv(self) -> str:
        """Write a row per segment, by picture or by sound, with the columns of its match and of the verdict."""
        columns = ["verdict", "picture", "sound", "together", "by", *MATCHES.names, *SEGMENTS.names[2:]]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for answer in self.answers:
            for rank, verdict in enumerate(answer.verdicts, 1):
                writer.writerows(verdict.csv_rows({"query_id": answer.query_id, "rank": rank}))
        return text.getvalue().rstrip("\n")

    def left_out_text(self) -> str:
        """Say which videos have lost their features; nothing when none has."""
        return "\n".join(filter(None, [self.by_picture.left_out_text(), self.by_sound.left_out_text()]))

    def text(self) -> str:
        """Write the answers, and what was not searched."""
        lines = [*(answer.text() for answer in self.answers), *self.by_picture.repeated_lines()]
        for side, what in ((self.by_picture, "by pictures"), (self.by_sound, "by sound")):
            lines += [f"{what}: {line}" for line in side.not_searched_lines()]
        return "\n".join(lines)


def search_both(
    videos: str | Path,
    library: str | Path,
    *,
    methods: Sequence[str] = ("thumbprint", "soundprint"),
    weights: dict[str, str] | None = None,
    options: dict[str, Any] | None = None,
    config: str | None = None,
    to: str | Path | None = None,
    out: str | Path | None = None,
    update: bool = True,
    workers: int | None = None,
    address: str | None = None,
    strict: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
    **wanted: Any,
) -> BothResult:
    """Search by a method that looks and by one that listens, in any order; settings as of `ndvr.search`.

    config   of either of them
    workers  as many for each of the two; one query after the other is searched for by all
    ValueError unless one of the methods looks and the other one listens.
    """
    crew, methods = crew_of(workers, address, progress=progress), in_turn(methods)
    index = []
    for method, chosen in zip(methods, _configs(config, methods)):
        mine = {key: value for key, value in (options or {}).items() if key in models.card(method).options}
        known = {"method": method, "weights": (weights or {}).get(method), "options": mine, "config": chosen, "to": to}
        each = open_updated(library, update=update, strict=strict, say=say, progress=progress, **known)
        index.append(each if crew.workers == 0 else replace(each, keys=False))
    began = time.monotonic()
    queries = [read_queries(videos, each) for each in index]
    sides = [Side.of(each, Wanted(**wanted), strict=strict) for each in index]
    folders = _folders(out, index, sides)
    ids = _waiting(queries, folders, sides)
    with ExitStack() as stack:
        eyes, ears = (
            _Finder(side.matcher, stack.enter_context(side.crew(crew, strict=strict, crews=2))) for side in sides
        )
        bar = stack.enter_context(Progress("search", len(ids), "query", show=progress and len(ids) > 1))
        coming = (_answer(eyes, ears, *read) for read in read_each(queries, ids, index, strict=strict))
        answers = collected(coming, bar, write=partial(_write, folders) if folders else None)
    repeated = len(_ids(queries)) - len(ids)
    seen, heard = (side.result([], out=out, repeated=repeated, began=began) for side in sides)
    return BothResult(by_picture=seen, by_sound=heard, answers=answers)


def _configs(config: str | None, methods: Sequence[str]) -> list[str | None]:
    """Put the configuration asked for in the place of its method. ValueError when it is of neither."""
    if config is not None and config.rpartition("-")[0] not in methods:
        raise ValueError(f"--config {config} is of neither {methods[0]} nor {methods[1]}")
    return [config if config is not None and config.rpartition("-")[0] == method else None for method in methods]


def in_turn(methods: Sequence[str]) -> tuple[str, str]:
    """Sort the methods: the one that looks, then the one that listens. ValueError unless there is one of each."""
    hears = {method: isinstance(models.card(method).view, Mel) for method in methods}
    if len(methods) != 2 or sorted(hears.values()) != [False, True]:
        raise ValueError(
            f"--method {', '.join(methods)}: give one method, or one that looks and one that listens, such as "
            "--method thumbprint --method soundprint"
        )
    picture, sound = sorted(methods, key=lambda method: hears[method])
    return picture, sound


@dataclass(frozen=True, kw_only=True)
class BothExplained:
    """All gates of a pair by pictures and by sound, and what they say together."""

    verdict: str
    by_picture: Explanation
    by_sound: Explanation

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """Write the verdict, and the gates of each."""
        sides = (("by picture", self.by_picture), ("by sound", self.by_sound))
        pair = f"{self.by_picture.a} in {self.by_picture.b}: {self.verdict}"
        return "\n".join([pair, *(f"{name}, {side.text()}" for name, side in sides)])


def explain_both(library: str | Path, a: str, b: str, *, methods: Sequence[str]) -> BothExplained:
    """Explain why A, a file or a video of the library, is or is not found in video B;
    see ndvr.pipeline.search.explain.
    """
    seen, heard = (explain(open_updated(library, method=method), a, b) for method in in_turn(methods))
    verdict = "not found"
    if seen.match or heard.match:
        matches = seen.match or seen.compared, heard.match or heard.compared
        verdict = verdict_of(*matches, looks=seen.can, hears=heard.can).words
    return BothExplained(verdict=verdict, by_picture=seen, by_sound=heard)


@dataclass(frozen=True)
class _Finder:
    """What finds queries in one index, and who does the work."""

    matcher: Matcher
    crew: Crew

    def answer(self, query: Query, also: Collection[str] = ()) -> Answer:
        return self.matcher.answer(query, also, self.crew)


def _answer(eyes: _Finder, ears: _Finder, picture: Query, sound: Query) -> BothAnswer:
    """Answer one query by both, each of what the other found as well."""
    heard = ears.answer(sound)
    known = _found(heard)
    seen = eyes.answer(picture, known)
    if more := [video_id for video_id in _found(seen) if video_id not in known]:
        heard = ears.answer(sound, [*known, *more])
    both = (picture, seen), (sound, heard)
    return BothAnswer(
        query_id=picture.query_id,
        by_picture=seen,
        by_sound=heard,
        verdicts=list(_verdicts(eyes.matcher, ears.matcher, *both, "matches")),
        left_out=list(_verdicts(eyes.matcher, ears.matcher, *both, "left_out")),
    )


def _found(answer: Answer) -> list[str]:
    return [match.video_id for match in (*answer.matches, *answer.left_out)]


def _verdicts(
    eyes: Matcher, ears: Matcher, picture: tuple[Query, Answer], sound: tuple[Query, Answer], of: str
) -> Iterator[Verdict]:
    """Give a verdict a pair; `of`: matches, or left_out."""
    seen, heard = ({match.video_id: match for match in getattr(answer, of)} for _, answer in (picture, sound))
    if not (ids := dict.fromkeys([*seen, *heard])):
        return
    can_look, can_hear = eyes.can_judge(picture[0]), ears.can_judge(sound[0])
    for video_id in ids:
        looks = Judgeable(query=can_look, video=_has_keys(eyes, video_id))
        hears = Judgeable(query=can_hear, video=_has_keys(ears, video_id))
        yield verdict_of(seen.get(video_id), heard.get(video_id), looks=looks, hears=hears)


def _has_keys(matcher: Matcher, video_id: str) -> bool | None:
    """Say whether one method can tell anything of a video."""
    return False if video_id in matcher.lost else matcher.has_keys(video_id)


# --- OUT


def _folders(out: str | Path | None, index: Sequence[LibraryIndex], sides: Sequence[Side]) -> list[OutFolder]:
    if out is None:
        return []
    about = [side.about() for side in sides]
    return [OutFolder(out, about[0] | {SOUND: index[1].config}), OutFolder(f"{out}/{SOUND}", about[1])]


def _waiting(queries: Sequence[Queries], folders: Sequence[OutFolder], sides: Sequence[Side]) -> list[str]:
    """Find the queries that have no answer by both yet."""
    done = [(folder.answered(side.same), each.stats) for folder, side, each in zip(folders, sides, queries)]
    return [
        query_id
        for query_id in _ids(queries)
        if not done or any(query_id not in there or there[query_id] != stats.get(query_id) for there, stats in done)
    ]


def _ids(queries: Sequence[Queries]) -> list[str]:
    """List all queries, those that only one of the methods has features of included."""
    return list(dict.fromkeys(query_id for each in queries for query_id in each.uris))


def _write(folders: Sequence[OutFolder], answers: Sequence[BothAnswer]) -> None:
    """Keep answers; those by pictures last, by which a query counts as answered."""
    seen = [answer.by_picture for answer in answers]
    rows = [
        verdict.row(answer.query_id, left_out=verdict in answer.left_out)
        for answer in answers
        for verdict in (*answer.verdicts, *answer.left_out)
    ]
    folders[1].write([answer.by_sound for answer in answers])
    folders[0].write(seen, {VERDICTS_FOLDER: pa.Table.from_pylist(rows, VERDICTS)})
