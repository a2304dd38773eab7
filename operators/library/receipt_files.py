"""Which files make up a library's ledger now, and reading those rows of them that are asked for.

commits/*.parquet     receipts as they came, a file per committed shard
ledger/*.parquet      the same receipts, many commits folded into one file, sorted by video id
snapshots/<n>.json    which files of ledger/ count, and which commits are in them; the highest number holds

A commit is removed only by the fold after the one that took it in. So who lists the commits first and reads the
snapshot then has seen every receipt, whoever folds meanwhile.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ndvr.operators.library.fencing import ignored, write_fenced
from ndvr.operators.rows import LEDGER
from ndvr.operators.storage.sealed import Damaged, SealedTable, in_columns, read_sealed_json, seal_json, seal_table
from ndvr.operators.storage.shapes import shaped
from ndvr.operators.storage.store import Store, file_name

COMMITS, FOLDED, SNAPSHOTS = "commits", "ledger", "snapshots"
_TRIES = 20
_READERS = 16  # threads: an object store answers after tens of milliseconds
T = TypeVar("T")


def remedy(store: object) -> str:
    """Say what to do about a damaged file of a library."""
    return f"`ndvr fsck {store} --repair` mends what can be mended"


@dataclass(frozen=True)
class _Part:
    """What a snapshot says of one file of ledger/; earlier versions say less."""

    name: str
    rows: int
    sha256: str = ""
    latest_ms: int = 0


@dataclass(frozen=True)
class Snapshot:
    """What the last fold left."""

    number: int = 0
    ledger: list[dict[str, Any]] = field(default_factory=list)  # name, rows, sha256, latest_ms; oldest receipts first
    folded: list[str] = field(default_factory=list)  # commits that are in it and still lie there
    retired: list[str] = field(default_factory=list)  # files of earlier snapshots, for readers that are still at them
    before: str = ""  # the SHA-256 of the snapshot that this one follows

    @property
    def stem(self) -> str:
        """How the name of its file begins."""
        return f"{SNAPSHOTS}/{self.number:08d}"


_SNAPSHOT = {"number": int, "ledger": list[_Part], "folded": list[str], "retired": list[str]}


def open_snapshot(store: Store, name: str) -> Snapshot:
    """Read a snapshot, which must name files of the ledger only: they are read, and the retired ones removed."""
    source = f"{store}/{name}"
    values = read_sealed_json(store, name, remedy=remedy(store))
    shaped(values, _SNAPSHOT, source, optional={"before": str}, remedy=remedy(store))
    known = {each.name for each in fields(Snapshot)}
    snapshot = Snapshot(**{key: value for key, value in values.items() if key in known})
    for part in snapshot.ledger:
        file_name(part["name"], source)
    for commit in snapshot.folded:
        file_name(commit, source)
    for retired in snapshot.retired:
        file_name(retired, source, folders=(FOLDED,))
    return snapshot


@dataclass(frozen=True)
class LedgerFiles:
    """The files of one moment: `folded` sorted by video id within each, `commits` not yet folded."""

    snapshot: Snapshot
    snapshot_file: str | None  # None while nothing was folded
    commits: list[str]

    @classmethod
    def now(cls, store: Store, *, lost: bool = False) -> LedgerFiles:
        """List them. Damaged when all snapshots are lost, unless `lost` says that this is no matter."""
        commits = store.names(COMMITS)  # before the snapshot, see above
        snapshots = [name for name in store.names(SNAPSHOTS) if name.endswith(".json")]
        files = [f"{folder}/{name}" for folder, names in ((COMMITS, commits), (SNAPSHOTS, snapshots)) for name in names]
        late = ignored(store, files)
        counting = [name for name in files if name not in late]
        latest = max((name for name in counting if name.startswith(f"{SNAPSHOTS}/")), default=None)
        if latest is None and not lost:
            _refuse_lost_snapshots(store)
        snapshot = open_snapshot(store, latest) if latest else Snapshot()
        commits = [name.removeprefix(f"{COMMITS}/") for name in counting if name.startswith(f"{COMMITS}/")]
        return cls(snapshot, latest, sorted(set(commits) - set(snapshot.folded)))


def _refuse_lost_snapshots(store: Store) -> None:
    """Damaged when there are ledger files, no snapshot, and receipts in those that no commit has: loss is no emptiness.

    A first fold that was killed has left a file whose receipts are all in commits, too.
    """
    for name in store.names(FOLDED):
        lost = receipt_keys([read_folded(store, name)]) - receipt_keys([read_commits(store, store.names(COMMITS))])
        if lost and not store.names(SNAPSHOTS):  # which a fold would have written meanwhile
            raise Damaged(f"{store}/{SNAPSHOTS}", "no snapshot is there, and ledger files are", remedy(store))


# What tells receipts apart: the rest of a row belongs to these.
KEY = ("video_id", "method", "config", "run", "attempt", "kind", "piece", "shard", "shard_row", "sha256", "finished")


def receipt_keys(parts: Iterable[pa.Table]) -> set[tuple[Any, ...]]:
    """Make what tells each receipt from others."""
    return {key for part in parts for key in zip(*(part[name].to_pylist() for name in KEY))}


def commit(store: Store, stem: str, receipts: pa.Table) -> None:
    """Make receipts count, under the lease of `store`. RunStopped when it was taken over: then they may not."""
    write_fenced(store, f"{COMMITS}/{stem}", ".parquet", lambda name: store.write(name, seal_table(receipts)))


def read_receipts(store: Store, ids: Collection[str] | None = None) -> pa.Table:
    """Read all receipts, or those of some videos, at a cost that goes by their number and not by the library's size."""
    ids_wanted = None if ids is None else sorted(ids)
    try:
        return _retried(lambda: _receipts(store, LedgerFiles.now(store), ids_wanted))
    except FileNotFoundError as error:
        raise Damaged(f"the ledger of {store}", f"a file of it is missing: {error}", remedy(store)) from error


def time_for_receipts(store: Store) -> datetime:
    """Return now, or a time after those of all receipts when the clock of this host says less: the latest counts."""
    latest_ms = _retried(lambda: _latest_ms(store, LedgerFiles.now(store, lost=True)))
    return max(
        datetime.now(timezone.utc), datetime.fromtimestamp(latest_ms / 1000, timezone.utc) + timedelta(milliseconds=1)
    )


def _latest_ms(store: Store, files: LedgerFiles) -> int:
    """Find when the latest receipt was made, in milliseconds since 1970; 0 when there is none."""
    # Snapshots of earlier versions do not say it.
    folded = [part.get("latest_ms") or _latest_folded(store, part["name"]) for part in files.snapshot.ledger]
    return max([*folded, _latest_of(read_commits(store, files.commits))])


def _latest_folded(store: Store, name: str) -> int:
    with store.open(f"{FOLDED}/{name}") as source:
        file = SealedTable(source, f"{store}/{FOLDED}/{name}", remedy=remedy(store))
        return _latest_of(file.read(columns=["finished"]))


def _latest_of(receipts: pa.Table) -> int:
    return pc.max(receipts["finished"].cast(pa.int64())).as_py() or 0


def read_commits(store: Store, names: Sequence[str]) -> pa.Table:
    """Read the receipts of some commits."""
    return _joined(_mapped(partial(_commit, store, None), names))


def read_folded(store: Store, name: str) -> pa.Table:
    """Read the receipts of a file of ledger/."""
    return _folded(store, None, f"{FOLDED}/{name}")


def _receipts(store: Store, files: LedgerFiles, ids: list[str] | None) -> pa.Table:
    folded = [f"{FOLDED}/{part['name']}" for part in files.snapshot.ledger]
    parts = _mapped(partial(_folded, store, ids), folded)
    return _joined([*parts, *_mapped(partial(_commit, store, ids), files.commits)])


def _folded(store: Store, ids: list[str] | None, name: str) -> pa.Table:
    with store.open(name) as source:
        file = SealedTable(source, f"{store}/{name}", remedy=remedy(store))
        place = f"{store}/{name}"
        if ids is None:
            return _as_ledger(file.read(), place, store)
        metadata = file.metadata
        groups = [number for number in range(metadata.num_row_groups) if _may_hold(metadata, number, ids)]
        return _only(_as_ledger(file.read(groups), place, store), ids) if groups else LEDGER.empty_table()


def _commit(store: Store, ids: list[str] | None, name: str) -> pa.Table:
    source, place = pa.BufferReader(store.read(f"{COMMITS}/{name}")), f"{store}/{COMMITS}/{name}"
    receipts = _as_ledger(SealedTable(source, place, remedy=remedy(store)).read(), place, store)
    return receipts if ids is None else _only(receipts, ids)


def _may_hold(metadata: pq.FileMetaData, group: int, ids: list[str]) -> bool:
    """Tell whether any of the ids, sorted, can be in a row group, by the smallest and largest that are."""
    statistics = metadata.row_group(group).column(0).statistics  # video_id
    if statistics is None or not statistics.has_min_max:
        return True
    at = bisect_left(ids, statistics.min)
    return at < len(ids) and ids[at] <= statistics.max


def _only(rows: pa.Table, ids: list[str]) -> pa.Table:
    return rows.filter(pc.is_in(rows["video_id"], pa.array(ids, pa.string())))


def _as_ledger(receipts: pa.Table, place: str, store: Store) -> pa.Table:
    """Bring receipts into the columns of today: one that came later is null."""
    return in_columns(receipts, LEDGER, place, needs=("video_id", "kind"), remedy=remedy(store))


def _joined(parts: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts) if parts else LEDGER.empty_table()


def _mapped(function: Callable[[str], T], names: Sequence[str]) -> list[T]:
    if len(names) < 4:
        return [function(name) for name in names]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(function, names))


def _retried(read: Callable[[], T]) -> T:
    """Read again when files were folded away between being listed and being read: what took their place is there."""
    for _ in range(_TRIES - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


# --- Fold commits into few, sorted files, so that deciding what is new stays cheap however often a library grew
#
# Files grow as in a log-structured merge: new receipts take in the latest files that are not more than twice their
# size, so that every receipt is rewritten a number of times that grows with the logarithm of the library.


FEWEST_COMMITS = 16
ROWS_PER_GROUP = 2048  # what is read to look up one video


def fold(store: Store, *, fewest: int = FEWEST_COMMITS) -> bool:
    """Take in the commits, if there are that many. Call it with the lease only; readers need not know.

    The files that are no longer needed are removed by the next fold: a reader may be at them now.
    """
    files = LedgerFiles.now(store)
    before = files.snapshot
    if len(files.commits) < max(1, fewest):
        return False
    parts = [read_commits(store, files.commits)]
    kept, merged = list(before.ledger), []
    while kept and kept[-1]["rows"] <= 2 * sum(map(len, parts)):
        merged.append(kept.pop()["name"])
        parts.append(_folded(store, None, f"{FOLDED}/{merged[-1]}"))
    rows = pa.concat_tables(reversed(parts)).sort_by([("video_id", "ascending"), ("finished", "ascending")])
    # The same receipts give the same name: a fold that was killed before its snapshot is done over.
    name = hashlib.sha256("".join([*merged, *files.commits]).encode()).hexdigest()[:16] + ".parquet"
    after = Snapshot(
        number=before.number + 1,
        ledger=[*kept, write_folded(store, name, rows)],
        folded=files.commits,
        retired=[f"{FOLDED}/{old}" for old in merged],
        before=hashlib.sha256(store.read(files.snapshot_file)).hexdigest() if files.snapshot_file else "",
    )
    write_snapshot(store, after)
    _remove_retired(store, before)
    return True


def write_snapshot(store: Store, snapshot: Snapshot) -> None:
    """Make a snapshot hold."""
    write_fenced(store, snapshot.stem, ".json", lambda name: store.write_json(name, seal_json(vars(snapshot))))


def counting_commits(store: Store) -> list[str]:
    """List the commits that lie there, folded or not, but for those of writers that were taken over."""
    names = store.names(COMMITS)
    late = ignored(store, [f"{COMMITS}/{name}" for name in names])
    return [name for name in names if f"{COMMITS}/{name}" not in late]


def write_folded(store: Store, name: str, rows: pa.Table) -> dict[str, Any]:
    """Write a file of ledger/; returns what a snapshot says of it."""
    data = seal_table(rows, row_group_size=ROWS_PER_GROUP, compression="zstd", write_statistics=["video_id"])
    store.write(f"{FOLDED}/{name}", data)
    sha256 = hashlib.sha256(data).hexdigest()
    return {"name": name, "rows": len(rows), "sha256": sha256, "latest_ms": _latest_of(rows)}


def _remove_retired(store: Store, before: Snapshot) -> None:
    """Remove what `before` had already replaced, and the snapshots before it."""
    store.remove(*(f"{COMMITS}/{commit}" for commit in before.folded), *before.retired)
    for name in store.names(SNAPSHOTS):
        if f"{SNAPSHOTS}/{name}" < before.stem:
            store.remove(f"{SNAPSHOTS}/{name}")
