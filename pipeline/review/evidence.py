"""Where in time two videos agree: the window-to-window matrix of a pair, the segments in it, and its picture.

    evidence = Evidence(found)
    looked = evidence.of(pair)          # Looked(matrix (T, U), segments, ...) from stored features
    looked.picture()                    # PNG: the matrix, one pixel a pair of windows

A query that is a file is decoded again; all else is read from the libraries.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np

from ndvr.operators.index.kinds import Kind, Stretch, hop_s
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.operators.library.library import Library
from ndvr.operators.scores.groups import Video as Stored
from ndvr.operators.storage.object_store import is_object
from ndvr.operators.storage.video_files import local_path
from ndvr.pipeline.review.pairs import Found, Pair
from ndvr.pipeline.search.answers import Match
from ndvr.pipeline.search.library_index import LibraryIndex, open_index
from ndvr.pipeline.search.matcher import Matcher, Wanted
from ndvr.pipeline.search.queries import Queries, Query, read_queries
from ndvr.pipeline.search.verdict import Judgeable, Verdict, verdict_of
from ndvr.pipeline.search.verify import Compared, Proposed, ReadyQuery

_COLOURS = "viridis"  # both of its ends can be told from a light and from a dark page
_MOST_PIXELS = 400  # a side; longer matrices are drawn by the highest value of each block


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What the closer look at a pair gave. Of methods that have one value a video, matrix is (0, 0)."""

    matrix: np.ndarray = field(repr=False)  # (T, U): agreement of windows of a and b
    a_length_s: float
    b_length_s: float
    segments: tuple[Stretch, ...]
    score: float
    placement: str

    def picture(self) -> bytes:
        """Draw the matrix as PNG: a from top to bottom, b from left to right. ValueError when there is none."""
        from matplotlib import colormaps
        from matplotlib.image import imsave

        if not self.matrix.size:
            raise ValueError("the method compares one value a video: there is no matrix of windows")
        values = _shrunk(self.matrix)
        low, high = float(values.min()), float(values.max())
        rgba = colormaps[_COLOURS]((values - low) / ((high - low) or 1.0), bytes=True)
        out = io.BytesIO()
        imsave(out, rgba, format="png")
        return out.getvalue()

    def lines(self) -> list[tuple[float, float, float, float]]:
        """Draw the segments as lines in the picture: x1, y1, x2, y2, each in [0, 1]."""
        made = []
        for each in self.segments:
            first, last = (each.v_end_s, each.v_start_s) if each.reversed else (each.v_start_s, each.v_end_s)
            x = [min(at / max(self.b_length_s, 1e-9), 1.0) for at in (first, last)]
            y = [min(at / max(self.a_length_s, 1e-9), 1.0) for at in (each.q_start_s, each.q_end_s)]
            made.append((x[0], y[0], x[1], y[1]))
        return made


def _shrunk(matrix: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        size = matrix.shape[axis]
        if size > _MOST_PIXELS:
            starts = np.linspace(0, size, _MOST_PIXELS, endpoint=False).astype(int)
            matrix = np.maximum.reduceat(matrix, starts, axis=axis)
    return matrix


def _length_s(start_s: np.ndarray) -> float:
    return float(start_s[-1]) + hop_s(start_s)


class Evidence:
    """Compares the pairs of one folder again, with the method that found them; opened when it is first asked.

    config  compare by another configuration of the library, such as that of a method that listens
    """

    def __init__(self, found: Found, config: str = ""):
        self.found = found if not config else replace(found, config=config, weights="", options={})
        self._other = bool(config)
        self._last: tuple[str, Query] | None = None  # most pairs of a query follow each other

    @cached_property
    def _index(self) -> LibraryIndex:
        found, library = self.found, Library(self.found.library)
        method = library.config(found.config).method
        weights = None if found.weights in ("", "none needed") else found.weights
        return open_index(
            library.store, method=method, config=found.config, weights=weights, options=found.options, embeds=True
        )

    @cached_property
    def _matcher(self) -> Matcher:
        return Matcher(self._index, Wanted() if self._other else Wanted(false_per_million=1e9))

    @cached_property
    def _reader(self) -> FeatureReader:
        return FeatureReader(self._index.library.store)

    def of(self, pair: Pair) -> Looked:
        """Compare a pair. ValueError, FileNotFoundError or OSError where features or files are not there any more."""
        query = self._query(pair)
        if query.features is None or not len(query.features):
            raise ValueError(query.message or f"{pair.a.video_id} has no features")
        video = self._index.lookup([pair.b.video_id]).get(pair.b.video_id)
        if video is None:
            raise ValueError(f"{self.found.library} has no features of {pair.b.video_id} any more")
        compared = self._compared(query, video)
        return Looked(
            matrix=compared.judged.matrix,
            a_length_s=_length_s(query.start_s),
            b_length_s=_length_s(self._reader.timed(video.pieces)[0]),
            segments=tuple(compared.match.segments),
            score=compared.judged.score,
            placement=compared.match.placement,
        )

    def hear(self, pair: Pair, segments: Sequence[Stretch]) -> Verdict | None:
        """Listen to a pair: what its picture, with its segments, and its sound, heard now, say together.
        Raises as `of`.

        None where nothing says that the two share anything: only a score is known, and the sound is not the same.
        """
        heard, hears = self._match(pair)
        if pair.kind == "alike" and not segments:
            blind = Judgeable(query=None, video=None)
            return None if heard is None else verdict_of(None, heard, looks=blind, hears=hears)
        seen = Match(
            video_id=pair.b.video_id,
            kind="unsure" if pair.kind == "alike" else cast(Kind, pair.kind),
            score=pair.score,
            false_per_million=pair.false_per_million,
            query_covered=pair.a_covered or 0.0,
            video_covered=pair.b_covered or 0.0,
            placement=pair.placement,
            segments=list(segments),
        )
        return verdict_of(seen, heard, looks=Judgeable(query=True, video=True), hears=hears)

    def _match(self, pair: Pair) -> tuple[Match | None, Judgeable]:
        """Find the match that this method sees in a pair, if any, and whether it can tell."""
        query, video_id = self._query(pair), pair.b.video_id
        video = self._index.lookup([video_id]).get(video_id)
        if video is None:
            return None, Judgeable(query=self._matcher.can_judge(query), video=self._matcher.has_keys(video_id))
        keys = self._index.model.keys(self._reader.read(video.pieces))
        can = Judgeable(query=self._matcher.can_judge(query), video=len(keys) > 0)
        match = self._compared(query, video).match if can.query and can.video else None
        return match if match and match.score >= self._matcher.verifier.least else None, can

    def _compared(self, query: Query, video: Stored) -> Compared:
        assert query.features is not None
        verifier = self._matcher.verifier
        return verifier.judge(ReadyQuery(verifier.model, query), Proposed(video=video))

    def _query(self, pair: Pair) -> Query:
        if self._last is None or self._last[0] != pair.a.content:
            self._last = pair.a.content, next(self._read(pair))
        return self._last[1]

    def _read(self, pair: Pair) -> Iterator[Query]:
        index, video = self._index, pair.a
        if self.found.query_library:
            library = Library(self.found.query_library)
            if video.video_id not in library.lookup([self.found.config], [video.video_id]).entries[self.found.config]:
                raise ValueError(f"{library} has no features of {video.video_id} any more")
            queries = Queries(str(library), {video.video_id: ""}, {video.video_id: None}, library)
            return queries.read([video.video_id], index)
        if not is_object(video.uri) and not Path(local_path(video.uri)).is_file():
            raise FileNotFoundError(f"{video.uri} is not there any more")
        queries = read_queries(video.uri, index)
        return queries.read(list(queries.uris)[:1], index)


def sound_config(library: str) -> str:
    """Find the configuration of a library by which pairs are listened to; "" where it has none."""
    try:
        configs = Library(library).configs
    except (FileNotFoundError, ValueError):
        return ""
    hearing = [name for name, config in configs.items() if config.view.get("kind") == "Mel"]
    return min(hearing, key=lambda name: (configs[name].method != "soundprint", name), default="")
