"""A report card of the search on one's own videos: `ndvr stress VIDEOS`.

Some of them are edited in some forty ways (graded.py), each edit is searched for in all of them, and what came of it
is told: found at rank 1, in the list, or not, how far off its times are, and how sure the answer was. The edits are
made anew with the same seed, so that two versions of ndvr can be compared on the same videos.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ndvr.benchmarks.demo.edits import Relation
from ndvr.benchmarks.demo.graded import GRADED, Graded
from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.library.library import Library, is_library
from ndvr.operators.media import draw
from ndvr.operators.media.clip import Clip, new_sandbox, read_start
from ndvr.operators.media.encode import write_video
from ndvr.pipeline.extraction.extract import extract
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.search.answers import Answer, Match
from ndvr.pipeline.search.search import Index

SECONDS, WIDTH = 15.0, 320  # of an edited video, at most
_TOP = 10


@dataclass(frozen=True, kw_only=True)
class EditedFile:
    """One edit of one video, written."""

    path: Path
    graded: Graded
    used: list[str]  # ids of the videos it shows, the one that is looked for first
    relations: tuple[Relation, ...] = field(repr=False)

    @property
    def video_id(self) -> str:
        return self.used[0]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One edit of one video, searched for."""

    edit: str
    strength: str
    video_id: str
    rank: int  # among the matches; 0: not found
    score: float | None
    false_per_million: float | None
    time_error_s: float | None  # the largest of begin and end, in query and video; None: not found, or no times
    false_matches: tuple[str, ...]  # videos that the edit shows nothing of


@dataclass(frozen=True, kw_only=True)
class Card:
    """What came of all."""

    videos: int  # that were searched
    edited: list[str]  # ids
    left_out: dict[str, str]  # ids of videos that could not be edited, with the reason
    tried: list[Tried]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return asdict(self)

    def text(self) -> str:
        """Return a table, and what is false."""
        head = f"{'edit':<22}{'strength':<15}{'rank 1':>8}{'in list':>8}{'not':>6}{'time off':>10}"
        head += f"{'false per million':>19}"
        lines = [head, "-" * len(head)]
        groups: dict[tuple[str, str], list[Tried]] = {}
        for each in self.tried:
            groups.setdefault((each.edit, each.strength), []).append(each)
        lines += [_line(edit, strength, each) for (edit, strength), each in groups.items()]
        lines += ["-" * len(head), _line("all", "", self.tried)]
        false = sorted({(each.video_id, other) for each in self.tried for other in each.false_matches})
        told = ", ".join(f"{other} for {video}" for video, other in false[:5]) or "none"
        lines.append(
            f"{len(self.edited):,} of {self.videos:,} videos edited; {sum(len(t.false_matches) for t in self.tried):,} "
            f"matches that no edit shows: {told}{' ...' if len(false) > 5 else ''} (alike they may still be)"
        )
        lines += [f"left out: {video}: {why}" for video, why in self.left_out.items()]
        return "\n".join(lines)


def _line(edit: str, strength: str, tried: Sequence[Tried]) -> str:
    first, listed = sum(t.rank == 1 for t in tried), sum(t.rank > 0 for t in tried)
    errors = [t.time_error_s for t in tried if t.time_error_s is not None]
    sure = [t.false_per_million for t in tried if t.false_per_million is not None]
    off = f"{statistics.median(errors):.1f} s" if errors else ""
    rate = f"{statistics.median(sure):.3g}" if sure else ""
    return f"{edit:<22}{strength:<15}{first:>8}{listed - first:>8}{len(tried) - listed:>6}{off:>10}{rate:>19}"


def stress(
    videos: str | Path,
    *,
    edited: int = 4,
    edits: Sequence[str] = (),
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Card:
    """Edit some of VIDEOS, search for the edits in all of them. VIDEOS is a folder, a list or a library.

    edited   how many videos, spread over all; edits: names, all of them unless given
    out      a folder that keeps the library and the edited videos
    """
    if unknown := sorted(set(edits) - {each.edit for each in GRADED}):
        known = ", ".join(dict.fromkeys(each.edit for each in GRADED))
        raise ValueError(f"no edit {unknown[0]!r}; choose among {known}")
    with tempfile.TemporaryDirectory(prefix="stress-") as temporary:
        folder = Path(out or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        library = library_of(videos, folder, progress=progress, say=say)
        index = Index.open(library).update(progress=progress)
        n_videos = index.library_index.n_videos
        if n_videos < 2:
            raise ValueError(f"{videos}: {n_videos} videos with features; a search needs two or more")
        chosen = [each for each in GRADED if not edits or each.edit in edits]
        clips, left_out = read_clips(index.library_index.library, index.library_index.config, edited)
        if not clips:
            raise ValueError(f"none of {videos} could be edited: {next(iter(left_out.values()), 'no files')}")
        say(f"{len(clips)} videos, {len(chosen)} edits each")
        tried = []
        with Progress("stress", len(clips) * len(chosen), "edit", show=progress) as bar:
            for each in edited_files(clips, chosen, folder=folder, seed=seed):
                (answer,) = index.search(each.path, top=_TOP).answers
                tried.append(_judged(answer, each))
                if not out:
                    each.path.unlink()
                bar.advance()
        tried.sort(key=lambda t: [(g.edit, g.strength) for g in chosen].index((t.edit, t.strength)))
        return Card(videos=n_videos, edited=list(clips), left_out=left_out, tried=tried)


def library_of(
    videos: str | Path, folder: Path, *, progress: bool, say: Callable[[str], None] = lambda _: None
) -> str | Path:
    """Return VIDEOS if that is a library; otherwise extract its features to a library in a folder."""
    if is_library(videos):
        return videos
    say(f"extracting features into {folder}/library")
    extract(videos, folder / "library", methods=("thumbprint",), progress=progress)
    return folder / "library"


def read_clips(library: Library, config: str, count: int) -> tuple[dict[str, Clip], dict[str, str]]:
    """Read the first seconds of some videos, small; say what could not be read as a clip of a constant rate."""
    uris = {video_id: e.end["uri"] for video_id, e in sorted(library.entries(config).items()) if e.pieces}
    clips: dict[str, Clip] = {}
    left_out: dict[str, str] = {}
    ids = list(uris)
    places = np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(int)).tolist()
    with new_sandbox() as sandbox:
        for video_id in (ids[place] for place in places):
            try:
                clip = read_start(uris[video_id] or "", SECONDS, sandbox=sandbox)
            except (DecodeError, NoPicture, ValueError) as error:
                left_out[video_id] = str(error)
                continue
            factor = min(1.0, WIDTH / max(clip.size))
            width, height = (max(16, round(side * factor / 2) * 2) for side in clip.size)
            frames = [draw.resize(each, (width, height)) for each in clip.frames]
            clips[video_id] = replace(clip, frames=np.stack(frames))
    return clips, left_out


def edited_files(clips: dict[str, Clip], chosen: Sequence[Graded], *, folder: Path, seed: int) -> Iterator[EditedFile]:
    """Write each edit of each clip into a folder, one at a time."""
    ids = list(clips)
    for number, video_id in enumerate(ids):
        others = [ids[(number + step) % len(ids)] for step in range(1, len(ids))] or [video_id]
        for place, graded in enumerate(chosen):
            used = [video_id, *(others[k % len(others)] for k in range(graded.sources - 1))]
            made = graded.make([clips[each] for each in used], np.random.default_rng([seed, number, place]))
            path = folder / f"{number}_{place:02d}_{graded.edit} {graded.strength}.mp4".replace("/", "-")
            write_video(path, made.clip.frames, fps=made.clip.fps, crf=made.crf, preset="veryfast")
            yield EditedFile(path=path, graded=graded, used=used, relations=made.relations)


def _judged(answer: Answer, edited: EditedFile) -> Tried:
    video_id, used = edited.video_id, edited.used
    rank = next((rank for rank, match in enumerate(answer.matches, 1) if match.video_id == video_id), 0)
    match = answer.matches[rank - 1] if rank else None
    # What else of the edit's sources is found is right, too, and stands before it by right.
    before = sum(each.video_id in used[1:] for each in answer.matches[: max(rank - 1, 0)])
    return Tried(
        edit=edited.graded.edit,
        strength=edited.graded.strength,
        video_id=video_id,
        rank=rank - before if rank else 0,
        score=match.score if match else None,
        false_per_million=match.false_per_million if match else None,
        time_error_s=_time_error(match, edited.relations) if match else None,
        false_matches=tuple(m.video_id for m in answer.matches if m.video_id not in used and m.kind != "setting"),
    )


def _time_error(match: Match, relations: Sequence[Relation]) -> float | None:
    """Find the largest error of its four times, of the relation that the longest segment tells of."""
    if not match.segments:
        return None
    longest = max(match.segments, key=lambda s: s.q_end_s - s.q_start_s)
    said = np.array([longest.q_start_s, longest.q_end_s, longest.v_start_s, longest.v_end_s])
    true = [np.array([*relation.q, *relation.v]) for relation in relations if relation.source == 0]
    return round(float(min(np.abs(said - each).max() for each in true)), 3)
