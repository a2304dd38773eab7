"""Check a library against itself: every row that the ledger promises is there, unchanged, and nothing else is."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ndvr.operators.library._ledger import Entry
from ndvr.operators.library.cleanup import tidy
from ndvr.operators.library.config import Config
from ndvr.operators.library.library import Library
from ndvr.operators.library.repair import Damage, config_damage, ledger_damage, orphan_damage, record_damage
from ndvr.operators.library.shards import SHARDS, changed, features_of
from ndvr.operators.storage.sealed import Damaged


@dataclass
class Audit:
    """What was checked and found. `problems` break a promise, `leftovers` only take up room."""

    library: str
    videos: int = 0
    rows: int = 0
    bytes: int = 0
    shards: int = 0
    problems: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    digest: str = ""
    damage: list[Damage] = field(default_factory=list, repr=False)  # the problems, by file
    repaired: list[str] = field(default_factory=list)  # what was done before this was found

    def note(self, damage: Collection[Damage]) -> None:
        """Add what was found to the problems."""
        self.damage += damage
        self.problems += [each.text for each in damage]

    @property
    def sound(self) -> bool:
        return not self.problems


def audit(library: Library, progress: Callable[[int, int], None] = lambda done, total: None) -> Audit:
    """Read all shards: recount the windows, rehash the features, find orphans, and sum everything up in one digest.

    The digest depends on what the library holds and on nothing else: not on runs, workers, shards or their order.
    """
    report, total = Audit(str(library)), hashlib.sha256()
    report.note(ledger_damage(library.store))
    report.note(record_damage(library.store))
    try:
        named = set(library.ledger["config"].to_pylist())
    except (ValueError, FileNotFoundError) as error:
        if not report.damage:
            report.problems.append(str(error))
        return report
    report.note(config_damage(library, named))
    if any(each.kind == "configuration" for each in report.damage):
        return report
    configs = library.configs
    entries = {config: library.entries(config) for config in configs}
    versions_of = {config: library.versions(config) for config in configs}
    n_shards = sum(len(_by_shard(versions.values())) for versions in versions_of.values())
    for config in sorted(configs):
        of_video: dict[tuple[str, int], bytes] = {}
        for shard, pieces in sorted(_by_shard(versions_of[config].values()).items()):
            _check_shard(library, configs[config], shard, pieces, report, of_video)
            report.shards += 1
            progress(report.shards, n_shards)
        for video_id, entry in entries[config].items():
            report.videos += 1
            line = [config, video_id, entry.status, entry.end["error_class"], entry.end["sha256"]]
            rows = [of_video.get((piece["shard"], piece["shard_row"]), b"") for piece in entry.pieces]
            total.update(repr(line).encode() + hashlib.sha256(b"".join(rows)).digest())
    stray = tidy(library, dry=True)
    report.note(lost := orphan_damage(library, stray.orphans))
    orphans = [name for name in stray.orphans if name not in {each.name for each in lost}]
    report.leftovers += [f"{name}: no receipt names it" for name in orphans]
    if stray.rows:
        report.leftovers.append(
            f"{stray.rows:,} rows in {len(stray.dropped) + len(stray.rewritten)} shards: not needed"
        )
    report.digest = total.hexdigest()
    return report


def _by_shard(entries: Any) -> dict[str, list[tuple[Entry, Mapping[str, Any]]]]:
    pieces_of = defaultdict(list)
    for entry in entries:
        for piece in entry.pieces:
            pieces_of[piece["shard"]].append((entry, piece))
    return pieces_of


def _check_shard(
    library: Library,
    config: Config,
    shard: str,
    pieces: list[tuple[Entry, Mapping[str, Any]]],
    report: Audit,
    of_video: dict[tuple[str, int], bytes],
) -> None:
    """Check what the ledger says of one shard, and note in `of_video` the rows of each piece as a hash."""
    problems: list[str] = []
    try:
        with library.open_shard(shard) as file:
            rows = file.read()
        _check_pieces(rows, config, shard, pieces, report, of_video, problems)
    except FileNotFoundError:
        problems.append(f"{SHARDS}/{shard} is missing; {len(pieces)} pieces were in it")
    except Damaged as error:
        problems.append(f"{SHARDS}/{shard} cannot be read: {error.why}")
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        problems.append(f"{SHARDS}/{shard} is no shard of {config.name}: {error}")
    report.note([Damage("shard", f"{SHARDS}/{shard}", text) for text in problems])


def _check_pieces(
    rows: pa.Table,
    config: Config,
    shard: str,
    pieces: list[tuple[Entry, Mapping[str, Any]]],
    report: Audit,
    of_video: dict[tuple[str, int], bytes],
    problems: list[str],
) -> None:
    ids, content = rows["video_id"].to_pylist(), rows["content"].to_pylist()
    start_s, features = rows["start_s"].to_numpy(), features_of(rows["feature"], config.feature_shape)
    report.bytes += features.nbytes
    for entry, piece in pieces:
        at = slice(piece["shard_row"], piece["shard_row"] + piece["windows_count"])
        name = f"piece {piece['piece']} of {entry.video_id!r} in {SHARDS}/{shard}"
        stored = features[at]
        report.rows += len(stored)
        if len(stored) != piece["windows_count"]:
            problems.append(f"{name} has {len(stored)} rows of {piece['windows_count']}")
        elif set(ids[at]) != {entry.video_id} or set(content[at]) not in ({entry.end["sha256"]}, {None}):
            problems.append(f"{name} holds rows of another video or content")
        elif different := changed(piece["digest"], np.ascontiguousarray(stored), start_s[at]):
            problems.append(f"{name} has other {different} than were written")
        of_video[shard, piece["shard_row"]] = hashlib.sha256(start_s[at].tobytes() + stored.tobytes()).digest()
