"""Decide what is to be done: a manifest against what a library already holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ndvr.operators.errors import ERROR_CLASSES
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Entry, Library
from ndvr.operators.storage.manifest import Manifest, stat_files
from ndvr.operators.storage.object_store import Stat
from ndvr.pipeline.extraction.video_ids import find_others, is_unchanged, refuse_conflicts

QUARANTINED = "quarantined"
MOST_LOST = 5  # workers, before a video that they had at hand is left alone


@dataclass
class Plan:
    """What a run will do. Every video of the manifest is in `todo`, or settled in exactly one way."""

    # Rows as in ndvr.operators.rows.PLANNED.
    todo: list[dict[str, Any]] = field(default_factory=list)  # large files first
    lost: list[dict[str, Any]] = field(default_factory=list)  # to be given up: brought down worker after worker
    already: list[str] = field(default_factory=list)  # done, or known to have no picture or no sound
    removed: list[str] = field(default_factory=list)  # by `ndvr remove`
    removed_contents: frozenset[str] = frozenset()  # SHA-256 of what `ndvr remove --content` took out
    back: list[str] = field(default_factory=list)  # were gone from their folder and are there again; counted above too
    failed_before: dict[str, str] = field(default_factory=dict)  # video_id -> error class; not asked to retry
    quarantined: list[str] = field(default_factory=list)  # of these, left alone for bringing down decoders

    @property
    def ids(self) -> list[str]:
        """List the ids of all videos that the run does something about."""
        return [row["video_id"] for row in (*self.todo, *self.lost)]


def check_retry(retry: Iterable[str]) -> None:
    """Refuse words that --retry does not know with a ValueError."""
    if unknown := set(retry) - {*ERROR_CLASSES, QUARANTINED}:
        known = ", ".join((*ERROR_CLASSES, QUARANTINED))
        raise ValueError(f"unknown error class {sorted(unknown)[0]!r}; choose from {known}")


def make_plan(manifest: Manifest, library: Library, configs: dict[str, str], *, retry: frozenset[str]) -> Plan:
    """Sort out the videos of a manifest by what the library says of them.

    configs  the name of each method's configuration
    retry    classes of failures to try again
    """
    check_retry(retry)
    all_configs = library.configs
    lookup = library.lookup({*configs.values(), *all_configs}, manifest.uris)
    known = {method: lookup.entries[config] for method, config in configs.items()}
    lost = library.lost_shards(entry for entries in known.values() for entry in entries.values())
    stats = manifest.stats or stat_files(manifest.uris)
    extracted = [entries for name, entries in lookup.entries.items() if not _imported(all_configs.get(name))]
    others = find_others(manifest.uris, extracted, stats)
    refuse_conflicts(others, manifest.uris, stats, library=str(library))
    plan = Plan(removed_contents=lookup.removed_contents)
    for video_id, uri in manifest.uris.items():
        stat = stats[video_id]
        entries = {method: entry for method in known if (entry := known[method].get(video_id)) is not None}
        states = {
            method: "todo" if entry and entry.shards & lost else _state(entry, uri, stat, retry)
            for method, entry in ((method, entries.get(method)) for method in known)
        }
        if stat and any(entry.gone for entry in entries.values()):
            plan.back.append(video_id)
        if any(_stays_out(entry, uri, stat) for entry in entries.values()):
            plan.removed.append(video_id)
        elif row := _planned(video_id, uri, stat, entries, states):
            if other := others.get(video_id):
                row |= {"expected": other.end["sha256"], "elsewhere": other.end["uri"]}
            given_up = lookup.lost[video_id] >= MOST_LOST and QUARANTINED not in retry
            (plan.lost if given_up else plan.todo).append(row)
        elif failures := [state for state in states.values() if state != "settled"]:
            plan.failed_before[video_id] = failures[0]
            if any(entry.end["quarantined"] for entry in entries.values()):
                plan.quarantined.append(video_id)
        else:
            plan.already.append(video_id)
    # What had lost its worker comes last, so that it cannot keep the others from being done. Among the rest the
    # longest job last would leave one core working and the others idle.
    plan.todo.sort(key=lambda row: (lookup.lost[row["video_id"]], -(row["bytes"] or 0), row["video_id"]))
    return plan


def _planned(
    video_id: str, uri: str, stat: Stat | None, entries: Mapping[str, Entry], states: Mapping[str, str]
) -> dict[str, Any]:
    """Make the row of a video for the methods that have something to do, with the content where the bytes must tell."""
    methods = [method for method, state in states.items() if state in ("todo", "verify")]
    if not methods:
        return {}
    size, mtime_ns = stat or (None, None)
    contents = [entries[method].end["sha256"] if states[method] == "verify" else None for method in methods]
    row = {"video_id": video_id, "uri": uri, "bytes": size, "mtime_ns": mtime_ns}
    return row | {"methods": methods, "contents": contents}


def _stays_out(entry: Entry, uri: str, stat: Stat | None) -> bool:
    """Tell whether a video was removed, and not only for a content that its file may have no more."""
    return entry.removed and not (entry.barred and stat and not is_unchanged(entry, uri, stat))


def _imported(config: Config | None) -> bool:
    return config is not None and config.decoder == "imported"


def _state(entry: Entry | None, uri: str, stat: Stat | None, retry: frozenset[str]) -> str:
    """Say "todo", "settled", "verify" where the bytes must tell, or the class of a failure that stands."""
    if entry is None:
        return "todo"
    end = entry.end
    same = is_unchanged(entry, uri, stat) if stat else entry.status == "failed"
    if entry.status == "failed" and same:
        wanted = QUARANTINED if end["quarantined"] else end["error_class"]
        # A file that is still gone teaches nothing without --retry.
        return "todo" if wanted in retry else end["error_class"]
    if same:
        return "settled"
    # A copied or touched file is not a new video: the decoder finds out, on as many machines as there are.
    may_be_same = entry.status != "failed" and stat is not None and stat[0] == end["bytes"] and end["sha256"]
    return "verify" if may_be_same else "todo"


def count_failures(classes: Iterable[str]) -> dict[str, int]:
    """Count failures by class, in the fixed order of the classes; behind them those whose features are lost."""
    counts = Counter(classes)
    return {kind: counts[kind] for kind in (*ERROR_CLASSES, "lost") if counts[kind]}
