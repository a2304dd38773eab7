"""What is asked of scores: the protocol that the settings of `ndvr evaluate` stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ndvr.benchmarks.evaluation import truth as truth_table
from ndvr.benchmarks.evaluation.annotations import read_ids
from ndvr.benchmarks.evaluation.protocol import Protocol, datasets, load_protocol


def asked(
    *,
    truth: str | Path | None = None,
    dataset: str | None = None,
    annotations: str | Path | None = None,
    tasks: Sequence[str] = (),
    ids: str | Path | Iterable[str] | None = None,
    **settings: Any,
) -> Protocol:
    """See `evaluate` for the settings. ValueError or FileNotFoundError in one sentence when they do not fit."""
    found = _protocol(truth, dataset, annotations, **settings)
    if ids is not None:
        found = found.restricted_to(read_id_list(ids))
    return _only_tasks(found, tasks)


def _protocol(truth: Any, dataset: Any, annotations: Any, **settings: Any) -> Protocol:
    of_truth = {key: settings.pop(key, None) for key in ("by", "where", "symmetric", "siblings", "families")}
    convention, hard = settings.pop("convention", None), settings.pop("hard", False)
    if settings:
        raise TypeError(f"evaluate has no setting {', '.join(settings)}")
    if truth is None and dataset is None:
        raise ValueError(
            f"scores alone cannot be judged: give --truth FILE, or --dataset ({', '.join(datasets())}) and "
            "--annotations FOLDER"
        )
    if truth is not None and dataset is not None:
        raise ValueError("give either --truth or --dataset, not both: each says what is right")
    if truth is not None:
        if convention or hard or annotations is not None:
            raise ValueError("--annotations, --convention and --hard belong to --dataset: leave them out with --truth")
        given = {key: value for key, value in of_truth.items() if value is not None}
        return truth_table.protocol(truth_table.read_truth(truth), **given)
    if any(of_truth.values()):
        name = next(key for key, value in of_truth.items() if value)
        raise ValueError(f"--{name} belongs to --truth: a dataset fixes its own tasks")
    if annotations is None:
        raise ValueError(f"--dataset {dataset} needs --annotations FOLDER: the folder with its official files")
    return load_protocol(dataset, annotations, convention=convention, hard=hard)


def _only_tasks(protocol: Protocol, names: Sequence[str]) -> Protocol:
    known = {task.name: task for task in protocol.tasks}
    for name in names:
        if name not in known:
            raise ValueError(f"unknown task {name!r} of {protocol.name}; choose one of {', '.join(known)}")
    return replace(protocol, tasks=tuple(known[name] for name in names)) if names else protocol


def read_id_list(ids: str | Path | Iterable[str]) -> frozenset[str]:
    """The ids themselves, or the first word of every line of a file."""
    if not isinstance(ids, (str, Path)):
        return frozenset(ids)
    path = Path(ids)
    if not path.is_file():
        raise FileNotFoundError(f"no id list {path}: give a text file with one id a line")
    return read_ids(path)
