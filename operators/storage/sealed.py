"""Files that show when a byte of them has changed: Parquet tables, JSON objects and arrays with a seal inside.

store.write("commits/r1-0a.parquet", seal_table(receipts))
with store.open("commits/r1-0a.parquet") as source:
    receipts = SealedTable(source, "commits/r1-0a.parquet").read()      # Damaged, or as they were written

The seal of a Parquet file is one of its metadata: a hash of the bytes of every row group, and one of the footer
around it. So other programs read the file as any other, looking up a few rows checks those row groups only, and no
byte is decoded before it was checked. Files without a seal, of earlier versions or other programs, are read as they
are.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ndvr.operators.storage.object_store import Unreachable
from ndvr.operators.storage.shapes import Damaged as Damaged  # its readers raise it
from ndvr.operators.storage.store import Store, parse_json, write_json, write_whole

_KEY = "ndvr-seal"
_DIGITS = 32  # hexadecimal, of each hash
_FOUND = re.compile(re.escape(_KEY).encode() + rb"\x18[\x80-\xff]*[\x00-\x7f]((?:[0-9a-f]{%d}){2,})" % _DIGITS)
# Its name with one byte changed, whichever: a seal that hides would leave its file without any.
_ALIKE = re.compile(
    b"|".join(_KEY[:at].encode() + b"." + _KEY[at + 1 :].encode() for at in range(len(_KEY))), re.DOTALL
)
_GROUP_ROWS = 1 << 20  # as pyarrow cuts by default
CHECKSUM = "sha256"  # the key of a JSON object's seal


# --- Parquet ---------------------------------------------------------------------------------------------------------


def seal_table(table: pa.Table, *, row_group_size: int = _GROUP_ROWS, **options: Any) -> pa.Buffer:
    """Write a table as a Parquet file with a seal; `options` as of pyarrow.parquet.ParquetWriter."""
    n_groups = max(1, -(-len(table) // row_group_size))
    data = bytearray(memoryview(_written(table, n_groups, row_group_size, options)))
    footer, blank = _footer_of(data), "0" * _DIGITS * (n_groups + 1)
    at = data.index(blank.encode(), footer)
    metadata = pq.read_metadata(pa.BufferReader(data))
    assert metadata.num_row_groups == n_groups
    hashes = "".join(_hash(data[start:end]) for start, end in _ranges(metadata, footer))
    data[at : at + len(hashes)] = hashes.encode()
    data[at + len(hashes) : at + len(blank)] = _hash(data[footer:]).encode()
    return pa.py_buffer(data)


def _written(table: pa.Table, n_groups: int, row_group_size: int, options: dict[str, Any]) -> pa.Buffer:
    """Write the file with a seal of zeros, which the hashes then take the place of."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, write_page_checksum=True, **options) as writer:
        writer.write_table(table, row_group_size=row_group_size)
        writer.add_key_value_metadata({_KEY: "0" * _DIGITS * (n_groups + 1)})
    return sink.getvalue()


def _footer_of(data: bytes | bytearray) -> int:
    """Find where the footer begins: its length stands before the last four bytes."""
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def _ranges(metadata: pq.FileMetaData, footer: int) -> list[tuple[int, int]]:
    """List the bytes [start, end) of each row group; together they are all that lies before the footer."""
    starts = [0]
    for number in range(1, metadata.num_row_groups):
        column = metadata.row_group(number).column(0)
        starts.append(column.dictionary_page_offset or column.data_page_offset)
    return list(zip(starts, [*starts[1:], footer]))


def _hash(data: bytes | bytearray | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


class SealedTable:
    """A Parquet file, opened. Damaged when its footer, and on reading a row group, is not as it was written."""

    def __init__(self, source: pa.NativeFile, name: object, *, remedy: str = "", **options: Any):
        """`options` as of pyarrow.parquet.ParquetFile."""
        self._source, self._name, self._remedy = source, name, remedy
        self._seal, self._footer = self._checked_footer()
        with self._decoding():
            self.parquet = pq.ParquetFile(source, page_checksum_verification=True, **options)

    def __enter__(self) -> SealedTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    @property
    def sealed(self) -> bool:
        return bool(self._seal)

    @property
    def metadata(self) -> pq.FileMetaData:
        return self.parquet.metadata

    def read(self, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Read all row groups or some of them."""
        self.check(groups)
        with self._decoding():
            if groups is None:
                return self.parquet.read(columns=columns)
            return self.parquet.read_row_groups(list(groups), columns=columns)

    def batches(self, size: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield at most `size` rows at a time."""
        for group in range(self.parquet.num_row_groups):
            self.check([group])
            with self._decoding():
                yield from self.parquet.iter_batches(batch_size=size, row_groups=[group], columns=list(columns))

    def check(self, groups: Iterable[int] | None = None) -> None:
        """Compare the bytes of row groups with their hashes."""
        if not self._seal:
            return
        ranges = _ranges(self.metadata, self._footer)
        for number in range(len(ranges)) if groups is None else groups:
            start, end = ranges[number]
            if _hash(self._source.read_at(end - start, start)) != self._seal[number * _DIGITS :][:_DIGITS]:
                raise self._damaged("its bytes have changed")

    def _checked_footer(self) -> tuple[str, int]:
        """Find the seal and where the footer begins; no seal is an empty one."""
        size = self._source.size()
        end = self._source.read_at(8, max(0, size - 8))
        footer = size - 8 - int.from_bytes(end[:4], "little")
        if end[4:] != b"PAR1" or footer < 0:
            raise self._damaged("it is no whole Parquet file")
        data = self._source.read_at(size - footer, footer)
        if not (match := _FOUND.search(data)):
            if _ALIKE.search(data):
                raise self._damaged("its seal has changed")
            return "", footer
        seal = match[1].decode()
        blank = data[: match.end() - _DIGITS] + b"0" * _DIGITS + data[match.end() :]
        if _hash(blank) != seal[-_DIGITS:]:
            raise self._damaged("its footer has changed")
        return seal, footer

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:  # pyarrow's of a file that it cannot make sense of
            if (
                getattr(error, "errno", None) is not None
                or "AWS Error" in str(error)
                or isinstance(error, (Damaged, Unreachable))
            ):
                raise
            raise self._damaged(str(error).splitlines()[0]) from error

    def _damaged(self, why: str) -> Damaged:
        return Damaged(self._name, why, self._remedy)


def write_table(path: Path, table: pa.Table, **options: Any) -> None:
    """Write a sealed Parquet file, whole or not at all."""
    data = seal_table(table, **options)
    write_whole(path, lambda name: Path(name).write_bytes(data))


def read_table(path: Path, *, columns: Sequence[str] | None = None, remedy: str = "", **options: Any) -> pa.Table:
    """Read a Parquet file; Damaged, naming it, when it is not as it was written."""
    with pa.OSFile(str(path)) as source:
        return SealedTable(source, path, remedy=remedy, **options).read(columns=columns).replace_schema_metadata()


def store_table(store: Store, name: str, table: pa.Table) -> None:
    """Write a sealed table into a store."""
    store.write(name, seal_table(table, compression="zstd"))


def stored_table(
    store: Store, name: str, schema: pa.Schema, *, needs: Iterable[str] = (), remedy: str = ""
) -> pa.Table:
    """Read a table of a store in these columns, null where it was written before there was such a column.

    Damaged when one of the columns `needs` is missing or has an empty cell.
    """
    with store.open(name) as source:
        table = SealedTable(source, f"{store}/{name}", remedy=remedy).read()
    return in_columns(table, schema, f"{store}/{name}", needs=needs, remedy=remedy)


def in_columns(
    table: pa.Table, schema: pa.Schema, place: object, *, needs: Iterable[str] = (), remedy: str = ""
) -> pa.Table:
    """Bring what was read from `place` into these columns, null where there is none of that name; see `stored_table`.

    Damaged also where a column cannot be of its type.
    """
    there = set(table.column_names)
    if empty := [each for each in needs if each not in there or table[each].null_count]:
        raise Damaged(place, f"it lacks {empty[0]} in some rows", remedy)
    try:
        columns = [
            table[each.name].cast(each.type) if each.name in there else pa.nulls(len(table), each.type)
            for each in schema
        ]
    except pa.ArrowException as error:
        raise Damaged(place, f"a column of another type: {str(error).splitlines()[0]}", remedy) from error
    return pa.Table.from_arrays(columns, schema=schema)


def is_intact(path: Path) -> bool:
    """Tell whether a table, or an array that `save_array` wrote, is there and as it was written."""
    try:
        if path.suffix == ".npy":
            load_array(path)
        else:
            with pa.OSFile(str(path)) as source:
                SealedTable(source, path).check()
    except (FileNotFoundError, Damaged):
        return False
    return True


# --- JSON and arrays -------------------------------------------------------------------------------------------------


def seal_json(value: dict[str, Any]) -> dict[str, Any]:
    """Add the hash of all keys as one more."""
    rest = {key: each for key, each in value.items() if key != CHECKSUM}
    return rest | {CHECKSUM: hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()}


def open_json(data: bytes, name: object, *, remedy: str = "") -> dict[str, Any]:
    """Read a JSON object without its seal; Damaged, naming it, when it is not as it was written."""
    try:
        value = parse_json(data)
    except ValueError as error:
        raise Damaged(name, f"it is no JSON: {error}", remedy) from error
    if not isinstance(value, dict):
        raise Damaged(name, "it is no JSON object", remedy)
    if CHECKSUM not in value and any(map(_is_nearly_the_seal, value)):
        raise Damaged(name, "its seal has changed", remedy)
    if CHECKSUM in value and seal_json(value) != value:
        raise Damaged(name, "its content has changed", remedy)
    return {key: each for key, each in value.items() if key != CHECKSUM}


def _is_nearly_the_seal(key: str) -> bool:
    """Tell whether a key is that of the seal with one letter changed: hidden, it would leave its file without any."""
    return len(key) == len(CHECKSUM) and sum(a != b for a, b in zip(key, CHECKSUM)) == 1


def write_sealed_json(path: Path, value: dict[str, Any]) -> None:
    """Write a sealed JSON object, whole or not at all."""
    write_json(path, seal_json(value))


def read_sealed_json(store: Store, name: str, *, remedy: str = "") -> dict[str, Any]:
    """Read a sealed JSON object of a store."""
    return open_json(store.read(name), f"{store}/{name}", remedy=remedy)


_MARK = b"ndvr-seal"  # at the end of a .npy file, before the hash of the rest


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file with its hash behind the array, where readers do not look."""
    sink = io.BytesIO()
    np.save(sink, array)
    data = sink.getvalue()
    write_whole(path, lambda name: Path(name).write_bytes(data + _MARK + hashlib.sha256(data).digest()))


def load_array(path: Path) -> np.ndarray:
    """Read what `save_array` wrote; Damaged, naming it, when it is not as it was written."""
    data = path.read_bytes()
    body, mark, seal = data[:-41], data[-41:-32], data[-32:]
    if mark == _MARK and seal != hashlib.sha256(body).digest():
        raise Damaged(path, "its bytes have changed")
    source = io.BytesIO(body if mark == _MARK else data)
    try:
        array = np.load(source, allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TokenError, TypeError) as error:
        raise Damaged(path, str(error).splitlines()[0]) from error
    if source.read(1):
        raise Damaged(path, "it holds more than its header says")
    return array
