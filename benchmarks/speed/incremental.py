"""What it costs to find out what is new, as a library grows: python -m ndvr.benchmarks.speed.incremental

100 videos that a library does not have and 100 that it has, against libraries of 10^4, 10^5 and 10^6 videos, whose
ledgers were made as runs make them: commits of 64 videos, folded. Beside it the whole collection as a manifest, whose
cost is that of looking at so many files.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from ndvr.benchmarks.record import record
from ndvr.operators.library.library import Library
from ndvr.operators.library.receipt_files import COMMITS, LedgerFiles, fold
from ndvr.operators.library.shards import SHARDS
from ndvr.operators.rows import LEDGER
from ndvr.operators.storage.manifest import Manifest
from ndvr.pipeline.extraction.plan import make_plan
from ndvr.pipeline.settings import choose_one

CONFIG = "s2vs-0000000"
VIDEOS_PER_RUN = 6400
ASKED = 100


@click.command(context_settings={"show_default": True})
@click.option("--sizes", default="10000,100000,1000000", help="Videos in the library.")
@click.option("--repeat", default=5, help="Times to measure; the median counts.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="JSON to write. Default: benchmarks/results/incremental.json"
)
def main(sizes: str, repeat: int, out: Path | None) -> None:
    """Measure and print one line a size."""
    rows = []
    for size in (int(size) for size in sizes.split(",")):
        folder = Path(tempfile.mkdtemp(prefix="incremental-"))
        try:
            rows.append(_measure(folder, size, repeat))
        finally:
            shutil.rmtree(folder)
        row = rows[-1]
        times = ", ".join(f"100 {kind} {row[f'{kind}_s']:.3f} s" for kind in ("new", "known", "spread"))
        ledger = f"{row['ledger_files']} ledger files, {row['ledger_mb']:,.1f} MB"
        click.echo(f"{size:>9,} videos in {ledger}: {times}; all of them {row['all_s']:.2f} s")
    record("incremental", {"sizes": rows}, out)


def _measure(folder: Path, size: int, repeat: int) -> dict[str, float]:
    library = Library.create(folder / "library")
    made_up = choose_one("s2vs").config(weights="none", weights_digest="none", decoder="none", trained=False)
    library.add_config(replace(made_up, name=CONFIG))
    rng = np.random.default_rng(size)
    names = np.array([f"{number:07d}-{rng.integers(1 << 30):08x}" for number in rng.permutation(size)])
    for start in range(0, size, VIDEOS_PER_RUN):
        new_names = names[start : start + VIDEOS_PER_RUN]
        library.store.write(f"{SHARDS}/{CONFIG}/run{start:07d}.parquet", b"")  # which is not read
        for number, at in enumerate(range(0, len(new_names), 64)):
            rows = _receipts(new_names[at : at + 64], run=f"run{start:07d}")
            library.store.write_parquet(f"{COMMITS}/run{start:07d}-{number:04d}.parquet", rows)
        fold(library.store)
    files = LedgerFiles.now(library.store)
    id_lists = {
        "new": [f"new-{number}" for number in range(ASKED)],
        "known": sorted(names)[size // 2 : size // 2 + ASKED],  # as a day's videos lie side by side
        "spread": rng.choice(names, ASKED, replace=False).tolist(),
        "all": names.tolist(),
    }
    timed = {f"{kind}_s": _median(repeat, library, ids) for kind, ids in id_lists.items()}
    return timed | {
        "videos": size,
        "ledger_files": len(files.snapshot.ledger) + len(files.commits),
        "ledger_mb": sum(library.store.sizes("ledger").values()) / 1e6,
    }


def _median(repeat: int, library: Library, ids: list[str]) -> float:
    manifest = Manifest(source="made", uris={id_: f"{id_}.mp4" for id_ in ids}, stats={id_: (1000, 7) for id_ in ids})

    def once() -> float:
        began = time.perf_counter()
        make_plan(manifest, Library(str(library)), {"s2vs": CONFIG}, retry=frozenset())
        return time.perf_counter() - began

    return _median_of(once, 1 if len(ids) > 10_000 else repeat)


def _median_of(measure: Callable[[], float], repeat: int) -> float:
    return float(np.median([measure() for _ in range(repeat)]))


def _receipts(ids: np.ndarray, *, run: str) -> pa.Table:
    """Make the receipts of one piece and the end of every video."""
    n = len(ids)
    now = pa.scalar(datetime.now(timezone.utc), LEDGER.field("finished").type)
    same = {"method": "s2vs", "config": CONFIG, "run": run, "attempt": 1, "sha256": "0" * 64, "host": "node"}
    piece = {"kind": "piece", "piece": 0, "windows_count": 100, "shard": f"{CONFIG}/{run}.parquet", "digest": "0" * 32}
    end = {"kind": "end", "piece": 1, "windows_count": 100, "status": "done", "bytes": 1000, "mtime_ns": 7}
    end |= {"decoder": "pyav 18", "frames": 2500, "decode_s": 1.5, "uri": "videos/a.mp4", "duration_s": 100.0}
    parts = []
    for row in (same | piece, same | end):
        known = {"video_id": pa.array(ids), "finished": pa.repeat(now, n)}
        columns = [known.get(f.name, pa.repeat(pa.scalar(row.get(f.name), f.type), n)) for f in LEDGER]
        parts.append(pa.Table.from_arrays([column.cast(f.type) for column, f in zip(columns, LEDGER)], schema=LEDGER))
    return pa.concat_tables(parts)


if __name__ == "__main__":
    main()
