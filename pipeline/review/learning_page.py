"""A page of one training, in one file that loads nothing: losses, learning rate, mAP of videos held out, what was done.

write_learning_page("out", "out.html")

It reads what `ndvr train` leaves in its folder, also while a training runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ndvr.operators.storage.store import parse_json, write_text
from ndvr.pipeline.review.page import render

DESCRIPTION, CURVE = "training.json", "curve.jsonl"  # of a folder of `ndvr train`
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _RIGHT, _TOP = 460, 220, 56, 24, 24, 10  # of a chart


def is_training(folder: str | Path) -> bool:
    """Say whether `ndvr train` made the folder."""
    return (Path(folder) / DESCRIPTION).is_file()


def write_learning_page(folder: str | Path, out: str | Path) -> Path:
    """Write the page of the training in `folder`; return its path. ValueError when its files are damaged."""
    place = Path(folder)
    try:
        described = parse_json((place / DESCRIPTION).read_bytes())
        written = place / CURVE
        points = [parse_json(line) for line in written.read_bytes().splitlines()] if written.is_file() else []
        page = _page(str(folder), described, points)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{place} holds no whole training ({error!r}): {DESCRIPTION} or {CURVE} is damaged") from error
    write_text(Path(out), page)
    return Path(out)


def _page(folder: str, described: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str:
    judged = [(point["step"], point["map"]) for point in points if point["map"] is not None]
    best = max(judged, key=lambda each: (each[1], -each[0]), default=None)
    losses = [(point["step"], point["loss"]) for point in points if point["loss"] is not None]
    rates = [(point["step"], point["rate"]) for point in points if point["rate"] is not None]
    charts = [
        ("Loss", "mean of the steps since the point before", losses, None),
        ("mAP of videos held out", "the dot is the best, whose weights are kept", judged, best),
        ("Learning rate", "of the step before the point", rates, None),
    ]
    return render(
        "learning.html",
        title=f"Training of {described['method']}",
        lead=_lead(described),
        warnings=_warnings(described, points),
        tiles=_tiles(described, losses, judged, best),
        charts=[
            {"name": name, "text": text, "drawn": _chart(name, series, described["steps"], best=mark)}
            for name, text, series, mark in charts
            if series
        ],
        points=[[_text(point[key]) for key in ("step", "loss", "rate", "map")] for point in points],
        facts=[(key, _fact(value)) for key, value in described.items() if value is not None],
        provenance=[f"Made from {folder} by ndvr. Nothing made by `ndvr train` is the authors'."],
    )


def _lead(described: Mapping[str, Any]) -> str:
    if described.get("teacher"):
        taught = f"the scores of {described['teacher']}"
    elif described["pairs"]:
        taught = f"{described['pairs']:,} pairs"
    else:
        taught = "views of one video as pairs"
    return f"{described['videos']:,} videos of {described['library']}, {taught}; features of {described['features']}."


def _warnings(described: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    if not described["features_trained"]:
        lines.append("The features are of untrained (random) weights; what was learnt holds for them.")
    done = points[-1]["step"] if points else 0
    if done < described["steps"]:
        lines.append(f"{done:,} of {described['steps']:,} steps are done: it runs, was stopped, or stopped early.")
    return lines


def _tiles(
    described: Mapping[str, Any],
    losses: Sequence[tuple[int, float]],
    judged: Sequence[tuple[int, float]],
    best: tuple[int, float] | None,
) -> list[tuple[str, str]]:
    tiles = [("videos", f"{described['videos']:,}"), ("steps", f"{described['steps']:,}")]
    if losses:
        tiles += [("loss at first", _text(losses[0][1])), ("loss at last", _text(losses[-1][1]))]
    if best is not None:
        tiles += [("mAP at the start", f"{judged[0][1]:.4f}"), (f"best, at step {best[0]:,}", f"{best[1]:.4f}")]
        tiles += [("mAP at last", f"{judged[-1][1]:.4f}")]
    return tiles


def _chart(name: str, series: Sequence[tuple[int, float]], n_steps: int, *, best: tuple[int, float] | None) -> Any:
    """Draw numbers over steps as inline SVG, which follows the light and dark style of the page."""
    from markupsafe import Markup

    marks = _ticks(min(value for _, value in series), max(value for _, value in series))
    low, high = marks[0], marks[-1]

    def x(step: float) -> str:
        return f"{_LEFT + (_WIDTH - _LEFT - _RIGHT) * step / n_steps:.1f}"

    def y(value: float) -> str:
        return f"{_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low):.1f}"

    parts = [
        f'<path class="gridline" d="M{x(0)} {y(mark)}H{x(n_steps)}"/>'
        f'<text x="{_LEFT - 6}" y="{float(y(mark)) + 4:.1f}" text-anchor="end">{mark:.6g}</text>'
        for mark in marks
    ]
    steps = [mark for mark in _ticks(0, n_steps) if mark <= n_steps and mark == int(mark)]
    parts += [f'<text x="{x(mark)}" y="{_HEIGHT - 6}" text-anchor="middle">{int(mark):,}</text>' for mark in steps]
    line = "L".join(f"{x(step)} {y(value)}" for step, value in series)
    parts.append(f'<g class="r0"><path class="line" d="M{line}"/>')
    for step, value in series:
        size, title = 5 if (step, value) == best else 2, f"step {step:,}: {value:.6g}"
        parts.append(f'<circle cx="{x(step)}" cy="{y(value)}" r="{size}"><title>{title}</title></circle>')
    parts.append("</g>")
    attributes = f'class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name} over steps"'
    return Markup(f"<svg {attributes}>{''.join(parts)}</svg>")


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers at equal distances, the first not above `low`, the last not below `high`; two at least."""
    width = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(width / 4))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= width / 4)
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return [number * step for number in range(first, last + 1)]


def _text(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _fact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
