"""Decide what is to be done: a manifest against what a library already holds."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

from ndvr.operators.errors import ERROR_CLASSES
from ndvr.operators.library import Entry, Library
from ndvr.operators.manifest import Manifest
from ndvr.operators.stream import sha256_of


@dataclass
class Plan:
    """What a run will do. Every video of the manifest is in `todo`, or settled in exactly one way."""

    todo: list[dict] = field(default_factory=list)  # rows: video_id, uri, methods; large files first
    already: list[str] = field(default_factory=list)  # done, or known to have no picture
    failed_before: dict[str, str] = field(default_factory=dict)  # video_id -> error class; not asked to retry


def make_plan(manifest: Manifest, library: Library, configs: dict[str, str], *, retry: frozenset[str]) -> Plan:
    """Anti-join: `configs` maps each method to its configuration, `retry` holds error classes to try again."""
    if unknown := retry - set(ERROR_CLASSES):
        raise ValueError(f"unknown error class {sorted(unknown)[0]!r}; choose from {', '.join(ERROR_CLASSES)}")
    known = {method: library.entries(config) for method, config in configs.items()}
    plan = Plan()
    sizes: dict[str, int] = {}
    for video_id, uri in manifest.uris.items():
        states = {method: _state(entries.get(video_id), uri, retry) for method, entries in known.items()}
        methods = [method for method, state in states.items() if state == "todo"]
        if methods:
            plan.todo.append({"video_id": video_id, "uri": uri, "methods": methods})
            sizes[video_id] = _size(uri)
        elif failures := [state for state in states.values() if state != "settled"]:
            plan.failed_before[video_id] = failures[0]
        else:
            plan.already.append(video_id)
    # The longest job last would leave one core working and the others idle.
    plan.todo.sort(key=lambda row: (-sizes[row["video_id"]], row["video_id"]))
    return plan


def _state(entry: Entry | None, uri: str, retry: frozenset[str]) -> str:
    """ "todo", "settled", or the class of a failure that stands."""
    if entry is None or not _same_content(entry, uri):
        return "todo"
    if entry.status != "failed":
        return "settled"
    kind = entry.end["error_class"]
    return "todo" if kind in retry else kind


def _same_content(entry: Entry, uri: str) -> bool:
    """Size and time as recorded, else the same bytes: a copied or touched file is not a new video."""
    try:
        found = os.stat(uri)
    except OSError:
        return entry.status == "failed"  # still gone: nothing new to learn without --retry
    if (found.st_size, found.st_mtime_ns) == (entry.end["bytes"], entry.end["mtime_ns"]):
        return True
    if found.st_size != entry.end["bytes"] or not entry.end["sha256"]:
        return False
    return sha256_of(uri) == entry.end["sha256"]


def _size(uri: str) -> int:
    try:
        return os.path.getsize(uri)
    except OSError:
        return 0


def count_failures(classes) -> dict[str, int]:
    """Failures by class, in the fixed order of the classes."""
    counts = Counter(classes)
    return {kind: counts[kind] for kind in ERROR_CLASSES if counts[kind]}
