"""One writer at a time: a lease on a library that says who has it, and that nobody holds once its process is gone.

with Lease(store, "ndvr extract"):
    ...

A writer writes a file of its own to locks/ and then lists that folder: if there is another live one it withdraws.
Whoever lists last has seen all others, so two can never both stay; that needs no exclusive creation, which object
stores and network file systems do not have. The file is touched while the work goes on; a writer on this machine
whose process is gone, or one elsewhere that has been silent for two minutes, holds nothing.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
import uuid
from typing import Any

from ndvr.operators.storage.store import Store

LOCKS = "locks"
BEAT_S = 15.0
SILENT_S = 120.0
TRIES = 4


class Locked(ValueError):
    """Somebody else is writing."""


class Lease:
    """Held between __enter__ and __exit__. Locked when somebody else has it, after a few tries.

    `lost` is set when the lease was taken away because we were silent for too long: stop writing.
    """

    def __init__(self, store: Store, what: str):
        self.store, self.what = store, what
        self.name = f"{LOCKS}/{uuid.uuid4().hex[:12]}.json"
        self.lost = threading.Event()
        self._over = threading.Event()
        self._since = time.time()

    def __enter__(self) -> Lease:
        for tries_left in reversed(range(TRIES)):
            self._write()
            others = [holder for name, holder in holders(self.store).items() if name != self.name]
            if not others:
                break
            self.store.remove(self.name)
            if not tries_left:
                raise Locked(f"{self.store} is being written to by {_described(others[0])}; wait for it to end")
            time.sleep(random.uniform(0.05, 0.4))  # two that met each other must not meet again
        self._beats = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beats.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._beats.join()
        # A disk that has turned read-only keeps the file; it holds nothing once this process is gone.
        with contextlib.suppress(OSError):
            self.store.remove(self.name)

    def _write(self) -> None:
        self.store.write_json(self.name, _self() | {"what": self.what, "since": self._since, "beat": time.time()})

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            # A store that does not answer for a moment is no reason to stop; the next beat may get through.
            with contextlib.suppress(OSError):
                if not self.store.exists(self.name):
                    self.lost.set()
                    return
                self._write()


def holders(store: Store) -> dict[str, dict[str, Any]]:
    """List live leases by name, and clear dead ones away."""
    live = {}
    for name in (f"{LOCKS}/{name}" for name in store.names(LOCKS)):
        try:
            holder = store.read_json(name)
        except FileNotFoundError:
            continue
        if _alive(holder):
            live[name] = holder
        else:
            store.remove(name)
    return live


def _self() -> dict[str, Any]:
    return {"host": socket.gethostname(), "space": _space(), "pid": os.getpid(), "born": _born(os.getpid())}


def _alive(holder: dict[str, Any]) -> bool:
    if holder["space"] == _space():
        return _born(holder["pid"]) == holder["born"]
    return time.time() - holder["beat"] < SILENT_S


def _space() -> str:
    """Name the place where process ids mean something: this boot of this machine, and the container in it."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    return f"{socket.gethostname()} {uuid.getnode()}"


def _born(pid: int) -> str | None:
    """Tell when a process began, which tells it from a later one of the same number; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # a zombie holds nothing


def _described(holder: dict[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    return f"{holder['what']!r} on {holder['host']} (process {holder['pid']}, since {since})"
