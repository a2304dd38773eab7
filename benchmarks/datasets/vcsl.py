"""VCSL and VCDB segments (He et al., CVPR 2022, arXiv 2203.02654): precision, recall and F of found segments.

python -m ndvr.benchmarks.datasets.vcsl FOUND.json --annotations FOLDER [--json]

All files are VCSL's own: FOUND and the labels are {"query-reference": [[query start, reference start, query end,
reference end], ...]} in seconds, the pair file is a CSV of query_id and reference_id. Read from the folder:
label_file_test.json and pair_file_test.csv (VCSL), or label_file.json and pair_file.csv (VCDB).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from ndvr.benchmarks.record import PlainCommand
from ndvr.operators.metrics.segments import Boxes, SegmentOverlap, segment_overlap
from ndvr.operators.storage.store import parse_json
from ndvr.operators.storage.text_files import read_table

_FILES = (("label_file_test.json", "pair_file_test.csv"), ("label_file.json", "pair_file.csv"))


@dataclass(frozen=True, kw_only=True)
class VcslResult:
    """The means, and what they stand on."""

    overlap: SegmentOverlap
    ceiling: float  # F of the labels themselves: boxes of no length cannot be found
    boxes: int  # found, of the listed pairs
    true_boxes: int
    empty_true_boxes: int  # labels that end where or before they start
    unlisted: tuple[str, ...] = field(repr=False)  # found pairs that the pair file does not list, which count nowhere

    def to_json(self) -> dict[str, Any]:
        by_query = self.overlap.by_query()
        return {
            "f1": self.overlap.f1,
            "precision": self.overlap.precision,
            "recall": self.overlap.recall,
            "false_rejection_rate": self.overlap.false_rejection_rate,
            "false_alarm_rate": self.overlap.false_alarm_rate,
            "by_query": dict(zip(("precision", "recall"), by_query)) if by_query else None,
            "pairs": self.overlap.pairs,
            "labelled": self.overlap.labelled,
            "boxes": self.boxes,
            "true_boxes": self.true_boxes,
            "empty_true_boxes": self.empty_true_boxes,
            "ceiling": self.ceiling,
            "unlisted_pairs": len(self.unlisted),
        }

    def table(self) -> str:
        overlap = self.overlap
        numbers = {
            "F": overlap.f1,
            "precision": overlap.precision,
            "recall": overlap.recall,
            "missed": overlap.false_rejection_rate,
            "false alarms": overlap.false_alarm_rate,
        }
        lines = [
            f"{overlap.pairs:,} pairs, {overlap.labelled:,} of them labelled with {self.true_boxes:,} segments; "
            f"{self.boxes:,} found",
            *(f"{name:<13} {'-' if value is None else f'{value:.4f}'}" for name, value in numbers.items()),
            f"{self.empty_true_boxes:,} labels have no length: a perfect result has F {self.ceiling:.5f}",
        ]
        if self.unlisted:
            lines.append(f"{len(self.unlisted):,} found pairs, such as {self.unlisted[0]!r}, are not listed: left out")
        return "\n".join(lines)


def evaluate_segments(found: Mapping[str, Sequence[Sequence[float]]], annotations: str | Path) -> VcslResult:
    """Judge {"query-reference": boxes}; a listed pair that is not in it has no found box.

    ValueError for a box that is not four finite numbers or ends before it starts, and if no pair is a listed one.
    """
    truth = read_truth(Path(annotations))
    names = {f"{query}-{reference}": (query, reference) for query, reference in truth}
    boxes = {name: _found_boxes(name, rows) for name, rows in found.items()}
    unlisted = tuple(sorted(name for name in boxes if name not in names))
    if boxes and len(unlisted) == len(boxes):
        raise ValueError(
            f"no found pair (such as {unlisted[0]!r}) is listed in {annotations} (such as {next(iter(names))!r}): "
            "names are 'query-reference' with the ids of the pair file"
        )
    listed = {names[name]: rows for name, rows in boxes.items() if name in names}
    labels = np.concatenate([np.zeros((0, 4)), *truth.values()])
    return VcslResult(
        overlap=segment_overlap(listed, truth),
        ceiling=segment_overlap(truth, truth).f1,
        boxes=sum(len(rows) for rows in listed.values()),
        true_boxes=len(labels),
        empty_true_boxes=int(np.any(labels[:, 2:] <= labels[:, :2], axis=1).sum()),
        unlisted=unlisted,
    )


def read_truth(folder: Path) -> Boxes:
    """Read {(query, reference): boxes (N, 4)}, in the order of the pair file; pairs without a copy have none."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no annotation folder {folder}: give the folder with VCSL's label and pair files")
    files = next((pair for pair in _FILES if (folder / pair[0]).exists()), _FILES[0])
    for name in files:
        if not (folder / name).exists():
            raise FileNotFoundError(f"no {name} in {folder}: download it from github.com/alipay/VCSL (data)")
    labels = _object(folder / files[0])
    _, rows = read_table(folder / files[1], needs=("query_id", "reference_id"), purpose="pair file")
    pairs = [(row["query_id"], row["reference_id"]) for _, row in rows]
    truth = {(query, other): _boxes(f"{query}-{other}", labels.get(f"{query}-{other}", ())) for query, other in pairs}
    if not any(map(len, truth.values())):
        raise ValueError(f"no pair of {folder / files[1]} has a label in {files[0]}: files do not match")
    return truth


def read_found(path: str | Path) -> dict[str, Any]:
    """Read the JSON that VCSL's own evaluation reads."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no found segments at {path}: give a JSON file {{'query-reference': boxes}}")
    return _object(path)


def _object(path: Path) -> dict[str, Any]:
    """Read {'query-reference': boxes}."""
    try:
        segments = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(segments, dict):
        raise ValueError(f"{path} holds a {type(segments).__name__}, not {{'query-reference': boxes}}")
    return segments


def _boxes(name: str, rows: Any) -> np.ndarray:
    try:
        boxes = np.array(rows, np.float64).reshape(-1, 4) if len(rows) else np.zeros((0, 4))
        if len(boxes) != len(rows):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"pair {name!r}: expected boxes of four numbers, found {rows!r:.100}") from None
    return boxes


def _found_boxes(name: str, rows: Any) -> np.ndarray:
    boxes = _boxes(name, rows)
    for box in boxes[~np.isfinite(boxes).all(axis=1) | np.any(boxes[:, 2:] < boxes[:, :2], axis=1)]:
        times = ", ".join(f"{time:g}" for time in box)
        raise ValueError(
            f"pair {name!r} has the box [{times}], which is not finite or ends before it starts: its order is "
            "query start, reference start, query end, reference end"
        )
    return boxes


@click.command(cls=PlainCommand)
@click.argument("found", type=click.Path())
@click.option("--annotations", required=True, metavar="FOLDER", help="VCSL's label and pair files.")
@click.option("--json", "as_json", is_flag=True, help="For programs, on stdout.")
def main(found: str, annotations: str, as_json: bool) -> None:
    """Segment precision, recall and F of FOUND."""
    result = evaluate_segments(read_found(found), annotations)
    click.echo(json.dumps(result.to_json(), indent=1) if as_json else result.table())


if __name__ == "__main__":
    main()
