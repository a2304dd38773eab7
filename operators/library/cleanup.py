"""Clear up in shards: files that no receipt names, and rows that no version of a video needs.

Both come from runs that were killed, from tries that failed half way, and from blocks that a lost worker had decoded
before. Readers of a library do not see them; who reads shards/ with another tool would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ndvr.operators.library._ledger import History
from ndvr.operators.library.fencing import check, ignored_files
from ndvr.operators.library.library import CONFIGS, RUNS, Library, of_config
from ndvr.operators.library.receipt_files import COMMITS, FOLDED, SNAPSHOTS, commit, read_receipts, time_for_receipts
from ndvr.operators.library.repair import Trash
from ndvr.operators.library.shards import SHARDS, write_shard
from ndvr.operators.rows import LEDGER, table


@dataclass
class Tidied:
    """What was cleared away, or would be. Names are relative to the library."""

    orphans: list[str] = field(default_factory=list)  # files that nothing named
    dropped: list[str] = field(default_factory=list)  # shards of dead rows only
    rewritten: list[str] = field(default_factory=list)  # shards with dead rows beside live ones
    rows: int = 0  # dead, in shards that are named
    bytes: int = 0  # freed
    trash: str = ""  # the folder where they lie now


def tidy(
    library: Library,
    *,
    run: str = "",
    ids: Collection[str] | None = None,
    old_versions: bool = False,
    dry: bool = False,
    trash: Trash | None = None,
) -> Tidied:
    """Clear up after runs whose id begins with `run`, or the whole library. Call it with the lease only.

    ids           the videos these runs were about, where known: then the cost goes by their number
    old_versions  also drop features of files that have changed since
    dry           only say what would be done
    trash         where files are moved; None: they are removed
    """
    done, store = Tidied(), library.store
    discard = trash.put if trash else store.remove
    sizes = {
        f"{config}/{name}": size
        for config in library.configs
        for name, size in store.sizes(f"{SHARDS}/{config}", run).items()
    }
    folders = [COMMITS, FOLDED, SNAPSHOTS, CONFIGS, RUNS, *(f"{SHARDS}/{config}" for config in library.configs)]
    done.orphans += [f"{folder}/{name}" for folder in folders for name in store.unfinished(folder)]
    receipts, now = read_receipts(store, ids), None
    for config in sorted({shard.partition("/")[0] for shard in sizes}):
        every = _with_live(of_config(receipts, config), old_versions=not old_versions)
        named = every.filter(pc.is_in(every["shard"], pa.array(list(sizes))))
        shards = sorted(shard for shard in sizes if shard.startswith(f"{config}/"))
        done.orphans += [f"{SHARDS}/{shard}" for shard in sorted({*shards} - {*named["shard"].to_pylist()})]
        for shard in sorted({*named.filter(pc.invert(named["live"]))["shard"].to_pylist()}):
            rows = named.filter(pc.equal(named["shard"], shard))
            alive = rows.filter(rows["live"]).sort_by("shard_row")
            done.rows += pc.sum(rows["windows_count"]).as_py() - (pc.sum(alive["windows_count"]).as_py() or 0)
            (done.rewritten if len(alive) else done.dropped).append(f"{SHARDS}/{shard}")
            if not dry:
                now = now or time_for_receipts(store)
                _clear(library, config, shard, alive, _given_up(rows, every), now)
                discard(f"{SHARDS}/{shard}")
    done.orphans += ignored_files(store)
    if not dry:
        check(store)
        for name in done.orphans:
            discard(name)
    done.bytes += sum(sizes.get(name.removeprefix(f"{SHARDS}/"), 0) for name in (*done.orphans, *done.dropped))
    return done


def _with_live(receipts: pa.Table, *, old_versions: bool) -> pa.Table:
    """Add the column `live`: whether a receipt counts."""
    return receipts.append_column("live", pa.array(History(receipts).live(old_versions=old_versions), pa.bool_()))


def _given_up(rows: pa.Table, every: pa.Table) -> list[dict[str, Any]]:
    """List the attempts in `rows` that have no live piece in `every`; a piece may also lie in two shards."""
    keys = ["video_id", "config", "method", "run", "attempt"]
    living = {tuple(row.values()) for row in every.filter(every["live"]).select(keys).to_pylist()}
    dead = {tuple(row.values()) for row in rows.filter(pc.invert(rows["live"])).select(keys).to_pylist()}
    return [dict(zip(keys, values)) for values in sorted(dead - living)]


def _clear(
    library: Library, config: str, shard: str, alive: pa.Table, given_up: list[dict[str, Any]], now: datetime
) -> None:
    """Leave only the live rows of a shard, in a new one. A commit says so, of `now`, before the old one goes."""
    # Begins with the id of the run, as all that a run writes does.
    run, _, before = shard.partition("/")[2].removesuffix(".parquet").rpartition("-")
    at = _rows_of(alive)
    # And is no other writer's: one that was taken over while it cleared up may still remove what it had found.
    key = (config, before, at.tolist(), library.store.lease)
    name = f"{run}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.parquet"
    receipts = [table([{"kind": "dropped", "piece": 0, "finished": now} | attempt for attempt in given_up], LEDGER)]
    if len(alive):
        with library.open_shard(shard) as file:
            windows = file.read().take(pa.array(at))
        columns = {key: windows[key].combine_chunks() for key in windows.column_names if key != "feature"}
        write_shard(library.store, f"{config}/{name}", columns, windows["feature"], library.configs[config])
        receipts.append(_moved(alive, f"{config}/{name}", now))
    commit(library.store, name.removesuffix(".parquet"), pa.concat_tables(receipts))


def _rows_of(pieces: pa.Table) -> np.ndarray:
    """Number the rows of their shard that pieces take up, (N,) int64."""
    counts, starts = (pieces[name].to_numpy() for name in ("windows_count", "shard_row"))
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(at, at + n) for at, n in zip(starts, counts))])


def _moved(pieces: pa.Table, shard: str, now: datetime) -> pa.Table:
    """Make the receipts of pieces that now lie in `shard`, one behind the other."""
    counts = pieces["windows_count"].to_numpy()
    changed = {
        "shard": pa.array([shard] * len(pieces)),
        "shard_row": pa.array(np.cumsum(counts) - counts, pa.int64()),
        "finished": pa.repeat(pa.scalar(now, LEDGER.field("finished").type), len(pieces)),
    }
    return pa.Table.from_arrays([changed.get(column.name, pieces[column.name]) for column in LEDGER], schema=LEDGER)
