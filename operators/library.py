"""A library: the features of a collection as Parquet shards, and the ledger of what became of every video.

    LIBRARY/library.json               the format
    LIBRARY/configs/<config>.json      method, weights, view, decoder ...: what made the features of that name
    LIBRARY/shards/<config>/*.parquet  a row per window: video_id, start_s, feature; plain Parquet, any reader
    LIBRARY/commits/*.parquet          receipts (ndvr.operators.rows): what is not named here is not there

Every file is written under a temporary name and renamed, shards before the commit that names them: a reader
sees whole, committed shards at any moment, and a killed run leaves nothing but files nobody names.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ndvr.operators.ledger import Entry, latest
from ndvr.operators.rows import LEDGER

FORMAT = "ndvr-library/1"
COMMITS, CONFIGS, SHARDS = "commits", "configs", "shards"


def write_whole(path: Path, write: Callable[[str], object]) -> None:
    """`write` to a temporary name beside `path`, flush to disk, rename: a file that exists is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(str(temporary))
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`text` in UTF-8, whole or not at all."""
    write_whole(path, lambda name: Path(name).write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n")


def feature_type(about: dict[str, Any]) -> pa.DataType:
    """How one feature lies in a shard: a fixed-size list of floats, or fixed-size binary for codes.

    Parquet has no one-byte number, a uint8 in a list would take four.
    """
    size = int(np.prod(about["feature_shape"]))
    if about["feature_dtype"] == "uint8":
        return pa.binary(size)
    return pa.list_(pa.from_numpy_dtype(np.dtype(about["feature_dtype"])), size)


class Library:
    """An opened library, as of now. Raises FileNotFoundError or ValueError when it is none."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        about = self.path / "library.json"
        if not about.is_file():
            raise FileNotFoundError(f"no library at {self.path}; `ndvr extract VIDEOS {self.path}` makes one")
        found = json.loads(about.read_text(encoding="utf-8")).get("format")
        if found != FORMAT:
            raise ValueError(f"{self.path} has format {found!r}, this version reads {FORMAT!r}")

    @classmethod
    def create(cls, path: str | Path) -> Library:
        """Open a library, making it when the folder is new or empty."""
        folder = Path(path)
        if not (folder / "library.json").exists():
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise ValueError(f"{folder} exists and is not a library; name a new folder for LIBRARY")
            write_json(folder / "library.json", {"format": FORMAT})
        return cls(folder)

    @property
    def configs(self) -> dict[str, dict[str, Any]]:
        """What each configuration in the library says about itself, by name."""
        files = sorted((self.path / CONFIGS).glob("*.json"))
        return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}

    def config_of(self, method: str, config: str | None = None) -> str:
        """The configuration of a method; an error when there is none, or several and none was named."""
        every = self.configs
        mine = [name for name, about in every.items() if about["method"] == method]
        if config is not None:
            if config not in mine:
                raise ValueError(f"{self.path} has no configuration {config!r} of {method}; it has: {', '.join(every)}")
            return config
        if not mine:
            others = ", ".join(sorted({about["method"] for about in every.values()})) or "nothing yet"
            raise ValueError(
                f"{self.path} holds features of {others}, not of {method}; "
                f"run `ndvr extract VIDEOS {self.path} --method {method}` first"
            )
        if len(mine) > 1:
            raise ValueError(
                f"{self.path} holds {method} features of several configurations; "
                f"choose one with --config: {', '.join(mine)}"
            )
        return mine[0]

    @cached_property
    def ledger(self) -> pa.Table:
        """All committed receipts."""
        files = sorted((self.path / COMMITS).glob("*.parquet"))
        return (
            pa.concat_tables([pq.read_table(file, schema=LEDGER) for file in files]) if files else LEDGER.empty_table()
        )

    def entries(self, config: str) -> dict[str, Entry]:
        """The latest word on every video under a configuration, by id, sorted; see ndvr.operators.ledger."""
        mine = pc.equal(self.ledger["config"], config)
        # Most libraries have one configuration; a copy of its rows would cost as much memory again.
        return latest(self.ledger if pc.all(mine).as_py() else self.ledger.filter(mine))

    def read(self, entries: Iterable[Entry]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(video_id, start_s (T,), features (T, *feature_shape)) of the entries that have features, shard by shard.

        Videos whose pieces lie in several shards come last. The order depends on the entries only.
        """
        by_shard: dict[str, list[Entry]] = {}
        scattered = []
        for entry in entries:
            if not entry.pieces:
                continue
            shards = {piece["shard"] for piece in entry.pieces}
            by_shard.setdefault(shards.pop(), []).append(entry) if len(shards) == 1 else scattered.append(entry)
        for shard, mine in sorted(by_shard.items()):
            columns = self._shard(shard)
            for entry in mine:
                yield entry.video_id, *_join([_slice(columns, piece) for piece in entry.pieces])
        for entry in scattered:
            read = {shard: self._shard(shard) for shard in sorted({piece["shard"] for piece in entry.pieces})}
            yield entry.video_id, *_join([_slice(read[piece["shard"]], piece) for piece in entry.pieces])

    def _shard(self, shard: str) -> tuple[np.ndarray, np.ndarray]:
        about = self.configs[shard.partition("/")[0]]
        table = pq.read_table(self.path / SHARDS / shard, columns=["start_s", "feature"])
        column = table["feature"].combine_chunks()
        if pa.types.is_fixed_size_binary(column.type):
            flat = np.frombuffer(column.buffers()[1], np.uint8)
            flat = flat[column.offset * column.type.byte_width :][: len(column) * column.type.byte_width]
        else:
            flat = column.flatten().to_numpy()
        return table["start_s"].to_numpy(), flat.reshape(len(table), *about["feature_shape"])


def _slice(columns: tuple[np.ndarray, np.ndarray], piece: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    start_s, features = columns
    rows = slice(piece["shard_row"], piece["shard_row"] + piece["windows_count"])
    return start_s[rows], features[rows]


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    start_s, features = zip(*parts)
    return np.concatenate(start_s), np.concatenate(features)
