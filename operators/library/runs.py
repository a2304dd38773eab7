"""Open and close the runs that write into a library, and clear up after those that were killed.

runs/<run>.open    while a run goes on; still there after it: it was killed
runs/<run>.json    what it did (ndvr.pipeline.runs.record)
work/<run>-*.json  which video a worker is decoding, so that one that brings its worker down is known by name
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Collection
from typing import Any

from ndvr.operators.library.cleanup import tidy
from ndvr.operators.library.library import RUNS, Library
from ndvr.operators.library.receipt_files import COMMITS, commit, fold, time_for_receipts
from ndvr.operators.rows import EVERY_CONFIG, LEDGER, table
from ndvr.operators.storage.shapes import shaped
from ndvr.operators.storage.store import Store

WORK = "work"
OPEN = ".open"
LINGER_S = 30.0  # workers of a cluster may outlive their driver by some seconds and commit once more


def new_run() -> str:
    """Make an id that sorts by time. Names of everything a run writes begin with it."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def open_run(library: Library, run: str, *, clustered: bool = False) -> None:
    """Say that a run writes. `clustered`: its workers may outlive it."""
    library.store.write_json(f"{RUNS}/{run}{OPEN}", {"clustered": clustered})


def close_run(library: Library, run: str, ids: Collection[str] | None = None) -> None:
    """Leave each row once, fold the receipts, and say that the run has ended; `ids` are the videos it was about."""
    tidy(library, run=run, ids=ids)
    fold(library.store)
    library.store.remove(*(f"{WORK}/{name}" for name in library.store.names(WORK, run)))
    library.store.remove(f"{RUNS}/{run}{OPEN}")


def recover(library: Library, *, patient: bool = False) -> list[str]:
    """Clear up after runs that were killed; returns their ids. Call it with the lease, so that none is alive.

    What a run on a cluster wrote of late is left alone, as its workers may go on for a moment; `patient` waits for it.
    """
    store, killed = library.store, []
    for name in store.names(RUNS):
        run = name.removesuffix(OPEN)
        if run == name:
            continue
        if _was_clustered(store, name):
            if _youngest_s(store, run) < LINGER_S and not patient:
                continue
            over = time.monotonic() + LINGER_S
            while (age_s := _youngest_s(store, run)) < LINGER_S and (left_s := over - time.monotonic()) > 0:
                time.sleep(max(0.0, min(LINGER_S - age_s, left_s)))
        _record_lost(store, run)
        close_run(library, run)
        killed.append(run)
    return killed


def _was_clustered(store: Store, name: str) -> bool:
    """Tell whether workers of a run may outlive it; what does not say so is taken for such a run."""
    try:
        return shaped(store.read_json(f"{RUNS}/{name}"), {"clustered": bool}, name)["clustered"]
    except ValueError:
        return True


def _youngest_s(store: Store, run: str) -> float:
    return min((age for name, age in store.age_s(COMMITS).items() if name.startswith(run)), default=float("inf"))


class WorkNote:
    """A worker's note of the video it is decoding. Not flushed: it outlives a killed process, not a power cut."""

    def __init__(self, library: str | Store, run: str):
        self._store, self._name = Store(library), f"{WORK}/{run}-{uuid.uuid4().hex[:8]}.json"
        if not self._store.remote:
            with contextlib.suppress(OSError):
                os.makedirs(self._store.folder / WORK, exist_ok=True)

    def write(self, video_id: str) -> None:
        """Record which video this worker is decoding, so that the next run knows what brought it down."""
        note = json.dumps({"video_id": video_id})
        with contextlib.suppress(OSError):  # a store that takes nothing more stops the run when it is to commit
            if self._store.remote:
                self._store.write(self._name, note.encode())
            else:
                (self._store.folder / self._name).write_text(note)

    def clear(self) -> None:
        """Record that this worker is decoding nothing."""
        with contextlib.suppress(OSError):
            if self._store.remote:
                self._store.write(self._name, b"")  # one request, where removing takes three
            else:
                self._store.remove(self._name)


def _record_lost(store: Store, run: str) -> None:
    """Turn the notes that workers of a killed run left into rows of the ledger."""
    rows, notes = [], store.names(WORK, run)
    for name in notes:
        try:
            video_id = shaped(store.read_json(f"{WORK}/{name}"), {"video_id": str}, name)["video_id"]
        except ValueError:
            continue  # killed while it wrote the note: it had not begun
        message = "the worker was gone while it had this video at hand"
        rows.append({"video_id": video_id, "kind": "lost", "run": run, "message": message})
    if rows:
        now = time_for_receipts(store)
        common: dict[str, Any] = {"config": EVERY_CONFIG, "attempt": 0, "piece": 0, "finished": now}
        receipts = table([common | row for row in rows], LEDGER)
        commit(store, f"{run}-lost", receipts)
    store.remove(*(f"{WORK}/{name}" for name in notes))
