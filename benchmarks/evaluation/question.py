"""From the settings of `ndvr evaluate` to the protocol they stand for, and the order that equal scores take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ndvr.benchmarks.evaluation import truth as truth_table
from ndvr.benchmarks.evaluation.protocol import Protocol, datasets, load_protocol
from ndvr.operators.storage.text_files import read_ids


def choose_protocol(
    *,
    truth: str | Path | None = None,
    dataset: str | None = None,
    annotations: str | Path | None = None,
    tasks: Sequence[str] = (),
    ids: str | Path | Iterable[str] | None = None,
    **settings: Any,
) -> Protocol:
    """Read the truth table or the dataset, keep the listed ids and the named tasks; `evaluate` explains the settings.

    ValueError or FileNotFoundError in one sentence when the settings do not fit each other.
    """
    protocol = _protocol(truth, dataset, annotations, **settings)
    if ids is not None:
        protocol = protocol.restricted_to(read_id_list(ids))
    return _only_tasks(protocol, tasks)


def _protocol(truth: Any, dataset: Any, annotations: Any, **settings: Any) -> Protocol:
    truth_settings = {key: settings.pop(key, None) for key in ("by", "where", "symmetric", "siblings", "families")}
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
        given = {key: value for key, value in truth_settings.items() if value is not None}
        return truth_table.protocol(truth_table.read_truth(truth), **given)
    if any(truth_settings.values()):
        name = next(key for key, value in truth_settings.items() if value)
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
    """Return the ids themselves, or the ids in a file."""
    return frozenset(read_ids(ids) if isinstance(ids, (str, Path)) else ids)


def read_tie_order(ids: str | Path | Sequence[str] | None) -> Sequence[str] | None:
    """Return the ids themselves, or the ids in a file, in order; None for None."""
    if not isinstance(ids, (str, Path)):
        return ids
    return read_ids(ids)
