"""Search: which videos of a library show what these videos show, where in them, and how sure that is.

ndvr search VIDEOS LIBRARY

    result = search("new.mp4", "library")
    for match in result.answers[0].matches: ...

    index = Index.open("library")      # kept open: for many searches
    index.update()
    index.search("new.mp4")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ndvr.operators.library.decisions import decisions_of
from ndvr.operators.library.feature_reader import LeavesOut, without_lost
from ndvr.operators.library.lease import Locked
from ndvr.operators.library.library import Library
from ndvr.operators.scores.groups import videos_of
from ndvr.operators.storage.store import Store
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.search import build
from ndvr.pipeline.search.answers import Answer, Status
from ndvr.pipeline.search.build import Updated
from ndvr.pipeline.search.explain import Explanation, explain
from ndvr.pipeline.search.library_index import LibraryIndex, ledger_state, open_index, without_features
from ndvr.pipeline.search.matcher import Crew, Here, Matcher, Wanted
from ndvr.pipeline.search.out_folder import OutFolder, as_csv
from ndvr.pipeline.search.queries import Queries, read_queries

ANSWERS_PER_FILE = 256
HERE = Workers(workers=0, progress=False)


@dataclass(frozen=True, kw_only=True)
class SearchResult(LeavesOut):
    """The answers, and what they do not cover."""

    library: str
    method: str
    trained: bool
    videos: int  # that were searched
    least_score: float  # of a match
    false_per_million: float | None  # expected at that score; None: not measured
    sureness_fitted: bool  # False: the library is too small to tell, values of other videos are used
    not_searched: dict[str, int]  # videos of the library without features, by reason
    not_indexed: int  # videos with features that came after the index
    lost: tuple[str, ...]  # ids of videos that could not be searched or compared: their features are gone or damaged
    out: str | None
    repeated: int  # queries that OUT had answers to already
    seconds: float
    answers: list[Answer] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def seen(self) -> bool:
        """Whether any query has a match."""
        return any(answer.matches for answer in self.answers)

    @property
    def complete(self) -> bool:
        """Whether all queries could be judged."""
        return all(answer.status == "searched" for answer in self.answers)

    def csv(self) -> str:
        """Write a table of the matches; see ndvr.pipeline.search.out_folder."""
        return as_csv(self.answers)

    def text(self) -> str:
        """Write the answers, and what was not searched."""
        lines = [answer.text() for answer in self.answers]
        return "\n".join([*lines, *self.repeated_lines(), *self.not_searched_lines()])

    def repeated_lines(self) -> list[str]:
        """Say how many queries were not searched again."""
        if not self.repeated:
            return []
        had = "1 query had its answer" if self.repeated == 1 else f"{self.repeated:,} queries had their answers"
        return [f"{had} in {self.out} already; `ndvr report {self.out} OUT.html` shows all"]

    def not_searched_lines(self) -> list[str]:
        """Say what was not searched; nothing where all was."""
        lines = []
        if missing := sum(self.not_searched.values()):
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.not_searched.items())
            lines.append(f"not searched: {missing:,} videos of {self.library} without features ({reasons})")
        if self.not_indexed:
            lines.append(
                f"not searched: {self.not_indexed:,} videos that came after the index; ndvr index {self.library}"
            )
        return lines


@dataclass(frozen=True)
class Index:
    """A library's index, opened."""

    library_index: LibraryIndex

    @classmethod
    def open(cls, library: str | Path | Store, **settings: Any) -> Index:
        """Open an index; settings as of `open_index`: method, weights, options, config, to."""
        return cls(open_index(library, **settings, embeds=True))

    def update(self, *, progress: bool = False, again: bool = False) -> Index:
        """Bring the index up to what the library holds now."""
        build.update(self.library_index.now(), progress=progress, again=again)
        return Index(self.library_index.now())

    def search(self, videos: str | Path | Queries, **settings: Any) -> SearchResult:
        """See `search_index`."""
        return search_index(self.library_index, videos, **settings)

    def explain(self, a: str, b: str) -> Explanation:
        """Explain why A, a file or a video of the library, is or is not found in video B;
        see ndvr.pipeline.search.explain.
        """
        return explain(self.library_index, a, b)


def index(
    library: str | Path,
    *,
    method: str = "thumbprint",
    weights: str | None = None,
    options: dict[str, Any] | None = None,
    config: str | None = None,
    to: str | Path | None = None,
    again: bool = False,
    strict: bool = False,
    progress: bool = True,
) -> Updated:
    """Build or extend the index of a library; see ndvr.pipeline.search.build."""
    settings: dict[str, Any] = {"method": method, "weights": weights, "options": options, "config": config, "to": to}
    index = open_index(library, **settings, again=again)
    return build.update(index, progress=progress, again=again, strict=strict)


def search(
    videos: str | Path,
    library: str | Path,
    *,
    method: str = "thumbprint",
    weights: str | None = None,
    options: dict[str, Any] | None = None,
    config: str | None = None,
    to: str | Path | None = None,
    update: bool = True,
    workers: int | None = None,
    address: str | None = None,
    strict: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
    **wanted: Any,
) -> SearchResult:
    """Search for videos in a library whose index is brought up to date first, unless `update` is False.

    With `workers` (how many processes) or `address` (of a Ray cluster; then one a CPU unless said) the index is held,
    and videos are compared, by processes on Ray, with the same answers; otherwise by this one.
    A query for which missing or damaged features matter has the status "partial"; with `strict` they are Damaged.
    `wanted`: top, n_candidates, false_per_million, exhaustive, common, fast, out; see `search_index`.
    """
    settings = {"method": method, "weights": weights, "options": options, "config": config, "to": to}
    index = open_updated(library, update=update, strict=strict, say=say, progress=progress, **settings)
    crew = crew_of(workers, address, progress=progress)
    return search_index(index, videos, workers=crew, strict=strict, progress=progress, **wanted)


def crew_of(workers: int | None, address: str | None, *, progress: bool) -> Workers:
    """Choose who searches, as the user says: this process when nothing is said."""
    return Workers(workers=0 if workers is None and address is None else workers, address=address, progress=progress)


def open_updated(
    library: str | Path,
    *,
    update: bool = True,
    strict: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
    **settings: Any,
) -> LibraryIndex:
    """Open a library whose index holds what the library does. Where somebody else is at it, the index as it is."""
    index = open_index(library, embeds=True, **settings)
    if update and index.snapshot.ledger != ledger_state(index.library):
        try:
            done = build.update(index, progress=progress, strict=strict)
            if done.added or done.removed:
                say(done.text())
        except (Locked, PermissionError) as error:
            say(f"the index is searched as it is: {error}")
        index = index.now()
    if not index.files.exists:
        raise FileNotFoundError(f"{library} has no index; `ndvr index {library}` makes it")
    build.check_library(index)
    return index


def search_index(
    index: LibraryIndex,
    videos: str | Path | Queries,
    *,
    out: str | Path | None = None,
    strict: bool = False,
    workers: Workers = HERE,
    progress: bool = False,
    **wanted: Any,
) -> SearchResult:
    """Search for VIDEOS, a file, folder, list, bucket or library.

    top, false_per_million   matches of a query, at most; false ones that are expected among a million pairs, at most
    n_candidates, exhaustive how many videos are compared with a query; all of them
    common                   look for what many videos show: it votes in full, and is not put last
    fast                     look up whole pictures only, which loses insets and strong crops
    out                      a folder that keeps the answers; queries that it has answers to are not searched again
    workers                  processes on Ray that hold the index and compare; HERE: this one
    What people judged to be no match is left out, what they judged the same is in (operators/library/decisions.py).
    """
    began = time.monotonic()
    if workers.workers != 0:
        index = replace(index, keys=False)
    queries = videos if isinstance(videos, Queries) else read_queries(videos, index)
    side = Side.of(index, Wanted(**wanted), strict=strict)
    folder = None if out is None else OutFolder(out, side.about())
    done = folder.answered(side.same) if folder else {}
    ids = [query_id for query_id in queries.uris if query_id not in done or done[query_id] != queries.stats[query_id]]
    show = progress and len(ids) > 1
    with side.crew(workers, strict=strict) as crew, Progress("search", len(ids), "query", show=show) as bar:
        coming = side.matcher.answers(queries.read(ids, index, strict=strict), crew)
        answers = collected(coming, bar, write=folder.write if folder else None)
    return side.result(answers, out=out, repeated=len(queries) - len(ids), began=began)


class Answering(Protocol):
    """An answer to one query."""

    @property
    def status(self) -> Status: ...


SomeAnswer = TypeVar("SomeAnswer", bound=Answering)


def collected(
    answers: Iterable[SomeAnswer], bar: Progress, *, write: Callable[[list[SomeAnswer]], None] | None
) -> list[SomeAnswer]:
    """Collect answers as they come, and write ANSWERS_PER_FILE at a time."""
    every: list[SomeAnswer] = []
    for answer in answers:
        every.append(answer)
        bar.advance(failed=answer.status == "failed")
        if write and len(every) % ANSWERS_PER_FILE == 0:
            write(every[-ANSWERS_PER_FILE:])
    if write and (rest := len(every) % ANSWERS_PER_FILE):
        write(every[-rest:])
    return every


@dataclass(frozen=True)
class Side:
    """An index that is searched: what finds queries in it, and what it does not cover."""

    index: LibraryIndex
    matcher: Matcher
    left_out: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, index: LibraryIndex, wanted: Wanted, *, strict: bool) -> Side:
        """Read what people decided, and what the library holds that the index does not."""
        left_out = _left_out(index, strict=strict)
        unknown = left_out.pop("unknown")
        matcher = Matcher(index, wanted, decisions_of(index.library), unknown=unknown, strict=strict)
        return cls(index, matcher, left_out)

    def crew(self, workers: Workers, *, strict: bool, crews: int = 1) -> AbstractContextManager[Crew]:
        """Hire who holds the index and compares; on Ray `crews` share the CPUs."""
        if workers.workers == 0:
            return nullcontext(Here(self.index, self.matcher.verifier))
        from ndvr.pipeline.search.on_ray import OnRay

        wanted = {"false_per_million": self.matcher.wanted.false_per_million, "strict": strict}
        return OnRay(self.index, workers, crews=crews, **wanted)

    def about(self) -> dict[str, Any]:
        """Note what decides the answers, but for decisions."""
        index, wanted = self.index, asdict(self.matcher.wanted)
        wanted["common"] = wanted["common"] or None  # answers of earlier versions do not say
        del wanted["mutual"]  # the same pairs, from either side
        return {"library": str(index.library), "config": index.config, "weights": index.model.weights} | wanted

    def same(self, content: str) -> set[str]:
        """Find the ids of the indexed videos that people judged the same as a content."""
        return self.matcher.judged_content(content, "same")

    def result(self, answers: list[Answer], *, out: str | Path | None, repeated: int, began: float) -> SearchResult:
        """Collect what was found since `began`, as time.monotonic() said it."""
        matcher, index = self.matcher, self.index
        sure, least = index.sureness, matcher.verifier.least
        return SearchResult(
            library=str(index.library),
            method=index.setting.method,
            trained=index.model.trained and index.features.trained,
            videos=matcher.n_videos,
            least_score=round(least, 4),
            false_per_million=sure.false_per_million(least, index.model.card.range) if sure else None,
            sureness_fitted=bool(sure and sure.fitted),
            **self.left_out,
            lost=tuple(sorted(matcher.lost.union(matcher.unknown))),
            out=None if out is None else str(out),
            repeated=repeated,
            seconds=round(time.monotonic() - began, 3),
            answers=answers,
        )


def _left_out(index: LibraryIndex, *, strict: bool) -> dict[str, Any]:
    """Say what a search does not see: videos without features, newer ones, and those that the index could not read."""
    library = Library(index.library.store)  # as of now
    entries, new = library.entries(index.config), 0
    unknown: list[str] = []
    if index.snapshot.ledger != ledger_state(library):
        # By content too: an index of another library, or an old one, may have another video under this id.
        rows = (segment.videos[row] for segment in index.segments for row in segment.alive)
        indexed = {(video.video_id, video.content) for video in rows}
        videos = videos_of(entries.values(), index.config)
        late = {
            each.video_id: entries[each.video_id] for each in videos if (each.video_id, each.content) not in indexed
        }
        kept, unknown = without_lost(library, late, strict=strict, read=not index.snapshot.ledger)
        entries, new = entries | kept, len(late) - len(unknown)
    return {"not_searched": without_features(entries.values()), "not_indexed": new, "unknown": unknown}
