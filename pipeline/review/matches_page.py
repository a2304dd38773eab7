"""A page of matches: what `ndvr search --out` found, film strip under film strip, in one file that loads nothing.

write_matches_page("matches", "matches.html")
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ndvr.operators.index.kinds import KINDS, WORDS, Stretch
from ndvr.operators.library.decisions import contents_of, decisions_of
from ndvr.operators.library.library import Library
from ndvr.operators.media.film_strip import film_strips, picture_size
from ndvr.operators.storage.object_store import is_remote
from ndvr.operators.storage.store import write_text
from ndvr.pipeline.review.page import render
from ndvr.pipeline.search.answers import Answer, Match, rate_text, where_text
from ndvr.pipeline.search.out_folder import read_answers, respect

_RELATION = {
    "identical": "is the same file as",
    "copy": "is a copy of",
    "part": "is a part of",
    "contains": "contains",
    "shared": "shares material with",
    "setting": "shows the same setting as",
    "unsure": "may have to do with",
}
_FRAMES, _HEIGHT = 10, 88  # of a film strip


def write_matches_page(matches: str | Path, out: str | Path, *, pictures: bool = True) -> Path:
    """Write the page for a folder of `ndvr search --out`; return its path.

    pictures  draw film strips of what can still be read; without, the page is written in a moment
    Raises FileNotFoundError or ValueError when MATCHES is no such folder.
    """
    about, answers = read_answers(matches)
    answers = _respected(about, answers)
    queries = {answer.query_id: answer.uri for answer in answers if answer.matches}
    videos = _uris(about, {match.video_id for answer in answers for match in answer.matches})
    strips = _strips({*queries.values(), *videos.values()}) if pictures else {}
    number = {uri: place for place, uri in enumerate(strips)}
    found = [(answer, match) for answer in answers for match in answer.matches]
    counts = Counter(match.kind for _, match in found)
    page = render(
        "matches.html",
        title="Have we seen these videos?",
        lead=f"{len(answers):,} queries searched for in {about['library']}.",
        warnings=[],
        tiles=_tiles(answers, len(found)),
        not_seen=sorted(answer.query_id for answer in answers if answer.status == "searched" and not answer.matches),
        not_judged=[answer for answer in answers if answer.status != "searched" and not answer.matches],
        n_videos=f"{max((answer.videos for answer in answers), default=0):,}",
        kinds=[{"name": kind, "words": WORDS[kind], "count": counts[kind]} for kind in KINDS if counts[kind]],
        matches=[_row(answer, match, videos) for answer, match in found],
        strips=list(strips.values()),
        strip_number=number,
        provenance=[f"Made from {matches} by ndvr {about.get('ndvr', '')}.".replace(" .", ".")],
    )
    path = Path(out)
    write_text(path, page)
    return path


def _respected(about: dict[str, Any], answers: list[Answer]) -> list[Answer]:
    """The answers without what was judged to be no match since; as they are where the library is not here any more."""
    try:
        library = Library(about["library"])
    except (FileNotFoundError, ValueError):
        return answers
    contents = contents_of(library, {match.video_id for answer in answers for match in answer.matches})
    return respect(answers, decisions_of(library), contents)


def _tiles(answers: list[Answer], n_matches: int) -> list[tuple[str, str]]:
    seen = sum(1 for answer in answers if answer.matches)
    failed = sum(1 for answer in answers if answer.status == "failed")
    tiles = [("queries", f"{len(answers):,}"), ("seen before", f"{seen:,}"), ("matches", f"{n_matches:,}")]
    rejected = sum(answer.rejected or 0 for answer in answers)
    tiles += [("judged not a match, left out", f"{rejected:,}")] if rejected else []
    return [*tiles, ("failed", f"{failed:,}")] if failed else tiles


def _row(answer: Answer, match: Match, videos: dict[str, str]) -> dict[str, Any]:
    rate = match.false_per_million
    return {
        "kind": match.kind,
        "words": WORDS[match.kind],
        "relation": _RELATION[match.kind],
        "query_id": answer.query_id,
        "video_id": match.video_id,
        "text": f"{answer.query_id} {match.video_id}".lower(),
        "score": match.score,
        "rate": 1e9 if rate is None else rate,
        "sure": None if rate is None else f"{rate_text(rate)} false per million",
        "query_covered": match.query_covered,
        "video_covered": match.video_covered,
        "query_key": answer.uri,
        "video_key": videos.get(match.video_id, ""),
        "where": [where_text(stretch, match.placement) for stretch in match.segments],
        "timeline": _timeline(match.segments, answer.duration_s, match),
    }


def _timeline(segments: list[Stretch], query_s: float | None, match: Match) -> list[dict[str, str]]:
    """Shapes between the query's time line (above) and the video's, both 1000 wide."""
    if not segments:
        return []
    query_s = max(query_s or 0.0, max(each.q_end_s for each in segments))
    covered_s = sum(each.v_end_s - each.v_start_s for each in segments)
    video_s = max(max(each.v_end_s for each in segments), covered_s / max(match.video_covered, 1e-3))
    shapes = []
    for each in segments:
        above = [1000 * at / query_s for at in (each.q_start_s, each.q_end_s)]
        below = [1000 * at / video_s for at in (each.v_start_s, each.v_end_s)]
        if each.reversed:
            below.reverse()
        corners = ((above[0], 2), (above[1], 2), (below[1], 38), (below[0], 38))
        points = " ".join(f"{x:.1f},{y}" for x, y in corners)
        shapes.append({"points": points, "title": where_text(each, match.placement)})
    return shapes


def _uris(about: dict[str, Any], ids: set[str]) -> dict[str, str]:
    """Where the library says its videos are; nothing where it is not here any more."""
    try:
        library = Library(about["library"])
        entries = library.lookup(library.configs, ids).entries.values()
    except (FileNotFoundError, ValueError):
        return {}
    return {
        video_id: entry.end["uri"] for entries in entries for video_id, entry in entries.items() if entry.end["uri"]
    }


def _strips(uris: Iterable[str]) -> dict[str, dict[str, str]]:
    """Draw the film strip of each file once; those in an object store are left out."""
    here = sorted(uri for uri in uris if uri and not is_remote(uri))
    strips = {}
    for uri, (_, jpeg) in zip(here, film_strips(here, frames=_FRAMES, height=_HEIGHT)):
        width, height = picture_size(jpeg)
        strips[uri] = {"data": base64.b64encode(jpeg).decode(), "ratio": f"{width}/{height}"}
    return strips
