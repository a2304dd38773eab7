"""The whole of ndvr on videos it makes itself: `ndvr demo`. Ends with a table, report.html, a search and its page."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ndvr import models
from ndvr.benchmarks.demo.videos import make_videos
from ndvr.benchmarks.evaluate import evaluate
from ndvr.benchmarks.evaluation.result import Evaluation
from ndvr.benchmarks.evaluation.truth import read_truth
from ndvr.benchmarks.report.report import write_report
from ndvr.models.card import Mel, Overview
from ndvr.operators.library.library import Library
from ndvr.operators.media.clip import read_clip
from ndvr.operators.media.encode import write_video
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.extraction.extract import extract
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.review.found_page import write_found_page
from ndvr.pipeline.runs.record import Summary
from ndvr.pipeline.search.search import SearchResult, search
from ndvr.pipeline.settings import Setting, choose

PICTURED_EDITS = ("speed125", "tcrop", "concat", "reverse")  # pairs whose windows are drawn: time shows in them
_NOTE = (
    "The originals are drawn by a seeded program and the copies are edits of them; the table says how the method fares "
    "on these edits, not how it fares on your videos."
)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What a demo left behind."""

    evaluations: dict[str, Evaluation]  # by method
    found: SearchResult | None  # for a new clip; None: no method with real weights that looks
    report: Path
    page: Path | None  # of what was found
    seconds: dict[str, float]  # by step

    def text(self) -> str:
        """Return the tables, and where the report is."""
        tables = [evaluation.table() for evaluation in self.evaluations.values()]
        steps = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in self.seconds.items())
        asked = [] if self.found is None else [self._asked()]
        return "\n\n".join([*tables, f"{steps}\nopen {self.report} in a browser", *asked])

    def _asked(self) -> str:
        """Return the search and its page, as they are typed, and what the search says."""
        assert self.found is not None
        search = f"$ ndvr search {self.found.answers[0].uri} {self.found.library} --top 3 --out {self.found.out}"
        page = f"$ ndvr report {self.found.out} {self.page}\nopen it in a browser: what was found, drawn"
        return f"{search}\n{self.found.text()}\n\n{page}"

    def to_json(self) -> dict[str, Any]:
        evaluations = {method: evaluation.to_json() for method, evaluation in self.evaluations.items()}
        answer = None if self.found is None else self.found.to_json()
        pages = {"report": str(self.report), "page": None if self.page is None else str(self.page)}
        return pages | {"seconds": self.seconds, "evaluations": evaluations, "search": answer}


def demo(
    folder: str | Path = "demo",
    *,
    methods: tuple[str, ...] = ("thumbprint",),
    weights: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    originals: int = 20,
    seed: int = 0,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Demo:
    """Make videos and edited copies under `folder`, extract, compare, evaluate, report, search for a new clip.

    A method whose weights were not given runs on seeded random ones, marked untrained everywhere. A method that
    listens is judged by the copies that share the sound, all others by those that share the picture. Running it again
    continues where it stopped. `say` is called with a sentence before each step.
    """
    root, videos, seconds = Path(folder), Path(folder) / "videos", dict[str, float]()
    settings = choose_settings(methods, weights, options)
    say(f"making {originals} videos and their edited copies in {videos}")
    with _timed(seconds, "videos"):
        truth = make_copies(videos, seed=seed, originals=originals, progress=progress)
    say(f"extracting features into {root}/library")
    with _timed(seconds, "extract"):
        summary = extract_features(root, settings, options=options, progress=progress)
    say("comparing every copy with every video")
    with _timed(seconds, "similarity"):
        scores = compare_copies(root, settings, truth, progress=progress)
        evaluations = evaluate_scores(scores, settings, truth)
    say("drawing the report")
    with _timed(seconds, "report"):
        report = draw_report(root, settings, truth, evaluations=evaluations, summary=summary)
    say("searching the library for a clip that is not in it")
    with _timed(seconds, "search"):
        answer = search_for_new_clip(root, settings, truth, progress=progress)
        page = None if answer is None else write_found_page(root / "matches", root / "matches.html")
    return Demo(evaluations=evaluations, found=answer, report=report, page=page, seconds=seconds)


def choose_settings(
    methods: Sequence[str], weights: Mapping[str, str] | None, options: dict[str, str] | None
) -> dict[str, Setting]:
    """Return each method's setting; where a method needs weights and none are given, seeded random ones."""
    random = {method: "random" for method in methods if models.card(method).weights}
    return choose(tuple(methods), random | dict(weights or {}), options)


def make_copies(folder: Path, *, seed: int, originals: int, progress: bool) -> Path:
    """Make the videos behind a progress bar; return the path of truth.csv."""
    with Progress("make", 0, "video", show=progress) as bar:
        return make_videos(folder, seed=seed, originals=originals, progress=bar.follow)


def extract_features(
    root: Path, settings: Mapping[str, Setting], *, options: dict[str, str] | None, progress: bool
) -> Summary:
    """Extract the videos into `root`/library with all methods at once."""
    weights = {method: setting.weights for method, setting in settings.items() if setting.weights}
    return extract(
        root / "videos", root / "library", methods=tuple(settings), weights=weights, options=options, progress=progress
    )


def compare_copies(root: Path, settings: Mapping[str, Setting], truth: Path, *, progress: bool) -> dict[str, Path]:
    """Score every copy against every video; return the folder of scores of each method."""
    copies = {row["query_id"] for row in read_truth(truth).rows}
    scores = {method: root / "scores" / method for method in settings}
    for method, setting in settings.items():
        similarity(
            root / "library",
            root / "library",
            scores[method],
            method=method,
            weights=setting.weights,
            options=setting.options,
            query_ids=copies,
            progress=progress,
        )
    return scores


def evaluate_scores(scores: Mapping[str, Path], settings: Mapping[str, Setting], truth: Path) -> dict[str, Evaluation]:
    """Evaluate each method on the copies whose picture, or sound for one that listens, comes from the original."""
    return {
        method: evaluate(
            scores[method], truth=truth, by=("edit",), where=(f"{shared_part(setting)}=1",), siblings="ignore"
        )
        for method, setting in settings.items()
    }


def draw_report(
    root: Path,
    settings: Mapping[str, Setting],
    truth: Path,
    *,
    evaluations: dict[str, Evaluation],
    summary: Summary,
) -> Path:
    """Write report.html with the numbers, the film strips and some window-to-window pictures."""
    rows, videos = read_truth(truth).rows, root / "videos"
    matrices: dict[tuple[str, str], np.ndarray] = {}
    for setting in settings.values():
        pairs = pictured_pairs(row for row in rows if row[shared_part(setting)] == "1")
        matrices |= window_similarities(root / "library", setting, pairs)
    return write_report(
        root / "report.html",
        title="ndvr demo",
        evaluations=evaluations,
        videos={path.relative_to(videos).as_posix(): str(path) for path in sorted(videos.rglob("*.mp4"))},
        truth_rows=rows,
        matrices=matrices,
        summary={
            "videos": summary.videos,
            "failed": sum(summary.failed.values()),
            "extraction, videos/s": f"{summary.to_json()['videos_per_s']:.1f}",
        },
        notes=[_NOTE],
    )


def search_for_new_clip(
    root: Path, settings: Mapping[str, Setting], truth: Path, *, progress: bool
) -> SearchResult | None:
    """Index the library and search it for three seconds of an original, cropped and mirrored."""
    chosen = next((s for s in settings.values() if s.weights != "random" and not isinstance(s.view, Mel)), None)
    if chosen is None:
        return None
    copies = {row["query_id"] for row in read_truth(truth).rows}
    videos = sorted(path.relative_to(root / "videos") for path in (root / "videos").rglob("*.mp4"))
    original = next(video for video in videos if video.as_posix() not in copies)
    clip = read_clip(root / "videos" / original).cut(2.0, 5.0)
    path = root / "new.mp4"
    write_video(path, cropped_and_mirrored(clip.frames), fps=clip.fps, crf=30, preset="veryfast")
    given: dict[str, Any] = {"method": chosen.method, "weights": chosen.weights, "options": chosen.options}
    out = root / "matches"
    shutil.rmtree(out, ignore_errors=True)  # of a clip that lay at the same place before
    return search(path, root / "library", **given, top=3, out=out, progress=progress)


def cropped_and_mirrored(frames: np.ndarray) -> np.ndarray:
    """Keep the middle 80 % of the sides of frames (N, H, W, 3), mirrored."""
    height, width = frames.shape[1] // 10, frames.shape[2] // 10
    return frames[:, height:-height, width:-width][:, :, ::-1]


def shared_part(setting: Setting) -> str:
    """Return the column of the truth that says whether a copy has what the method looks at, or listens to."""
    return "audio" if isinstance(setting.card.view, Mel) else "visual"


def pictured_pairs(rows: Iterator[dict[str, str]]) -> list[tuple[str, str]]:
    """Return the first pair of each edit that is pictured."""
    first: dict[str, tuple[str, str]] = {}
    for row in rows:
        first.setdefault(row["edit"], (row["query_id"], row["video_id"]))
    return [first[edit] for edit in PICTURED_EDITS if edit in first]


def window_similarities(
    library: Path, setting: Setting, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], np.ndarray]:
    """Compare all windows of the two videos of each pair; none of a method with one window a video."""
    if isinstance(setting.view, Overview):
        return {}
    opened = Library(library)
    entries = opened.entries(opened.config_of(setting.method))
    model = setting.load("cpu", "similarity")
    pictured = [entries[video_id] for video_id in sorted({video_id for pair in pairs for video_id in pair})]
    signatures = {video_id: model.signature(features) for video_id, _, features in opened.read(pictured)}
    return {(a, b): model.matrix(signatures[a], signatures[b]) for a, b in pairs if {a, b} <= signatures.keys()}


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[step] = time.monotonic() - began
