"""Find what of a library is lost or damaged, and mend it: from what is there, or by making videos due again.

What can be read counts: the ledger is put together from all receipts that are whole, a configuration is taken from a
shard that was made with it, and videos whose features or receipts are gone are extracted again. Nothing is deleted:
what is set aside lies in trash/ until `ndvr gc` has let it lie for a week.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from ndvr.operators.library.config import Config
from ndvr.operators.library.fencing import REVOKED, check, damaged_seals
from ndvr.operators.library.library import CONFIGS, DESCRIPTION, FORMAT, RUNS, Library
from ndvr.operators.library.receipt_files import (
    COMMITS,
    FOLDED,
    KEY,
    SNAPSHOTS,
    LedgerFiles,
    Snapshot,
    commit,
    counting_commits,
    read_commits,
    read_folded,
    receipt_keys,
    time_for_receipts,
    write_folded,
    write_snapshot,
)
from ndvr.operators.library.shards import SHARDS
from ndvr.operators.rows import LEDGER, table
from ndvr.operators.storage.sealed import Damaged, SealedTable, open_json
from ndvr.operators.storage.store import Store

TRASH = "trash"
_TIME = "%Y%m%dT%H%M%S"
Kind = Literal["seal", "snapshot", "ledger", "commit", "configuration", "record", "shard", "orphan"]
_LEDGER: tuple[Kind, ...] = ("snapshot", "ledger", "commit")


@dataclass(frozen=True)
class Damage:
    """One file that is lost or not as it was written: its name in the library, and what is wrong, for people."""

    kind: Kind
    name: str
    text: str


# --- Find ------------------------------------------------------------------------------------------------------------


def ledger_damage(store: Store) -> list[Damage]:
    """Check every file that the ledger is made of, and every ledger file that no snapshot names."""
    if seals := damaged_seals(store):
        says = "which says what counts of a writer that was taken over"
        return [Damage("seal", name, f"{name}, {says}, is damaged") for name in seals]
    try:
        snapshot = LedgerFiles.now(store, lost=True).snapshot
    except (ValueError, TypeError, KeyError) as error:
        return [Damage("snapshot", f"{SNAPSHOTS}/{store.names(SNAPSHOTS)[-1]}", str(error).partition(";")[0])]
    damage, parts = list(_chain(store, snapshot)), []
    for part in snapshot.ledger:
        name, rows = f"{FOLDED}/{part['name']}", f"{part['rows']:,} receipts were in it"
        try:
            parts.append(read_folded(store, part["name"]))
            if part.get("sha256") not in (None, hashlib.sha256(store.read(name)).hexdigest()):
                damage.append(Damage("ledger", name, f"{name} is not the file that its snapshot names; {rows}"))
        except FileNotFoundError:
            damage.append(Damage("ledger", name, f"{name} is missing; {rows}"))
        except Damaged as error:
            damage.append(Damage("ledger", name, f"{name} is damaged ({error.why}); {rows}"))
    for name in sorted(set(counting_commits(store)) - set(snapshot.folded)):
        try:
            parts.append(read_commits(store, [name]))
            if _rewritten(store, name, parts[-1]):
                damage.append(Damage("commit", f"{COMMITS}/{name}", f"{COMMITS}/{name} is not as ndvr wrote it"))
        except FileNotFoundError:
            continue
        except Damaged as error:
            damage.append(Damage("commit", f"{COMMITS}/{name}", f"{COMMITS}/{name} is damaged ({error.why})"))
    if not damage:
        damage += _unnamed(store, snapshot, parts)
    return damage


def _chain(store: Store, snapshot: Snapshot) -> Iterator[Damage]:
    """Compare the snapshot before the one that holds with what that says of it."""
    names = [f"{SNAPSHOTS}/{name}" for name in store.names(SNAPSHOTS) if name.endswith(".json")][:-1]
    if snapshot.before and names and hashlib.sha256(store.read(names[-1])).hexdigest() != snapshot.before:
        yield Damage("snapshot", names[-1], f"{names[-1]} is not the file that the next snapshot follows")


def _rewritten(store: Store, name: str, receipts: pa.Table) -> bool:
    """Tell whether a commit has no seal, and digests as they have been written only since commits have one."""
    with store.open(f"{COMMITS}/{name}") as source:
        sealed = SealedTable(source, name).sealed
    return not sealed and (pc.max(pc.utf8_length(receipts["digest"])).as_py() or 0) > 32


def _unnamed(store: Store, snapshot: Snapshot, parts: list[pa.Table]) -> list[Damage]:
    """List ledger files that no snapshot names and that hold receipts which are nowhere else."""
    named = {part["name"] for part in snapshot.ledger} | {name.rpartition("/")[2] for name in snapshot.retired}
    known = receipt_keys(parts)
    damage: list[Damage] = []
    for name in sorted(set(store.names(FOLDED)) - named):
        try:
            extra = receipt_keys([read_folded(store, name)]) - known
        except Damaged:
            continue  # half a fold, of which no snapshot was written
        if extra:
            text = f"no snapshot names {FOLDED}/{name}, which holds {len(extra):,} receipts that are nowhere else"
            damage.append(Damage("snapshot", f"{FOLDED}/{name}", f"snapshots are lost: {text}"))
    return damage


def config_damage(library: Library, named: Collection[str]) -> list[Damage]:
    """Check the configurations that the library has, and those that its ledger names."""
    store, damage = library.store, []
    there = {name.removesuffix(".json") for name in store.names(CONFIGS) if name.endswith(".json")}
    for name in sorted(there | set(named) - {""}):
        try:
            library.config(name)
        except FileNotFoundError:
            text = f"{CONFIGS}/{name}.json is missing"
        except Damaged as error:
            text = f"{CONFIGS}/{name}.json is damaged ({error.why})"
        except (ValueError, TypeError, AttributeError) as error:
            text = f"{CONFIGS}/{name}.json is damaged ({error})"
        else:
            continue
        damage.append(Damage("configuration", f"{CONFIGS}/{name}.json", text))
    return damage


def record_damage(store: Store) -> list[Damage]:
    """Check the records of runs."""
    damage = []
    for name in (f"{RUNS}/{name}" for name in store.names(RUNS) if name.endswith(".json")):
        try:
            if not {"run", "settings"} <= open_json(store.read(name), name).keys():
                raise Damaged(name, "it does not say what it should")
        except Damaged as error:
            damage.append(Damage("record", name, f"{name} is damaged ({error.why})"))
    return damage


def orphan_damage(library: Library, orphans: Collection[str]) -> list[Damage]:
    """List those of the shards that no receipt names whose videos were never known as done: a commit of theirs is lost.

    Videos that were removed since, or whose rows were given up, were known.
    """
    open_runs = tuple(name.removesuffix(".open") for name in library.store.names(RUNS) if name.endswith(".open"))
    revoked_s = max(library.store.age_s(REVOKED).values(), default=0.0)  # since the first writer was taken over
    damage, shards = [], [name for name in orphans if name.startswith(f"{SHARDS}/") and name.endswith(".parquet")]
    known = _ever_done(library) if shards else set()
    for name in shards:
        _, config, file = name.split("/", 2)
        if open_runs and file.startswith(open_runs):
            continue  # of a run that was killed, or goes on
        if library.store.age_s(f"{SHARDS}/{config}").get(file, 0.0) < revoked_s:
            continue  # it may be of the writer that was taken over: what that wrote afterwards does not count
        try:
            with library.open_shard(f"{config}/{file}") as shard:
                rows = shard.read(columns=["video_id", "content"])
            held = {(config, *pair) for pair in zip(rows["video_id"].to_pylist(), rows["content"].to_pylist())}
        except (Damaged, FileNotFoundError):
            continue
        if unknown := held - known:
            text = f"no receipt names {name}; {len(unknown)} videos in it are known nowhere: a commit is lost"
            damage.append(Damage("orphan", name, text))
    return damage


def _ever_done(library: Library) -> set[tuple[str, str, str | None]]:
    """Find configuration, id and content of all that was ever done, and None as the content, as imported rows have."""
    ledger = library.ledger
    done = ledger.filter(pc.and_(pc.equal(ledger["kind"], "end"), pc.equal(ledger["status"], "done")))
    config, video_id, content = (done[name].to_pylist() for name in ("config", "video_id", "sha256"))
    return {*zip(config, video_id, content), *((*pair, None) for pair in zip(config, video_id))}


# --- Mend ------------------------------------------------------------------------------------------------------------


def restore_description(store: Store) -> bool:
    """Write library.json again where it is lost or damaged and the rest of a library is there."""
    try:
        if re.fullmatch(r"ndvr-library/\d+", str(store.read_json(DESCRIPTION).get("format"))):
            return False  # of this or another version
    except (FileNotFoundError, ValueError, AttributeError):
        pass
    if not store.names(CONFIGS):
        return False
    store.write_json(DESCRIPTION, {"format": FORMAT})
    return True


def mend(library: Library, damage: Collection[Damage]) -> list[str]:
    """Mend what was found; returns what was done, a sentence each. Call it with the lease only."""
    trash, done = Trash(library.store), []
    if any(each.kind in _LEDGER for each in damage):
        done.append(_rebuild_ledger(library.store, damage, trash))
    for each in {each.name: each for each in damage}.values():
        check(library.store)
        if each.kind == "configuration":
            done.append(_mend_config(library, each, trash))
        elif each.kind == "shard":
            done.append(_give_up_shard(library, each, trash))
        elif each.kind in ("orphan", "record"):
            trash.put(each.name)
            done.append(f"{each.name} was set aside")
    return done


class Trash:
    """Where files are kept that were cleared away: trash/<time>/, under the names they had; time is the store's own."""

    def __init__(self, store: Store):
        self.store = store

    @cached_property
    def folder(self) -> str:
        """Where files are put now."""
        return f"{TRASH}/{self._now().strftime(_TIME)}"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.store.now_ns() / 1e9, timezone.utc)

    def expire(self, *, days: float) -> None:
        """Remove for good what has lain here for so long."""
        if not (names := self.store.walk(TRASH)):
            return
        limit = self._now() - timedelta(days=days)
        for name in names:
            with contextlib.suppress(ValueError, IndexError):
                when = datetime.strptime(name.split("/")[1], _TIME).replace(tzinfo=timezone.utc)
                if when <= limit:
                    self.store.remove(name)

    def put(self, name: str) -> None:
        """Move a file here, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.store.move(name, f"{self.folder}/{name}")


def _rebuild_ledger(store: Store, damage: Collection[Damage], trash: Trash) -> str:
    """Put together all receipts that are whole, each once, in one file of ledger/ and a snapshot that names it."""
    bad = {each.name for each in damage}
    numbers = [int(name[:8]) for name in store.names(SNAPSHOTS) if name[:8].isdigit()]
    parts, retired = [], []
    for name in store.names(FOLDED):
        parts += read_folded_groups(store, name)
        retired.append(f"{FOLDED}/{name}")
    commits = [name for name in counting_commits(store) if f"{COMMITS}/{name}" not in bad]
    readable = [name for name in commits if _reads(store, name)]
    parts += [read_commits(store, [name]) for name in readable]
    rows = _once(pa.concat_tables(parts) if parts else LEDGER.empty_table())
    rows = rows.sort_by([("video_id", "ascending"), ("finished", "ascending")])
    name = hashlib.sha256("".join([*retired, *readable]).encode()).hexdigest()[:16] + "-whole.parquet"
    for each in damage:
        if each.kind in _LEDGER and not each.name.startswith(f"{FOLDED}/"):
            trash.put(each.name)
    number = max(numbers, default=0) + 1
    folded = write_folded(store, name, rows)
    gone = [name for name in retired if name in bad and name != f"{FOLDED}/{folded['name']}"]
    for lost in gone:
        trash.put(lost)
    kept = [name for name in retired if name not in gone and name != f"{FOLDED}/{folded['name']}"]
    write_snapshot(store, Snapshot(number=number, ledger=[folded], folded=readable, retired=kept))
    return f"the ledger was put together again from {len(rows):,} receipts that are whole"


def _reads(store: Store, name: str) -> bool:
    try:
        read_commits(store, [name])
    except (Damaged, FileNotFoundError):
        return False
    return True


def read_folded_groups(store: Store, name: str) -> list[pa.Table]:
    """Read the row groups of a ledger file that are whole."""
    parts = []
    try:
        with store.open(f"{FOLDED}/{name}") as source:
            file = SealedTable(source, name)
            for group in range(file.metadata.num_row_groups):
                try:
                    parts.append(file.read([group]).select(LEDGER.names).cast(LEDGER))
                except Damaged:
                    continue
    except (Damaged, KeyError, pa.ArrowInvalid):
        return []
    return parts


def _once(rows: pa.Table) -> pa.Table:
    """Leave out receipts that are there twice."""
    numbered = rows.select(list(KEY)).append_column("at", pa.array(range(len(rows)), pa.int64()))
    first = numbered.group_by(list(KEY)).aggregate([("at", "min")])["at_min"]
    return rows.take(first.combine_chunks().sort())


def _mend_config(library: Library, damage: Damage, trash: Trash) -> str:
    """Take a configuration from a shard that was made with it."""
    name = damage.name.removeprefix(f"{CONFIGS}/").removesuffix(".json")
    trash.put(damage.name)
    trash.put(f"{CONFIGS}/{name}.sha256")
    for shard in library.store.names(f"{SHARDS}/{name}"):
        try:
            with library.open_shard(f"{name}/{shard}") as file:
                values = json.loads((file.metadata.metadata or {})[b"ndvr"])
            config = Config.from_json(values)
        except (Damaged, ValueError, KeyError, TypeError):
            continue
        if config.name == name:
            library.add_config(config)
            return f"{damage.name} was written again, as {SHARDS}/{name}/{shard} says it"
    return f"{damage.name} cannot be restored from shards; the extraction or import that made it writes it again"


def _give_up_shard(library: Library, damage: Damage, trash: Trash) -> str:
    """Record that the attempts with pieces in a shard are no longer kept, so that their videos are due again."""
    shard = damage.name.removeprefix(f"{SHARDS}/")
    ledger = Library(library.store).ledger
    keys = ["video_id", "config", "method", "run", "attempt"]
    rows = ledger.filter(pc.equal(ledger["shard"], shard)).select(keys)
    attempts = [dict(zip(keys, key)) for key in sorted({tuple(row.values()) for row in rows.to_pylist()})]
    now = time_for_receipts(library.store)
    dropped = [
        each | {"kind": "dropped", "piece": 0, "finished": now, "message": "its shard was lost"} for each in attempts
    ]
    stem = shard.rpartition("/")[2].removesuffix(".parquet")
    commit(library.store, f"{stem}-lost-{hashlib.sha256(shard.encode()).hexdigest()[:8]}", table(dropped, LEDGER))
    trash.put(damage.name)
    videos = len({each["video_id"] for each in attempts})
    return f"{damage.name} was given up: {videos:,} videos are due again"
