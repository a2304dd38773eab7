"""What published evaluators say about small invented data sets; see tests/golden/evaluators.md."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from places import GOLDEN_FOLDER

EXACT = 1e-9  # at the real size: sums of up to 12,362 terms in another order
GOLDEN = GOLDEN_FOLDER


@cache
def golden() -> dict:
    return json.loads((GOLDEN / "evaluators.json").read_text())


def rows_of(compact) -> dict[str, dict[str, float]]:
    """{query: {video: score}} in the order of the file."""
    if "ordered" in compact:
        return {query: dict(row) for query, row in compact["ordered"].items()}
    return {
        query: {video: score for video, score in zip(compact["videos"], row) if score is not None}
        for query, row in compact["rows"].items()
    }


def write_fivr_5k(folder: Path, annotation, queries, database) -> Path:
    """The files of FIVR-5K."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "annotation.json").write_text(json.dumps(annotation))
    (folder / "fivr-5k-queries.txt").write_text("".join(f"{query}\n" for query in queries))
    (folder / "fivr-5k-database.txt").write_text("".join(f"{video}\n" for video in database))
    return folder


def write_json(folder: Path, name: str, content) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def shared_golden(shared: Path, name: str) -> dict:
    """A file of the full reference numbers."""
    return json.loads((shared / "golden" / name).read_text())


def matrix_rows(queries, videos, scores) -> dict[str, dict[str, float]]:
    """{query: {video: score}} of a matrix; NaN stands for a pair without a score."""
    return {q: {v: float(s) for v, s in zip(videos, row) if s == s} for q, row in zip(queries, scores)}


def cc_web_maps(result) -> list[float | None]:
    return [result.tasks[name].map for name in ("cc_web", "cc_web*", "cc_web_c", "cc_web*_c")]


def check_fivr(tasks, official) -> None:
    """official: {"DSVR": mAP or {"mAP"}, "DSVD": micro-AP, "_h": hard variants}."""
    for name, value in official.items():
        value = value["mAP"] if isinstance(value, dict) else value
        task = tasks[name.replace("VD", "VR")]
        assert (task.micro_ap if "VD" in name else task.map) == pytest.approx(value, abs=EXACT), name
