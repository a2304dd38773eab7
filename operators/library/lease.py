"""One writer at a time: a lease on a library that says who has it, and that nobody holds once its process is gone.

with Lease(store, "ndvr extract"):
    ...

A writer writes a file of its own to locks/ and then lists that folder: if there is another live one it withdraws.
Whoever lists last has seen all others, so two can never both stay; that needs no exclusive creation, which object
stores and network file systems do not have. The file is touched while the work goes on.

Who is dead. A writer on this machine whose process is gone. Of one elsewhere no clock is trusted: its lock must not
have changed for two minutes, part of which may lie before we came, by the store's own times (its file against one
written now), and for two beats we must have watched it ourselves. So a clock that is a day wrong neither
locks a library nor takes it from a living writer. The same holds for a lock that nobody can read.

What a dead writer may still do. It may only have slept, and wake up in the middle of anything. So

1. every file that decides what the library holds (a commit, a snapshot) names the lease it was written under;
2. taking over begins with a mark, locks/revoked/<lease>.json. A writer looks for it before and after each such file,
   and says that something is written only when the second look found no mark;
3. who holds the lease then lists the files of the revoked one and writes that list down: the seal. From then on, what
   names the revoked lease and is not in the list does not count, for anybody;
4. only then is anything recovered, tidied or folded.

Whatever a writer reported was visible before its second look, which was before the mark, which was before the list: it
is in the list, and counts. What it reported as stopped may or may not be: the library says which. What becomes visible
after the list is ignored, however late. Seals name their lease too, so the seal of a writer that was itself taken over
in between counts only if the list of the next one has it: there is one list for each revoked lease, and no store has
to compare and swap. Files are removed only after a look that came after they were listed, and no two leases make files
of the same name, so what a sleeper removes when it wakes is not needed by those who came after it.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

from ndvr.operators.library.fencing import LOCKS, REVOKED, check, lock_of, revoke, seal
from ndvr.operators.storage.store import Store, parse_json
from ndvr.operators.storage.text_files import visible

BEAT_S = 15.0
SILENT_S = 120.0
TRIES = 4
_TELL_S = 30.0  # between two words on what is waited for
_LONGEST = 10  # times SILENT_S: by then somebody is at work, were it one writer after the other


class Locked(ValueError):
    """Somebody else is writing."""


class Lease:
    """Held between __enter__ and __exit__. Locked when somebody else has it, after a few tries.

    While it is held, `store` carries its name, to workers as well; see ndvr.operators.library.fencing.
    """

    def __init__(self, store: Store, what: str):
        self.store, self.what = store, what
        self.id = uuid.uuid4().hex[:12]
        self.name = lock_of(self.id)
        self._over = threading.Event()
        self._since = time.time()

    def __enter__(self) -> Lease:
        others = Others(self.store, self)
        for tries_left in reversed(range(TRIES)):
            self._write()
            if not (locks := others.look()):
                break
            self.store.remove(self.name)
            if alive := others.wait(locks):
                if not tries_left:
                    raise Locked(f"{self.store} is being written to by {alive}; wait for it to end")
                time.sleep(random.uniform(0.05, 0.4))  # two that met each other must not meet again
        else:
            raise Locked(f"{self.store} is wanted by several writers at once; try again")
        self._beats = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beats.start()
        self.store.lease = self.id
        try:
            seal(self.store)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, kind: object = None, error: BaseException | None = None, trace: object = None) -> None:
        self._over.set()
        self._beats.join()
        try:
            # Files may be gone because somebody has taken over.
            if isinstance(error, (OSError, ValueError)) and not getattr(error, "passing", False):
                with contextlib.suppress(OSError, ValueError):
                    check(self.store)
        finally:
            self.store.lease = None
            # A disk that has turned read-only keeps the file; it holds nothing once this process is gone.
            with contextlib.suppress(OSError):
                self.store.remove(self.name)

    def __str__(self) -> str:
        return f"{self.what!r} on {socket.gethostname()} (process {os.getpid()})"

    def _write(self) -> None:
        self.store.write_json(self.name, _self() | {"what": self.what, "since": self._since, "beat": time.time()})

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            # A store that does not answer for a moment is no reason to stop; the next beat may get through.
            with contextlib.suppress(OSError):
                if self.store.exists(f"{REVOKED}/{self.id}.json") or not self.store.exists(self.name):
                    return
                self._write()


# --- Other locks: alive, dead, or not yet known ----------------------------------------------------------------------


@dataclass
class Lock:
    """A lock of somebody else's, as it was when it was first seen like this."""

    place: str
    data: bytes
    age_s: float  # then, by the store's clock
    seen: float  # when, by this process's clock
    changed: bool  # while we watched

    @property
    def holder(self) -> dict[str, Any] | None:
        """What it says of its writer; None when it cannot be read."""
        try:
            holder = parse_json(self.data)
        except ValueError:
            return None
        kinds = {"space": str, "pid": int, "host": str, "what": str}
        whole = isinstance(holder, dict) and all(isinstance(holder.get(key), kind) for key, kind in kinds.items())
        return holder if whole else None

    @property
    def here(self) -> bool:
        """Whether its writer's process id means something here."""
        return self.holder is not None and self.holder["space"] == _space()

    @property
    def silent_s(self) -> float:
        return self.age_s + time.monotonic() - self.seen

    @property
    def alive(self) -> bool:
        return not self.dead and (self.here or self.changed)

    @property
    def dead(self) -> bool:
        if self.here:
            assert self.holder is not None
            return _born(self.holder["pid"]) != self.holder.get("born")
        watched_s = time.monotonic() - self.seen
        return self.silent_s >= SILENT_S and watched_s >= min(2 * BEAT_S, SILENT_S)

    def __str__(self) -> str:
        holder = self.holder
        if holder is None:
            return f"somebody whose lock cannot be read, {self.place}"
        since = ""
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError, OSError):
            since = f", since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(holder['since']))}"
        return f"{holder['what']!r} on {holder['host']} (process {holder['pid']}{since}; its lock is {self.place})"


class Others:
    """Looks at the locks of others, again and again; those of the dead are revoked and cleared away."""

    def __init__(self, store: Store, mine: Lease):
        self._store, self._mine, self._locks = store, mine, dict[str, Lock]()

    def look(self) -> list[Lock]:
        """List the locks of those who are not known to be dead."""
        names = [name for name in (f"{LOCKS}/{name}" for name in self._store.names(LOCKS)) if name != self._mine.name]
        revoked = set(self._store.names(REVOKED)) if names else set()
        for name in names:
            if name.removeprefix(f"{LOCKS}/") in revoked:
                self._store.remove(name)  # its writer woke up and touched it once more
                self._locks.pop(name, None)
                continue
            with contextlib.suppress(FileNotFoundError):
                self._see(name, self._store.read(name))
        self._locks = {name: lock for name, lock in self._locks.items() if name in names}
        for name, lock in list(self._locks.items()):
            if lock.dead:
                why = "was gone" if lock.here else f"had not been heard of for {lock.silent_s:.0f} s"
                lease = name.removeprefix(f"{LOCKS}/").removesuffix(".json")
                if "." not in lease:  # else it is no lock of ndvr
                    revoke(self._store, lease, by=str(self._mine), because=why)
                self._store.remove(name)
                del self._locks[name]
        return list(self._locks.values())

    def _see(self, name: str, data: bytes) -> None:
        before = self._locks.get(name)
        if before is None or before.data != data:
            age_s = 0.0 if before else max(0.0, self._store.age_s(LOCKS).get(name.removeprefix(f"{LOCKS}/"), 0.0))
            place = f"{self._store}/{name}"
            self._locks[name] = Lock(place, data, age_s, time.monotonic(), changed=before is not None)

    def wait(self, locks: list[Lock]) -> Lock | None:
        """Wait until one of them is known to be alive, or none is left, and say so; returns the one that is alive."""
        told, until = float("-inf"), time.monotonic() + _LONGEST * SILENT_S
        while locks:
            if alive := next((lock for lock in locks if lock.alive), None):
                return alive
            if time.monotonic() > until:
                return locks[0]
            if time.monotonic() - told >= min(_TELL_S, SILENT_S):
                told = time.monotonic()
                sys.stderr.write(
                    f"waiting for {visible(str(locks[0]))}: it has not changed for {locks[0].silent_s:.0f} s; after "
                    f"{SILENT_S:.0f} s its writer is taken for dead\n"
                )
            time.sleep(min(1.0, SILENT_S / 20))
            locks = self.look()
        return None


def _self() -> dict[str, Any]:
    return {"host": socket.gethostname(), "space": _space(), "pid": os.getpid(), "born": _born(os.getpid())}


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
