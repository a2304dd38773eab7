"""What was found is read again: the pairs of MATCHES, PAIRS or SCORES with what is known of their videos.

    found = read_found("matches")               # of `ndvr search --out`, `ndvr dedupe` or `ndvr similarity`
    found.pairs[0].a.video_id, found.pairs[0].segments

Pairs that people judged to be no match are left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.operators.index.kinds import Stretch
from ndvr.operators.library.library import Library
from ndvr.operators.scores.files import ABOUT as SCORES_ABOUT
from ndvr.operators.scores.files import file_hash, open_scores, read_manifest
from ndvr.operators.storage.sealed import read_sealed_json, read_table, stored_table
from ndvr.operators.storage.shapes import shaped
from ndvr.operators.storage.store import Store
from ndvr.pipeline.comparison.dedupe import LEFT_OUT, PAIRS
from ndvr.pipeline.review.pairs import (
    Found,
    Pair,
    Video,
    What,
    decisions_there,
    ids_found,
    opened,
    pair_of,
    pairs_of,
    query_video,
    standing_of,
    videos_of_library,
)
from ndvr.pipeline.search.answers import Answer, Match, status_of_both
from ndvr.pipeline.search.duplicates import PAIRS as INDEX_PAIRS
from ndvr.pipeline.search.out_folder import ABOUT as SEARCH_ABOUT
from ndvr.pipeline.search.out_folder import SOUND, VERDICTS_FOLDER, read_answers, respect
from ndvr.pipeline.search.verdict import VERDICTS, Verdict

PAIRS_ABOUT, GROUPS_ABOUT, SEARCHES = "pairs.json", "groups.json", "searches"
_REMEDY = "run `ndvr dedupe` again"
_COMPARED = {"database_library": str, "query_library": str, "config": str, "weights": str, "options": dict[str, Any]}


@dataclass(frozen=True)
class _Counted:
    """What is read of the counts that PAIRS says."""

    rejected: int = 0


def read_found(source: str | Path, library: str | Path | None = None, *, most: int | None = None) -> Found:
    """Read MATCHES, PAIRS or SCORES; `library` where it lies elsewhere than they say. `most`: the best pairs only.

    FileNotFoundError or ValueError when it is none of them.
    """
    store = Store(source)
    if store.exists(SEARCH_ABOUT):
        found = _of_matches(source, library)
    elif store.exists(GROUPS_ABOUT):
        found = _of_index_pairs(store, library)
    elif store.exists(PAIRS_ABOUT):
        found = _of_all_pairs(store, library)
    elif store.exists(SCORES_ABOUT):
        found = _of_scores(Path(source), library, most or 100_000)
    else:
        read_answers(source)  # says what makes such a folder
        raise AssertionError("a folder without search.json was read")
    return found if most is None or len(found.pairs) <= most else _best(found, most)


def _of_matches(source: str | Path, library: str | Path | None) -> Found:
    about, answers = read_answers(source)
    place = str(library or about["library"])
    there = opened(place)
    videos = videos_of_library(there, ids_found(answers))
    contents = {video.video_id: video.content for video in videos.values()}
    answers = respect(answers, decisions_there(there), contents, top=None if SOUND in about else about.get("top"))
    pairs, left_out = pairs_of(videos, answers), pairs_of(videos, _as_matches(answers))
    rejected = sum(answer.rejected or 0 for answer in answers)
    if SOUND in about:
        pairs, left_out, answers = _with_sound(source, there, answers)
        rejected = len(left_out)
    return Found(
        source=str(source),
        what="matches",
        library=place,
        query_library="",
        config=about.get("config", ""),
        weights=about.get("weights", ""),
        options={},
        pairs=pairs,
        seen=frozenset(pair.a.video_id for pair in pairs),
        left_out=left_out,
        rejected=rejected,
        answers=answers,
    )


def _with_sound(
    source: str | Path, library: Library | None, answers: Sequence[Answer]
) -> tuple[list[Pair], list[Pair], list[Answer]]:
    """Pair a search by picture and sound up: each pair with its verdict, those that are left out, and what both say.

    Of a query those found by sound alone come last.
    """
    _, every = read_answers(f"{source}/{SOUND}")
    videos = videos_of_library(library, ids_found([*answers, *every]))
    contents = {video.video_id: video.content for video in videos.values()}
    every = respect(every, decisions_there(library), contents)
    heard = {answer.query_id: answer for answer in every}
    store = Store(source)
    verdicts = {}
    for name in (name for name in store.names(VERDICTS_FOLDER) if name.endswith(".parquet")):
        for row in stored_table(store, f"{VERDICTS_FOLDER}/{name}", VERDICTS, remedy=_REMEDY).to_pylist():
            known = {key: row[key] for key in ("video_id", "picture", "sound", "together")}
            verdicts[row["query_id"], row["video_id"]] = known
    pairs = _with_verdicts(answers, every, videos, verdicts)
    left_out = _with_verdicts(_as_matches(answers), _as_matches(every), videos, verdicts)
    return pairs, left_out, [_both_say(answer, heard.get(answer.query_id)) for answer in answers]


def _with_verdicts(
    answers: Sequence[Answer],
    sounds: Sequence[Answer],
    videos: Mapping[str, Video],
    verdicts: Mapping[tuple[str, str], dict[str, Any]],
) -> list[Pair]:
    """Collect the matches of the queries that both methods searched for, by picture or by sound."""
    heard = {answer.query_id: answer for answer in sounds}
    pairs = []
    for answer in (answer for answer in answers if answer.query_id in heard):
        by_picture = {match.video_id: match for match in answer.matches}
        by_sound = {match.video_id: match for match in heard[answer.query_id].matches}
        for video_id in dict.fromkeys([*by_picture, *by_sound]):
            seen = by_picture.get(video_id)
            match = seen or replace(by_sound[video_id], segments=[], placement="")
            both: dict[str, Any] = {"by_picture": seen, "by_sound": by_sound.get(video_id)}
            said = verdicts.get((answer.query_id, video_id))
            verdict = None if said is None else Verdict(**said, **both)
            pair = pair_of(query_video(answer), videos[video_id], match)
            pairs.append(replace(pair, verdict=verdict, kind=pair.kind if seen else "sound"))
    return pairs


def _as_matches(answers: Sequence[Answer]) -> list[Answer]:
    """Show the answers with what people judged to be no match as their matches."""
    return [replace(answer, matches=answer.left_out) for answer in answers]


def _both_say(by_picture: Answer, by_sound: Answer | None) -> Answer:
    """Say what was searched for a query by both methods."""
    if by_sound is None:
        return replace(by_picture, status="partial", message="its sound was not searched; run the same search again")
    messages = [message for message in dict.fromkeys((by_picture.message, by_sound.message)) if message]
    if len(messages) == 2 and messages[1] in messages[0]:  # of one file that neither of the two can read
        messages.pop()
    status = status_of_both(by_picture.status, by_sound.status)
    return replace(by_picture, status=status, message="" if status == "searched" else "; ".join(messages))


def _of_index_pairs(store: Store, library: str | Path | None) -> Found:
    """Read what `ndvr dedupe --by-index` wrote:
    pairs with what they cover, and the segments of the searches behind them.
    """
    searches = Store(f"{store.root}/{SEARCHES}", store.access)
    about, answers = read_answers(searches)
    place = str(library or about["library"])
    there = opened(place)
    rows = stored_table(store, PAIRS, INDEX_PAIRS, remedy=_REMEDY).to_pylist()
    before = 0  # left out, of which nothing more is known
    if store.exists(LEFT_OUT):
        rows += stored_table(store, LEFT_OUT, INDEX_PAIRS, remedy=_REMEDY).to_pylist()
        rows.sort(key=_order)
    else:  # of an older version
        said = read_sealed_json(store, GROUPS_ABOUT, remedy=_REMEDY)
        before = shaped(said, {"rejected": int}, f"{store}/{GROUPS_ABOUT}", remedy=_REMEDY)["rejected"]
    videos = videos_of_library(there, {row[side] for row in rows for side in ("video_id_a", "video_id_b")})
    matches = {(each.query_id, match.video_id): match for each in answers for match in (*each.matches, *each.left_out)}
    every = []
    for row in rows:
        a, b = row.pop("video_id_a"), row.pop("video_id_b")
        there_and_back = matches.get((a, b)), matches.get((b, a))
        every.append(Pair(a=videos[a], b=videos[b], **row, **_where(*there_and_back)))
    known: dict[str, Any] = {
        "source": str(store),
        "what": "pairs",
        "library": place,
        "query_library": place,
        "options": {},
    }
    found = Found(**known, config=about["config"], weights=about["weights"], **standing_of(every, there))
    return replace(found, rejected=found.rejected + before)


def _order(row: Mapping[str, Any]) -> tuple[float, str, str]:
    return -row["score"], row["video_id_a"], row["video_id_b"]


def _where(match: Match | None, back: Match | None) -> dict[str, Any]:
    """Say where a pair agrees, by the search for its first video, else by that for the second."""
    segments = tuple(match.segments if match else ())
    placement = match.placement if match else ""
    if back is not None:
        segments = segments or tuple(map(_turned, back.segments))
        placement = placement or ("mirrored" if "mirrored" in back.placement else "")
    return {"placement": placement, "segments": segments}


def _turned(stretch: Stretch) -> Stretch:
    """Say the same of the other video."""
    return Stretch(
        q_start_s=stretch.v_start_s,
        q_end_s=stretch.v_end_s,
        v_start_s=stretch.q_start_s,
        v_end_s=stretch.q_end_s,
        speed=round(1 / stretch.speed, 3) if stretch.speed else 1.0,
        reversed=stretch.reversed,
        agreement=stretch.agreement,
    )


def _of_all_pairs(store: Store, library: str | Path | None) -> Found:
    path = store.folder / PAIRS_ABOUT
    optional = {"files": dict[str, str] | None, "found": _Counted | None}
    about = shaped(read_manifest(path, remedy=_REMEDY), _COMPARED, path, optional=optional, remedy=_REMEDY)
    files = about.get("files") or {}
    rows, before = _of_all(store, PAIRS, files), 0
    if LEFT_OUT in files:
        rows = sorted(rows + _of_all(store, LEFT_OUT, files), key=_order)
    else:  # of an older version
        before = (about.get("found") or {}).get("rejected", 0)
    place = str(library or about["database_library"])
    there = opened(place)
    videos = videos_of_library(there, {row[side] for row in rows for side in ("video_id_a", "video_id_b")})
    every = [
        Pair(
            a=videos[row["video_id_a"]],
            b=videos[row["video_id_b"]],
            kind="alike" if row["kind"] == "similar" else row["kind"],
            score=row["score"],
        )
        for row in rows
    ]
    found = Found(**_of_comparison(store.root, "pairs", place, about), **standing_of(every, there))
    return replace(found, rejected=found.rejected + before)


def _of_all(store: Store, name: str, files: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read the rows of a file that `ndvr dedupe` wrote. ValueError where it is another one by now."""
    if files.get(name) not in (None, file_hash(store.folder / name)):
        raise ValueError(f"{store}/{name} is not the file that {PAIRS_ABOUT} names; {_REMEDY}")
    return read_table(store.folder / name).to_pylist()


def _of_scores(folder: Path, library: str | Path | None, most: int) -> Found:
    """Find the best scores of SCORES, a pair once where both directions are there, and no video with itself."""
    scores = open_scores(folder)
    about = shaped(dict(scores.meta), _COMPARED, folder / SCORES_ABOUT, remedy="run `ndvr similarity` again")
    place, query_place = str(library or about["database_library"]), about["query_library"]
    there = opened(place)
    queries_there = there if query_place == place else opened(query_place)
    best: dict[tuple[str, str], float] = {}
    floor = -np.inf
    for batch in scores.batches():
        kept = np.flatnonzero(batch.score > floor)
        kept = kept[np.argsort(-batch.score[kept], kind="stable")[: 2 * most]]
        queries, videos = batch.queries, batch.videos
        for row in kept:
            a, b = queries[int(batch.query[row])].as_py(), videos[int(batch.video[row])].as_py()
            pair = (a, b) if query_place != place or a < b else (b, a)
            if a != b or query_place != place:
                best[pair] = max(float(batch.score[row]), best.get(pair, -np.inf))
        if len(best) > 4 * most:
            best = dict(sorted(best.items(), key=lambda item: (-item[1], item[0]))[:most])
            floor = min(best.values())
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))[:most]
    a_videos = videos_of_library(queries_there, {a for (a, _), _ in ranked})
    b_videos = videos_of_library(there, {b for (_, b), _ in ranked})
    every = [Pair(a=a_videos[a], b=b_videos[b], kind="alike", score=score) for (a, b), score in ranked]
    return Found(**_of_comparison(str(folder), "scores", place, about), **standing_of(every, there))


def _of_comparison(source: str, what: What, place: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": source,
        "what": what,
        "library": place,
        "query_library": about["query_library"],
        "config": about["config"],
        "weights": about["weights"],
        "options": about["options"],
    }


def _best(found: Found, most: int) -> Found:
    ranked = sorted(found.pairs, key=lambda pair: -pair.score)[:most]
    return replace(found, pairs=ranked)
