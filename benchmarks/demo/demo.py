"""The whole of ndvr on videos it makes itself: `ndvr demo`. Ends with a table and report.html."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndvr.models.card import Card, Mel, Overview

if TYPE_CHECKING:
    import numpy as np

    from ndvr.benchmarks.evaluation.result import Evaluation
    from ndvr.pipeline.settings import Setting

PICTURED_EDITS = ("speed125", "tcrop", "concat", "reverse")  # pairs whose windows are drawn: time shows in them


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What a demo left behind."""

    evaluations: dict[str, Evaluation]
    report: Path
    seconds: dict[str, float]  # by step

    def text(self) -> str:
        """The tables, and where the report is."""
        tables = [evaluation.table() for evaluation in self.evaluations.values()]
        steps = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in self.seconds.items())
        return "\n\n".join([*tables, f"{steps}\nopen {self.report} in a browser"])


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
    """Make videos and edited copies under `folder`, extract, compare, evaluate, report.

    A method whose weights were not given runs on seeded random ones, marked untrained everywhere. A method that
    listens is judged by the copies that share the sound, all others by those that share the picture. Running it again
    continues where it stopped.
    """
    from ndvr.benchmarks.demo.videos import make_videos
    from ndvr.benchmarks.evaluate import evaluate
    from ndvr.benchmarks.evaluation.truth import read_truth
    from ndvr.benchmarks.report.report import write_report
    from ndvr.pipeline.comparison.similarity import similarity
    from ndvr.pipeline.extraction.extract import extract
    from ndvr.pipeline.progress import Progress
    from ndvr.pipeline.settings import choose

    root = Path(folder)
    chosen = choose(tuple(methods), options=options)
    cards = {method: setting.card for method, setting in chosen.items()}
    shared = {method: "audio" if isinstance(card.view, Mel) else "visual" for method, card in cards.items()}
    weights = {method: "random" for method, card in cards.items() if card.weights} | (weights or {})
    seconds: dict[str, float] = {}
    step = _Steps(seconds, say)

    with step("videos", f"making {originals} videos and their edited copies in {root}/videos"):
        with Progress("make", 0, "video", show=progress) as bar:
            truth = make_videos(root / "videos", seed=seed, originals=originals, progress=bar.follow)
    rows = read_truth(truth).rows
    with step("extract", f"extracting features into {root}/library"):
        summary = extract(
            root / "videos", root / "library", methods=tuple(cards), weights=weights, options=options, progress=progress
        )
    evaluations: dict[str, Evaluation] = {}
    matrices: dict[tuple[str, str], np.ndarray] = {}
    with step("similarity", "comparing every copy with every video"):
        for method in cards:
            scores = root / "scores" / method
            similarity(
                root / "library",
                root / "library",
                scores,
                method=method,
                weights=weights.get(method),
                options=_of(cards[method], options),
                query_ids={row["query_id"] for row in rows},
                progress=progress,
            )
            evaluations[method] = evaluate(
                scores, truth=truth, by=("edit",), where=(f"{shared[method]}=1",), siblings="ignore"
            )
    with step("report", "drawing the report"):
        for method in cards:
            setting = replace(chosen[method], weights=weights.get(method))
            matrices |= _pictures(root / "library", setting, [row for row in rows if row[shared[method]] == "1"])
        report = write_report(
            root / "report.html",
            title="ndvr demo",
            evaluations=evaluations,
            videos={path.relative_to(root / "videos").as_posix(): str(path) for path in _files(root / "videos")},
            truth_rows=rows,
            matrices=matrices,
            summary={
                "videos": summary.videos,
                "failed": sum(summary.failed.values()),
                "extraction, videos/s": f"{summary.to_json()['videos_per_s']:.1f}",
            },
            notes=[
                "The originals are drawn by a seeded program and the copies are edits of them; the table says how "
                "the method fares on these edits, not how it fares on your videos.",
            ],
        )
    return Demo(evaluations=evaluations, report=report, seconds=seconds)


class _Steps:
    """`with step(name, sentence)`: says what begins, keeps how long it took."""

    def __init__(self, seconds: dict[str, float], say: Callable[[str], None]):
        self._seconds, self._say = seconds, say

    def __call__(self, name: str, sentence: str) -> _Steps:
        self._name = name
        self._say(sentence)
        return self

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = time.monotonic() - self._began


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.mp4"))


def _of(card: Card, options: dict[str, str] | None) -> dict[str, str]:
    """The options that a method has."""
    return {key: value for key, value in (options or {}).items() if key in card.options}


def _pictures(library: Path, setting: Setting, rows: Sequence[dict[str, str]]) -> dict[tuple[str, str], np.ndarray]:
    """Window-to-window similarities of one pair of each pictured edit; none of a method with one window a video."""
    from ndvr.operators.library.library import Library

    if isinstance(setting.view, Overview):
        return {}
    pairs = {row["edit"]: (row["query_id"], row["video_id"]) for row in reversed(rows)}
    pairs = {edit: pairs[edit] for edit in PICTURED_EDITS if edit in pairs}
    opened = Library(library)
    entries = opened.entries(opened.config_of(setting.method))
    model = setting.load("cpu", "similarity")
    wanted = [entries[video_id] for video_id in sorted({video_id for pair in pairs.values() for video_id in pair})]
    signatures: dict[str, Any] = {video_id: model.signature(features) for video_id, _, features in opened.read(wanted)}
    drawn = [pair for pair in pairs.values() if all(video_id in signatures for video_id in pair)]
    return {pair: model.matrix(*(signatures[video_id] for video_id in pair)) for pair in drawn}


def _pairs(values: tuple[str, ...]) -> dict[str, str]:
    return dict(value.partition("=")[::2] for value in values)


@click.command()
@click.argument("folder", default="demo")
@click.option("--method", "methods", multiple=True, help="Method by name, repeatable. Default: thumbprint.")
@click.option("--weights", multiple=True, metavar="METHOD=WEIGHTS", help="Published name or path; else seeded noise.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Setting of a method, repeatable.")
@click.option("--originals", type=click.IntRange(4), help="Videos to make. Default: 20.")
@click.option("--seed", type=int, help="Of the made videos. Default: 0.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    folder: str, weights: tuple[str, ...], options: tuple[str, ...], quiet: bool, as_json: bool, **settings: Any
) -> None:
    """Make videos and edited copies in FOLDER, find the copies, print the mAP, write report.html."""
    import json

    given = {key: value for key, value in settings.items() if value not in (None, ())}
    given |= {"weights": _pairs(weights), "options": _pairs(options)}
    done = demo(folder, progress=not quiet, say=lambda text: click.echo(text, err=True), **given)
    if as_json:
        found = {method: evaluation.to_json() for method, evaluation in done.evaluations.items()}
        click.echo(json.dumps({"report": str(done.report), "seconds": done.seconds, "evaluations": found}))
    else:
        click.echo(done.text())
