"""Fold commits into few, sorted files, so that deciding what is new stays cheap however often a library grew.

Files grow as in a log-structured merge: new receipts take in the latest files that are not more than twice their
size, so that every receipt is rewritten a number of times that grows with the logarithm of the library.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.operators.library.receipt_files import COMMITS, FOLDED, SNAPSHOTS, LedgerFiles, Snapshot, read_commits
from ndvr.operators.rows import LEDGER
from ndvr.operators.storage.store import Store

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
        with store.open(f"{FOLDED}/{merged[-1]}") as source:
            parts.append(pq.ParquetFile(source).read().cast(LEDGER))
    rows = pa.concat_tables(reversed(parts)).sort_by([("video_id", "ascending"), ("finished", "ascending")])
    # The same receipts give the same name: a fold that was killed before its snapshot is done over.
    name = hashlib.sha256("".join([*merged, *files.commits]).encode()).hexdigest()[:16] + ".parquet"
    store.write_parquet(
        f"{FOLDED}/{name}", rows, row_group_size=ROWS_PER_GROUP, compression="zstd", write_statistics=["video_id"]
    )
    after = Snapshot(
        number=before.number + 1,
        ledger=[*kept, {"name": name, "rows": len(rows)}],
        folded=files.commits,
        retired=[f"{FOLDED}/{old}" for old in merged],
    )
    store.write_json(after.name, vars(after))
    _remove_retired(store, before)
    return True


def _remove_retired(store: Store, before: Snapshot) -> None:
    """What `before` had already replaced, and the snapshots before it."""
    store.remove(*(f"{COMMITS}/{commit}" for commit in before.folded), *before.retired)
    for name in store.names(SNAPSHOTS):
        if f"{SNAPSHOTS}/{name}" < before.name:
            store.remove(f"{SNAPSHOTS}/{name}")
