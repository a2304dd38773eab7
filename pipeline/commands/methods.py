"""What there is: `ndvr methods`, from cards alone (no torch, no network, instant); `ndvr doctor`, of this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import prod
from typing import Any

import click

from ndvr import models
from ndvr.models.card import Card
from ndvr.pipeline.commands.option_types import METHOD
from ndvr.pipeline.commands.options import json_option


def _feature_bytes(card: Card) -> int:
    return prod(card.feature_shape) * {"uint8": 1, "float16": 2, "float32": 4}[card.feature_dtype]


def _bytes_per_s(card: Card) -> float:
    return _feature_bytes(card) * card.view.windows_per_s


def _often(card: Card) -> str:
    """Say how many windows there are."""
    per_s = card.view.windows_per_s
    return f"{per_s:.3g} a second" if per_s else "1 a video"


def _size(card: Card) -> str:
    per_s = _bytes_per_s(card)
    return f"{per_s / 1000:.1f} KB a second" if per_s else f"{_feature_bytes(card) / 1000:.1f} KB a video"


def _one(name: str) -> dict[str, Any]:
    card = models.card(name)
    view = {"kind": type(card.view).__name__, "window_shape": list(card.view.window_shape), **asdict(card.view)}
    about = asdict(card) | {"name": name, "view": view, "bytes_per_s": _bytes_per_s(card)}
    return about | {"feature_shape": list(card.feature_shape), "needs_weights": bool(card.weights)}


def cards_json(name: str | None = None) -> Any:
    """Describe everything on the cards: one method's, or a list of all."""
    return _one(name) if name else [_one(each) for each in models.names()]


def cards_text(name: str | None = None) -> str:
    """Print a table of all methods, or one method's card."""
    if name:
        return _card_text(name, models.card(name))
    rows = [("method", "title", "looks at", "windows", "feature", "size", "weights")]
    for each in models.names():
        card = models.card(each)
        rows.append(
            (
                each,
                card.title,
                type(card.view).__name__,
                _often(card),
                f"{' x '.join(map(str, card.feature_shape))} {card.feature_dtype}",
                _size(card),
                ", ".join(card.weights) or "none needed",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines += ["", "ndvr methods NAME tells more: paper, options, where weights are"]
    return "\n".join([*lines, *models.problems()])


def _options(settings: dict[str, Any]) -> str:
    """Write options as --propose reads them."""
    return ",".join(f"{key}={value}" for key, value in settings.items())


def _symmetry(card: Card) -> str:
    """Say when similarity(a, b) is similarity(b, a)."""
    if card.symmetric or not card.symmetric_if:
        return "symmetric" if card.symmetric else "not symmetric"
    return f"symmetric with {' or '.join(map(_options, card.symmetric_if))} only"


def _card_text(name: str, card: Card) -> str:
    view = card.view
    lines = [
        f"{name}: {card.title}",
        f"paper       {card.paper}",
        f"view        {view}",
        f"window      {' x '.join(map(str, view.window_shape))} {view.window_dtype}, {_often(card)}",
        f"feature     {' x '.join(map(str, card.feature_shape))} {card.feature_dtype}, {_size(card)}",
        f"scores      {card.range[0]:g} to {card.range[1]:g}, {_symmetry(card)}",
    ]
    if card.selector:
        lines.append(f"selector    similarity --doubtful, with --propose {name}:{_options(card.selector.proposer)}")
    for title, files in (("weights", card.weights), ("needs", card.requires)):
        for key, file in files.items():
            checksum = f"sha256 {file.sha256}" if file.sha256 else "no checksum published"
            lines.append(f"{title:<11} {key}: {file.url} ({checksum})")
    if not card.weights:
        lines.append("weights     none needed")
    for key, option in card.options.items():
        choices = f" ({' | '.join(dict.fromkeys(map(str, option.choices)))})" if option.choices else ""
        changes = "features" if option.part == "embed" else "scores only"
        lines.append(f"option      {key}={option.default}{choices}: {option.help} [changes {changes}]")
    return "\n".join(lines)


@click.command()
@click.argument("name", required=False, shell_complete=METHOD.shell_complete)
@json_option
def methods(name: str | None, as_json: bool) -> None:
    """List the methods, or tell everything about one NAME.

    Its paper, view, feature, weights and options.
    """
    if name:
        METHOD.check(name)
    click.echo(json.dumps(cards_json(name)) if as_json else cards_text(name))


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what this machine has of what is needed.

    Versions, processors, memory, free space, and which walls stand around decoders. Exit code 0: all is well; 1:
    something that matters is missing, in a sentence.
    """
    from ndvr.pipeline.upkeep import doctor as run

    examination = run.examine()
    click.echo(json.dumps(examination.to_json(), ensure_ascii=False) if as_json else examination.text())
    if examination.wrong:
        raise SystemExit(1)
