"""Files that name the lease they were written under, and which of them count after that lease was revoked.

name = write_fenced(store, "commits/r1-0a", ".parquet", lambda name: store.write_parquet(name, receipts))
name                                                  # "commits/r1-0a.1f0c9a3b77de.parquet"
ignored(store, [name])                                # {name} when that writer had been taken over before

A file that keeps its name and is replaced, as scores.json is, says inside under which lease it was written:

value = stamped(store, value)
written_late(store, "scores.json", data)              # True when its writer had been taken over before

locks/revoked/<lease>.json          its writer must stop: taken over, by whom and why
locks/revoked/<lease>.<by>.json     which files of that lease count, listed under the lease `by` that followed it

The rule and its reasons are in ndvr.operators.library.lease.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from ndvr.operators.errors import RunStopped
from ndvr.operators.storage.sealed import Damaged, read_sealed_json, seal_json
from ndvr.operators.storage.store import Store, parse_json

LOCKS, REVOKED = "locks", "locks/revoked"
FENCED = ("commits", "snapshots")  # folders whose files decide what a library holds
REPLACED = ("scores.json", "pairs.json")  # files of scores and pairs that decide what these hold
_LEASE = "lease"  # the key of such a file
_NAMED = re.compile(r"\.([0-9a-f]{12})\.(?:parquet|json)$")


def lock_of(lease: str) -> str:
    """Name the file that a writer keeps in locks/ while it holds a lease."""
    return f"{LOCKS}/{lease}.json"


def lease_of(name: str) -> str | None:
    """Read the lease from a file's name; None for a file written without one, as all were before there were any."""
    match = _NAMED.search(name)
    return match[1] if match else None


def write_fenced(store: Store, stem: str, suffix: str, write: Callable[[str], object]) -> str:
    """Write a file that decides what the library holds; returns its name, which has the lease of `store` in it.

    RunStopped when that lease is gone, before or after: a file that was written then may not count.
    """
    check(store)
    name = fenced_name(store, stem, suffix)
    write(name)
    check(store)
    return name


def fenced_name(store: Store, stem: str, suffix: str) -> str:
    """Name a file after the lease of `store`, if it has one."""
    return f"{stem}.{store.lease}{suffix}" if store.lease else f"{stem}{suffix}"


def check(store: Store) -> None:
    """Raise RunStopped when the lease that `store` carries has been taken over."""
    if store.lease is None:
        return
    try:
        taken = store.read_json(f"{REVOKED}/{store.lease}.json")
    except FileNotFoundError:
        if store.exists(lock_of(store.lease)):
            return
        raise RunStopped(f"the lock of this run, {store}/{lock_of(store.lease)}, was removed") from None
    except ValueError:
        taken = {}
    by, why = (taken.get(key, "?") for key in ("by", "because")) if isinstance(taken, dict) else "??"
    raise RunStopped(f"{by} has taken over {store}, because this one {why}; nothing is written to it any more")


def revoke(store: Store, lease: str, *, by: str, because: str) -> None:
    """Tell a writer that it is taken over; from now on it stops before and after each file that decides something."""
    name = f"{REVOKED}/{lease}.json"
    if not store.exists(name):
        store.write_json(name, {"by": by, "because": because})


def seal(store: Store) -> None:
    """Write down which files of revoked leases count: those that are there. Call it with the lease, before all else."""
    revocations = Revocations(store)
    unsealed = [lease for lease in sorted(revocations.marked) if revocations.kept(lease) is None]
    if not unsealed:
        return
    # Seals from the same listing as `unsealed`: one that comes later must not count beside that of this writer.
    there = [*revocations.files, *(f"{folder}/{name}" for folder in FENCED for name in store.names(folder))]
    replaced = [(name, data) for name in REPLACED if (data := _data_of(store, name))]
    for lease in unsealed:
        kept = [name for name in there if lease_of(name) == lease]
        kept += [_version(name, data) for name, data in replaced if _stamp_of(data) == lease]
        store.write_json(f"{REVOKED}/{lease}.{store.lease}.json", seal_json({"kept": kept}))
    check(store)


def damaged_seals(store: Store) -> list[str]:
    """List the seals that are not as they were written. Without them the next writer makes new ones."""
    damaged = []
    for name in (f"{REVOKED}/{name}" for name in store.names(REVOKED) if name.count(".") > 1):
        try:
            _kept_in(store, name)
        except Damaged:
            damaged.append(name)
    return damaged


def _kept_in(store: Store, name: str) -> set[str]:
    remedy = f"`ndvr fsck {store} --repair` lists what counts of a writer that was taken over anew"
    if any(store.exists(each) for each in REPLACED):  # no library
        remedy = f"remove it, and run the command that writes {store} again"
    kept = read_sealed_json(store, name, remedy=remedy).get("kept")
    if not isinstance(kept, list) or not all(isinstance(each, str) for each in kept):
        raise Damaged(f"{store}/{name}", "it lists no files", remedy)
    return set(kept)


def ignored(store: Store, names: Iterable[str]) -> set[str]:
    """Find those of these files ("folder/name") that a writer wrote after it had been taken over: they do not count.

    List the files first: what is written later than the look at locks/revoked could be taken for what it is not.
    """
    named = [(name, lease) for name in names if (lease := lease_of(name))]
    if not named:
        return set()
    revocations = Revocations(store)
    return {name for name, lease in named if not revocations.counts(name, lease)}


def ignored_files(store: Store) -> list[str]:
    """List all files of the library that do not count, sorted."""
    return sorted(ignored(store, [f"{folder}/{name}" for folder in FENCED for name in store.names(folder)]))


# --- Files that are replaced -----------------------------------------------------------------------------------------


def stamped(store: Store, value: dict[str, Any]) -> dict[str, Any]:
    """Add to the value of a file that is replaced the lease of `store`, if it has one."""
    return value | ({_LEASE: store.lease} if store.lease else {})


def unstamped(value: dict[str, Any]) -> dict[str, Any]:
    """Leave out the lease."""
    return {key: each for key, each in value.items() if key != _LEASE}


def written_late(store: Store, name: str, data: bytes) -> bool:
    """Tell whether a file that is replaced, as it was read, was written after its writer had been taken over."""
    lease = _stamp_of(data)
    return lease is not None and not Revocations(store).counts(_version(name, data), lease)


def _version(name: str, data: bytes) -> str:
    return f"{name} {hashlib.sha256(data).hexdigest()[:16]}"


def _stamp_of(data: bytes) -> str | None:
    try:
        lease = parse_json(data).get(_LEASE)
    except (ValueError, AttributeError):
        return None
    return lease if isinstance(lease, str) else None


def _data_of(store: Store, name: str) -> bytes:
    try:
        return store.read(name)
    except FileNotFoundError:
        return b""


class Revocations:
    """What locks/revoked says now."""

    def __init__(self, store: Store):
        self._store, self._kept = store, dict[str, set[str] | None]()
        self.files = [f"{REVOKED}/{name}" for name in store.names(REVOKED)]
        self.marked = {stem for name in self.files if "." not in (stem := _stem(name))}

    def counts(self, name: str, lease: str) -> bool:
        """Tell whether a file that names this lease counts. While nobody has sealed a revoked lease, all its do."""
        return lease not in self.marked or (kept := self.kept(lease)) is None or name in kept

    def kept(self, lease: str) -> set[str] | None:
        """Find which files of a revoked lease count, as the writer after it has written down; None: not yet."""
        if lease not in self._kept:
            self._kept[lease] = None  # a circle of seals, which no writer makes, ends here
            for name in self.files:
                before, _, by = _stem(name).partition(".")
                if before == lease and by and self.counts(name, by):
                    self._kept[lease] = _kept_in(self._store, name)
        return self._kept[lease]


def _stem(name: str) -> str:
    return name.removeprefix(f"{REVOKED}/").removesuffix(".json")
