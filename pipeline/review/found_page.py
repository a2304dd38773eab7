"""A page of what was found, by a search, `ndvr dedupe` or `ndvr similarity`, in one file that loads nothing.

write_found_page("matches", "matches.html")

Film strips lie under each other at the matching times, with what the two share drawn between their time lines, and the
window-to-window map of the first pairs. Pairs that people judged to be no match are left out and counted.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ndvr.operators.index.kinds import KINDS, WORDS, Stretch
from ndvr.operators.library.decisions import Decisions, decisions_of
from ndvr.operators.media.film_strip import film_strips, picture_size
from ndvr.operators.storage.object_store import is_object
from ndvr.operators.storage.store import write_text
from ndvr.operators.storage.video_files import local_path
from ndvr.pipeline.review.evidence import Evidence, Looked, sound_config
from ndvr.pipeline.review.figures import write_figures
from ndvr.pipeline.review.found import read_found
from ndvr.pipeline.review.keep import DEFAULT, choose, facts_of, groups_of
from ndvr.pipeline.review.page import render
from ndvr.pipeline.review.pairs import Found, Pair, opened
from ndvr.pipeline.search.answers import Match, rate_text, where_text
from ndvr.pipeline.search.verdict import Verdict

MOST_PAIRS = 2000  # of a page; a browser sorts and filters them at once
_RELATION = {
    "identical": "is the same file as",
    "decided": "was judged the same as",
    "copy": "is a copy of",
    "part": "is a part of",
    "contains": "contains",
    "shared": "shares material with",
    "common": "shares common material with",
    "setting": "shows the same setting as",
    "unsure": "may have to do with",
    "alike": "is like",
    "sound": "has the same sound as",
}
_FRAMES, _HEIGHT, _WIDTH = 8, 88, 88  # of a film strip: frames, and pixels of each at least
_MOST_GROUPS = 200
_TITLES = {"matches": "Have we seen these videos?", "pairs": "Which videos are alike?", "scores": "The best scores"}
Times = tuple[float, ...]
Wanted = tuple[str, Times]  # a file and moments in it


def write_found_page(
    source: str | Path, out: str | Path, *, pictures: int = 200, maps: int = 12, figures: str | Path | None = None
) -> Path:
    """Write the page of MATCHES, PAIRS or SCORES; return its path.

    pictures  pairs that get film strips, of what can still be read; 0: the page is written in a moment
    maps      pairs that are compared again, for segments that are not known and the map of their windows
    figures   a folder for the maps and the curve of scores, as PNG and SVG
    Raises FileNotFoundError or ValueError when SOURCE is none of them.
    """
    found = read_found(source, most=MOST_PAIRS)
    looked = _look(found, maps)
    segments = [_segments(pair, looked.get(number)) for number, pair in enumerate(found.pairs)]
    verdicts = _listen(found, segments, maps)
    strips = _strips(found.pairs, segments, pictures)
    if figures is not None:
        write_figures(figures, found, looked)
    without = [answer for answer in found.answers if answer.query_id not in found.seen]
    page = render(
        "found.html",
        title=_TITLES[found.what],
        lead=_lead(found),
        warnings=[],
        tiles=_tiles(found),
        not_seen=sorted(each.query_id for each in without if each.status == "searched"),
        not_judged=[each for each in without if each.status != "searched"],
        n_videos=f"{max((each.videos for each in found.answers), default=0):,}",
        groups=_groups(found),
        heading="Matches" if found.what == "matches" else "Pairs",
        nothing=_nothing(found),
        kinds=_kinds(found),
        pairs=[_row(pair, segments[n], looked.get(n), verdicts.get(n), n) for n, pair in enumerate(found.pairs)],
        strips=[(key, *strip) for key, strip in strips.items()],
        has_strip=set(strips),
        maps=[(number, base64.b64encode(each.picture()).decode()) for number, each in _drawn(looked)],
        notes=_notes(found, pictures, len(looked), maps),
        provenance=[f"Made from {source} by ndvr."],
    )
    write_text(Path(out), page)
    return Path(out)


def _lead(found: Found) -> str:
    if found.what == "matches":
        queries = "1 query" if len(found.answers) == 1 else f"{len(found.answers):,} queries"
        return f"{queries} searched for in {found.library}."
    if found.what == "pairs":
        return f"Pairs of videos of {found.library}."
    return f"Videos of {found.query_library} against those of {found.library}, the highest scores first."


def _nothing(found: Found) -> str:
    """Write what stands where pairs would."""
    if found.rejected:
        return "None are left: all that was found was judged not a match."
    if found.what == "matches":
        return "None of the queries was seen before." if found.answers else "Nothing was searched for yet."
    return "No two videos are as alike as was asked for."


def _notes(found: Found, pictures: int, looked: int, maps: int) -> list[str]:
    notes = ["Film strips show the same moments of both; between them each video is drawn whole, with what they share."]
    if len(found.pairs) == MOST_PAIRS:
        notes.append(f"Only the best {MOST_PAIRS:,} pairs are here; `ndvr review` shows all.")
    if 0 < pictures < len(found.pairs):
        notes.append(f"The first {pictures:,} pairs have pictures.")
    if looked and maps < len(found.pairs):
        notes.append(f"The first {maps:,} pairs were compared again, window by window.")
    return notes


def _tiles(found: Found) -> list[tuple[str, str]]:
    answers = found.answers
    tiles = []
    if found.what == "matches":
        tiles = [("queries", f"{len(answers):,}"), ("seen before", f"{len(found.seen):,}")]
    tiles.append(("matches" if found.what == "matches" else "pairs", f"{len(found.pairs):,}"))
    if failed := sum(1 for answer in answers if answer.status == "failed"):
        tiles.append(("failed", f"{failed:,}"))
    if found.rejected:
        tiles.append(("judged not a match, left out", f"{found.rejected:,}"))
    return tiles


def _kinds(found: Found) -> list[dict[str, Any]]:
    counts = Counter(pair.kind for pair in found.pairs)
    words = {pair.kind: pair.words for pair in found.pairs}
    return [{"name": k, "words": words[k], "count": counts[k]} for k in (*KINDS, "sound", "alike") if counts[k]]


def _groups(found: Found) -> list[dict[str, Any]]:
    """Read the groups of PAIRS with the video that is kept by the rules that need no file."""
    if found.what != "pairs":
        return []
    library = opened(found.library)
    decisions = decisions_of(library) if library else Decisions()
    rows = []
    for group in groups_of(found)[:_MOST_GROUPS]:
        rules = tuple(rule for rule in DEFAULT if rule != "largest")
        kept, why = choose(group, facts_of(group.videos), rules, decisions)
        others = [video.video_id for video in group.videos if video is not kept]
        rows.append({"kept": kept.video_id, "why": why, "others": others})
    return rows


# --- One pair


def _look(found: Found, maps: int) -> dict[int, Looked]:
    """Look closer at the first pairs, by number; at what is not there any more not."""
    evidence, looked = Evidence(found), {}
    for number, pair in enumerate(found.pairs[:maps]):
        try:
            looked[number] = evidence.of(pair)
        except (OSError, ValueError):
            continue
    return looked


def _listen(found: Found, segments: Sequence[Sequence[Stretch]], most: int) -> dict[int, Verdict]:
    """Say what picture and sound of pairs say together, by number:
    as it was found, else of the first pairs, heard now.
    """
    known = {number: pair.verdict for number, pair in enumerate(found.pairs) if pair.verdict}
    config = sound_config(found.library)
    if known or not config or config == found.config:
        return known
    ears = Evidence(found, config)
    for number, pair in enumerate(found.pairs[:most]):
        try:
            verdict = ears.hear(pair, segments[number])
        except (OSError, ValueError):
            continue
        if verdict:
            known[number] = verdict
    return known


def _drawn(looked: dict[int, Looked]) -> list[tuple[int, Looked]]:
    return [(number, each) for number, each in looked.items() if each.matrix.size]


def _segments(pair: Pair, looked: Looked | None) -> Sequence[Stretch]:
    return pair.segments if pair.segments is not None else looked.segments if looked else ()


def matching_times(segments: Sequence[Stretch], count: int) -> tuple[Times, Times]:
    """Choose moments of both videos that show the same, evenly spaced over the segments; none without segments."""
    total_s = sum(each.q_end_s - each.q_start_s for each in segments)
    a_s, b_s = [], []
    for number in range(count if total_s > 0 else 0):
        since = (number + 0.5) * total_s / count
        for each in segments:
            length_s = each.q_end_s - each.q_start_s
            if since <= length_s or each is segments[-1]:
                break
            since -= length_s
        moved = since * each.speed
        a_s.append(round(each.q_start_s + since, 2))
        b_s.append(round(max(0.0, each.v_end_s - moved if each.reversed else each.v_start_s + moved), 2))
    return tuple(a_s), tuple(b_s)


def _wanted(pair: Pair, segments: Sequence[Stretch]) -> tuple[Wanted, Wanted]:
    """Choose the strips of a pair: at the matching times, or evenly spaced where none are known."""
    times = list(matching_times(segments, _FRAMES))
    for place, video in enumerate((pair.a, pair.b)):
        if not times[place]:
            length_s = video.duration_s or 0.0
            times[place] = tuple(round((n + 0.5) * length_s / _FRAMES, 2) for n in range(_FRAMES))
    return (pair.a.uri, times[0]), (pair.b.uri, times[1])


def _strips(pairs: Sequence[Pair], segments: Sequence[Sequence[Stretch]], most: int) -> dict[Wanted, tuple[str, str]]:
    """Draw the film strips, each once, as data and ratio; those of files that are not here are left out."""
    wanted = [each for pair, parts in zip(pairs[:most], segments) for each in _wanted(pair, parts)]
    here = [each for each in dict.fromkeys(wanted) if _is_here(each[0])]
    strips = {}
    for each, (_, jpeg) in zip(here, film_strips(here, height=_HEIGHT, width=_WIDTH)):
        width, height = picture_size(jpeg)
        strips[each] = base64.b64encode(jpeg).decode(), f"{width}/{height}"
    return strips


def _is_here(uri: str) -> bool:
    return bool(uri) and not is_object(uri) and Path(local_path(uri)).is_file()


def _row(
    pair: Pair, segments: Sequence[Stretch], looked: Looked | None, verdict: Verdict | None, number: int
) -> dict[str, Any]:
    placement = pair.placement or (looked.placement if looked and pair.segments is None else "")
    a, b = _wanted(pair, segments)
    return {
        "number": number,
        "kind": pair.kind,
        "words": pair.words,
        "relation": _RELATION[pair.kind],
        "a_id": pair.a.video_id,
        "b_id": pair.b.video_id,
        "text": f"{pair.a.video_id} {pair.b.video_id}".lower(),
        "score": pair.score,
        "rate": 1e9 if pair.false_per_million is None else pair.false_per_million,
        "sure": pair.sure,
        "a_covered": pair.a_covered,
        "b_covered": pair.b_covered,
        "a_strip": a,
        "b_strip": b,
        "where": [where_text(stretch, placement) for stretch in segments],
        "timeline": _timeline(pair, segments, placement),
        "verdict": verdict.words if verdict else "",
        "sound": _sound(pair, verdict.by_sound if verdict else None),
        "lines": looked.lines() if looked and looked.matrix.size else [],
        "windows": list(looked.matrix.shape) if looked and looked.matrix.size else None,
    }


def _sound(pair: Pair, match: Match | None) -> dict[str, Any] | None:
    """Describe what is shown of the sound that two videos share, on the time lines of the pictures."""
    if match is None:
        return None
    sure = "" if match.false_per_million is None else f", {rate_text(match.false_per_million)} false per million"
    return {
        "timeline": _timeline(pair, match.segments, ""),
        "where": [where_text(stretch) for stretch in match.segments],
        "text": f"{WORDS[match.kind]}, score {match.score:.3f}{sure}",
    }


def _timeline(pair: Pair, segments: Sequence[Stretch], placement: str) -> list[dict[str, str]]:
    """Draw shapes between the time line of the first video (above) and of the second, both 1000 wide."""
    if not segments:
        return []
    a_s = max(pair.a.duration_s or 0.0, max(each.q_end_s for each in segments))
    covered_s = sum(each.v_end_s - each.v_start_s for each in segments)
    b_s = pair.b.duration_s or covered_s / max(pair.b_covered or 1.0, 1e-3)
    b_s = max(b_s, max(each.v_end_s for each in segments))
    shapes = []
    for each in segments:
        above = [1000 * at / a_s for at in (each.q_start_s, each.q_end_s)]
        below = [1000 * at / b_s for at in (each.v_start_s, each.v_end_s)]
        if each.reversed:
            below.reverse()
        corners = ((above[0], 2), (above[1], 2), (below[1], 38), (below[0], 38))
        points = " ".join(f"{x:.1f},{y}" for x, y in corners)
        shapes.append({"points": points, "title": where_text(each, placement)})
    return shapes
