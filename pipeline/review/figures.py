"""Figures for papers, as PNG and SVG: the curve of scores, and the window-to-window map of each pair with its segments.

write_figures("figures", found, {0: looked})

FIGURES/scores.png, scores.svg        how many pairs score so much or more
FIGURES/map-0001.png, map-0001.svg    the first pair of the page; figures.json says which videos those are
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ndvr.operators.storage.store import make_folder, write_text
from ndvr.pipeline.review.evidence import Looked
from ndvr.pipeline.review.pairs import Found, Pair

_KINDS = ("png", "svg")
_DPI = 200


def write_figures(folder: str | Path, found: Found, looked: Mapping[int, Looked]) -> list[Path]:
    """Draw what there is; return the files. A folder that exists keeps what else is in it."""
    out = Path(folder)
    make_folder(out)
    written = _scores(out, found) if found.pairs else []
    names: dict[str, dict[str, str]] = {}
    for number, each in looked.items():
        if each.matrix.size:
            pair = found.pairs[number]
            written += _map(out, f"map-{number + 1:04d}", pair, each)
            names[f"map-{number + 1:04d}"] = {"a": pair.a.video_id, "b": pair.b.video_id}
    write_text(out / "figures.json", json.dumps(names, ensure_ascii=False, indent=1) + "\n")
    return written


def _scores(out: Path, found: Found) -> list[Path]:
    from matplotlib.figure import Figure

    scores = np.sort([pair.score for pair in found.pairs])[::-1]
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.step(np.append(scores, scores[-1]), np.arange(len(scores) + 1), where="post")
    axes.set_xlabel("score")
    axes.set_ylabel("pairs with that score or more")
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
    return _save(figure, out, "scores")


def _map(out: Path, name: str, pair: Pair, looked: Looked) -> list[Path]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    extent = (0.0, looked.b_length_s, looked.a_length_s, 0.0)
    image = axes.imshow(looked.matrix, extent=extent, aspect="auto", interpolation="nearest", rasterized=True)
    for each in looked.segments:
        across = (each.v_end_s, each.v_start_s) if each.reversed else (each.v_start_s, each.v_end_s)
        axes.plot(across, (each.q_start_s, each.q_end_s), "--", color="white", linewidth=1.2)
    # Names are text: a dollar sign in one begins no formula.
    axes.set_ylabel(f"{pair.a.video_id[:60]} (s)", parse_math=False)
    axes.set_xlabel(f"{pair.b.video_id[:60]} (s)", parse_math=False)
    figure.colorbar(image, label="agreement")
    return _save(figure, out, name)


def _save(figure, out: Path, name: str) -> list[Path]:
    for kind in _KINDS:
        figure.savefig(out / f"{name}.{kind}", dpi=_DPI)
    return [out / f"{name}.{kind}" for kind in _KINDS]
