"""A library: the features of a collection as Parquet shards, and the ledger of what became of every video.

    LIBRARY/library.json               the format
    LIBRARY/configs/<config>.json      method, weights, view, decoder ...: what made the features of that name
    LIBRARY/configs/<config>.sha256    the hash of that file
    LIBRARY/shards/<config>/*.parquet  a row per window: video_id, content, start_s, feature; plain Parquet, any reader
    LIBRARY/commits/*.parquet          receipts (ndvr.operators.rows): what is not named here is not there
    LIBRARY/ledger/, snapshots/        the same receipts, folded: see ndvr.operators.library.receipt_files
    LIBRARY/runs/<run>.json            what each run did; <run>.open while it goes on, or was killed
    LIBRARY/locks/                     who is writing: see ndvr.operators.library.lease
    LIBRARY/decisions/*.parquet        what people said of pairs: see ndvr.operators.library.decisions

Every file is whole or not there (operators/storage/store.py), shards come before the commit that names them: a
reader sees whole, committed shards at any moment, and a killed run leaves nothing but files nobody names.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ndvr.operators.library._ledger import Entry, History, latest, removed_contents
from ndvr.operators.library.config import Config
from ndvr.operators.library.receipt_files import read_receipts, remedy
from ndvr.operators.library.shards import SHARDS, changed, features_of
from ndvr.operators.rows import EVERY_CONFIG, EVERY_VIDEO
from ndvr.operators.storage.object_store import SCHEMES
from ndvr.operators.storage.sealed import Damaged, SealedTable, open_json
from ndvr.operators.storage.store import Store, file_name

FORMAT = "ndvr-library/2"
DESCRIPTION, CONFIGS, RUNS = "library.json", "configs", "runs"
SEAL = ".sha256"  # of the file beside a configuration that has its hash


@dataclass(frozen=True)
class Lookup:
    """What was looked up: `receipts` of every kind, and by configuration the latest word on every video."""

    receipts: pa.Table
    entries: dict[str, dict[str, Entry]]

    @cached_property
    def lost(self) -> Counter[str]:
        """How many workers each video has brought down, or seen go, since it was last settled."""
        rows = self.receipts.select(["video_id", "kind", "finished"])
        rows = rows.filter(pc.is_in(rows["kind"], pa.array(["lost", "end"]))).sort_by("finished")
        count: Counter[str] = Counter()
        if pc.any(pc.equal(rows["kind"], "lost")).as_py():
            for row in rows.to_pylist():
                count[row["video_id"]] = count[row["video_id"]] + 1 if row["kind"] == "lost" else 0
        return count

    @cached_property
    def removed_contents(self) -> frozenset[str]:
        """The contents (SHA-256) that were removed, whatever videos have them."""
        return frozenset(removed_contents(self.receipts))

    def versions(self, config: str) -> dict[tuple[str, str | None], Entry]:
        """See Library.versions."""
        return History(of_config(self.receipts, config)).versions()


def is_library(place: str | Path) -> bool:
    """Tell whether a place, a folder or in an object store, holds a library."""
    remote = str(place).startswith(tuple(f"{scheme}://" for scheme in SCHEMES))
    return (remote or Path(place).is_dir()) and Store(place).exists(DESCRIPTION)


class Library:
    """An opened library, as of now. Raises FileNotFoundError or ValueError when it is none."""

    def __init__(self, path: str | Path | Store):
        self.store = Store(path)
        try:
            written = self.store.read_json(DESCRIPTION).get("format")
            if not isinstance(written, str):
                raise ValueError(f"{DESCRIPTION} names no format")
        except FileNotFoundError:
            if self.store.names(CONFIGS):
                raise Damaged(f"{self}/{DESCRIPTION}", "it is missing", remedy(self.store)) from None
            raise FileNotFoundError(f"no library at {self}; `ndvr extract VIDEOS {self}` makes one") from None
        except NotADirectoryError as error:
            raise ValueError(f"{self} is not a library: {error}") from error
        except (ValueError, AttributeError) as error:
            if self.store.names(CONFIGS):
                why = "it is no JSON object that names a format"
                raise Damaged(f"{self}/{DESCRIPTION}", why, remedy(self.store)) from error
            raise ValueError(f"{self} is not a library: {error}") from error
        if written != FORMAT:
            raise ValueError(
                f"{self} has format {written!r}, this version reads {FORMAT!r}; extract into a new folder, or use the "
                "version of ndvr that made it"
            )

    @classmethod
    def create(cls, path: str | Path) -> Library:
        """Open a library, making it when the folder is new or empty."""
        store = Store(path)
        if not store.remote and store.folder.exists() and not store.folder.is_dir():
            raise ValueError(f"{store} exists and is not a library; name a new folder for LIBRARY")
        if not store.exists(DESCRIPTION):
            if not store.empty():
                raise ValueError(f"{store} exists and is not a library; name a new folder for LIBRARY")
            store.write_json(DESCRIPTION, {"format": FORMAT})
        return cls(path)

    def __str__(self) -> str:
        return str(self.store)

    @property
    def configs(self) -> dict[str, Config]:
        """Read all configurations of the library, by name."""
        names = self.store.names(CONFIGS)
        configs = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        return {name: self._config(name, sealed=f"{name}{SEAL}" in names) for name in configs}

    def config(self, name: str) -> Config:
        """Read one configuration. FileNotFoundError when it is not there, ValueError when it is damaged."""
        return self._config(name, sealed=self.store.exists(f"{CONFIGS}/{name}{SEAL}"))

    def _config(self, name: str, *, sealed: bool) -> Config:
        data, place = self.store.read(f"{CONFIGS}/{name}.json"), f"{self}/{CONFIGS}/{name}.json"
        values = open_json(data, place, remedy=remedy(self.store))
        try:
            config = Config.from_json(values)
        except ValueError as error:
            why = error.why if isinstance(error, Damaged) else str(error)
            raise Damaged(place, why, remedy(self.store)) from error
        written = self.store.read(f"{CONFIGS}/{name}{SEAL}").decode(errors="replace").strip() if sealed else None
        if written not in (None, hashlib.sha256(data).hexdigest()):
            raise Damaged(place, "its content has changed", remedy(self.store))
        if config.name != name:
            raise Damaged(place, f"it is of a configuration {config.name!r}", remedy(self.store))
        return config

    def add_config(self, config: Config) -> None:
        """Make a configuration known; what is known already stays as it is."""
        name = f"{CONFIGS}/{config.name}.json"
        if not self.store.exists(name):
            self.store.write_json(name, config.to_json())
            self._seal_config(config.name)

    def _seal_config(self, config: str) -> None:
        """Write down the hash of a configuration, beside it: its own content is a format that others read."""
        data = self.store.read(f"{CONFIGS}/{config}.json")
        self.store.write(f"{CONFIGS}/{config}{SEAL}", (hashlib.sha256(data).hexdigest() + "\n").encode())

    def config_of(self, method: str, config: str | None = None) -> str:
        """Name the configuration of a method. ValueError when there is none, or several and `config` picks none."""
        configs = self.configs
        names = [name for name, each in configs.items() if each.method == method]
        if config is not None:
            if config not in names:
                raise ValueError(f"{self} has no configuration {config!r} of {method}; it has: {', '.join(configs)}")
            return config
        if not names:
            others = ", ".join(sorted({each.method for each in configs.values()})) or "nothing yet"
            raise ValueError(
                f"{self} holds features of {others}, not of {method}; "
                f"run `ndvr extract VIDEOS {self} --method {method}` first"
            )
        if len(names) > 1:
            raise ValueError(
                f"{self} holds {method} features of several configurations; choose one with --config: "
                f"{', '.join(names)}"
            )
        return names[0]

    @cached_property
    def ledger(self) -> pa.Table:
        """All committed receipts."""
        return read_receipts(self.store)

    def entries(self, config: str) -> dict[str, Entry]:
        """Find the latest word on every video under a configuration, by id, sorted."""
        return latest(of_config(self.ledger, config))

    def lookup(self, configs: Iterable[str], ids: Collection[str]) -> Lookup:
        """Read what the ledger says of some videos, as of now, without reading the whole of it."""
        receipts = read_receipts(self.store, {*ids, EVERY_VIDEO})
        return Lookup(receipts, {config: latest(of_config(receipts, config)) for config in configs})

    def lost_shards(self, entries: Iterable[Entry]) -> set[str]:
        """Find the shards that entries name and that are not there, or empty, by listing their folders once."""
        named = {shard for entry in entries for shard in entry.shards}
        there = set()
        for folder in {shard.partition("/")[0] for shard in named}:
            there |= {f"{folder}/{name}" for name, size in self.store.sizes(f"{SHARDS}/{folder}").items() if size}
        return named - there

    def versions(self, config: str) -> dict[tuple[str, str | None], Entry]:
        """Find what is kept of every video, by id and content (SHA-256): of a changed file the older features too."""
        return History(of_config(self.ledger, config)).versions()

    def read(self, entries: Iterable[Entry]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield (video_id, start_s (T,), features (T, *feature_shape)) of entries that have features, shard by shard.

        Videos whose pieces lie in several shards come last. The order depends on the entries only.
        """
        by_shard: dict[str, list[Entry]] = {}
        scattered = []
        for entry in entries:
            if not entry.pieces:
                continue
            shards = {piece["shard"] for piece in entry.pieces}
            if len(shards) == 1:
                by_shard.setdefault(shards.pop(), []).append(entry)
            else:
                scattered.append(entry)
        for shard, entries_in_it in sorted(by_shard.items()):
            columns = self._shard(shard)
            for entry in entries_in_it:
                yield entry.video_id, *_join([self._piece(columns, piece) for piece in entry.pieces])
        for entry in scattered:
            read = {shard: self._shard(shard) for shard in sorted({piece["shard"] for piece in entry.pieces})}
            yield entry.video_id, *_join([self._piece(read[piece["shard"]], piece) for piece in entry.pieces])

    def open_shard(self, shard: str) -> SealedTable:
        """Open a shard as receipts name it. FileNotFoundError when it is gone: the library was cleared up meanwhile."""
        folder = shard.partition("/")[0]
        file_name(shard, f"the ledger of {self}", folders=() if folder in ("", ".", "..") else (folder,))
        try:
            # Of an object store the columns of several row groups come in one request, where they would be one each.
            name, source = f"{self}/{SHARDS}/{shard}", self.store.open(f"{SHARDS}/{shard}")
            return SealedTable(source, name, remedy=remedy(self.store), pre_buffer=self.store.remote)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"shard {shard} of {self} is gone: it was rewritten since this command read the ledger; run it again"
            ) from None

    def _shard(self, shard: str) -> tuple[np.ndarray, np.ndarray]:
        with self.open_shard(shard) as file:
            config = self.configs[shard.partition("/")[0]]
            table = file.read(columns=["start_s", "feature"])
        return table["start_s"].to_numpy(), features_of(table["feature"], config.feature_shape)

    def _piece(self, columns: tuple[np.ndarray, np.ndarray], piece: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Cut a piece out of its shard. Damaged when it is not as it was written."""
        rows = slice(piece["shard_row"], piece["shard_row"] + piece["windows_count"])
        start_s, features = columns[0][rows], columns[1][rows]
        self.check_piece(piece["shard"], piece["digest"], [(start_s, features)])
        return start_s, features

    def check_piece(self, shard: str, digest: str | None, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Raise Damaged when start times and features, in `parts`, are not those of a piece with this digest."""
        start_s, features = (np.concatenate(column) if len(parts) > 1 else column[0] for column in zip(*parts))
        if different := changed(digest, np.ascontiguousarray(features), start_s):
            why = f"it has other {different} than were written"
            raise Damaged(f"{self}/{SHARDS}/{shard}", why, remedy(self.store))


def of_config(receipts: pa.Table, config: str) -> pa.Table:
    """Filter the receipts of a configuration, and those that hold for every one."""
    belongs = pc.is_in(receipts["config"], pa.array([config, EVERY_CONFIG]))
    # Most libraries have one configuration; a copy of its rows would cost as much memory again.
    return receipts if pc.all(belongs).as_py() else receipts.filter(belongs)


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    start_s, features = zip(*parts)
    return np.concatenate(start_s), np.concatenate(features)
