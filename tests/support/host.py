"""Writers as they are on another host: its process ids mean nothing here, and its clock may be a day wrong.

python host.py NAME CLOCK_OFFSET_S LIBRARY write|gc [PAUSE [VIDEO ...]]

write   commits the videos one by one, says "committed VIDEO" after each, and is stopped (SIGSTOP) at the PAUSE of the
        last one: "shard", "look", "commit" or "second look", each meaning before it; "never" for no pause
gc      clears up
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
from made_configs import made_config

from ndvr.operators.errors import RunStopped
from ndvr.operators.library import fencing, lease, runs, shards
from ndvr.operators.library.library import Library
from ndvr.operators.rows import table
from ndvr.operators.storage.store import Store
from ndvr.pipeline.upkeep.maintenance import gc

CONFIG = made_config(name="s2vs-0")
BEAT_S, SILENT_S = 0.3, 4.0
WINDOWS = 4


def features(video_id: str) -> np.ndarray:
    """What this video always has."""
    seed = np.frombuffer(video_id.encode(), np.uint8)
    return np.random.default_rng(seed).standard_normal((WINDOWS, 4)).astype(np.float16)


def rows(video_id: str, run: str) -> list[dict]:
    """One piece and the end."""
    key = {"video_id": video_id, "method": "s2vs", "config": "s2vs-0", "run": run, "attempt": 1, "sha256": "x"}
    data = {"start_s": np.arange(float(WINDOWS)), "data": features(video_id).tobytes()}
    facts = {"status": "done", "decoder": "pyav 1", "bytes": 10, "mtime_ns": 1, "uri": f"{video_id}.mp4"}
    return [
        key | {"kind": "piece", "piece": 0, "windows_count": WINDOWS} | data,
        key | {"kind": "end", "piece": 1, "windows_count": WINDOWS} | facts,
    ]


def be_elsewhere(name: str, offset_s: float) -> None:
    """Become another host: for leases and for everything that asks for the time."""
    clock = time.time
    time.time = lambda: clock() + offset_s
    lease._space = lambda: name
    lease.BEAT_S, lease.SILENT_S = BEAT_S, SILENT_S
    runs.LINGER_S = 0.5


def pause() -> None:
    print("paused", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)


class PausedStore(Store):
    """Stops its process before a file is written or removed, once."""

    where = ""

    def write(self, name: str, data) -> None:
        self._pause_at(name)
        super().write(name, data)

    def write_parquet(self, name: str, table, **options) -> None:
        self._pause_at(name)
        super().write_parquet(name, table, **options)

    def _pause_at(self, name: str) -> None:
        if PausedStore.where == {"shards": "shard", "commits": "commit"}.get(name.partition("/")[0]):
            pause()


def pause_at_look(number: int) -> None:
    """Stop at a look for the lease, counted from now."""
    look, left = fencing.check, [number]

    def looking(store: Store) -> None:
        left[0] -= 1
        if not left[0]:
            pause()
        look(store)

    fencing.check = looking


def write(library: Library, where: str, videos: list[str]) -> None:
    """See the top of this file."""
    with lease.Lease(library.store, "ndvr extract"):
        print("held", flush=True)
        run = runs.new_run()
        runs.recover(library)
        runs.open_run(library, run)
        for video_id in videos:
            writer = shards.Write(library.store, {"s2vs-0": CONFIG})
            writer.store.__class__ = PausedStore
            if video_id == videos[-1]:
                PausedStore.where = where
                if where in ("look", "second look"):
                    pause_at_look(1 if where == "look" else 2)
            writer(table(rows(video_id, run)))
            print("committed", video_id, flush=True)
        runs.close_run(library, run, videos)


def main(name: str, offset_s: str, place: str, command: str, where: str = "never", *videos: str) -> None:
    be_elsewhere(name, float(offset_s))
    try:
        if command == "write":
            write(Library(place), where, list(videos))
        else:
            gc(place)
        print("ended", flush=True)
    except RunStopped as error:
        print("stopped:", error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
