"""Sealed files: every changed byte is noticed before it is decoded, and other programs read them as they are."""

import itertools
import json
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ndvr.operators.storage.sealed import (
    Damaged,
    SealedTable,
    load_array,
    open_json,
    read_table,
    save_array,
    seal_json,
    seal_table,
    write_table,
)

TABLE = pa.table({"video_id": [f"v{n}" for n in range(50)], "score": np.arange(50, dtype=np.float32)})


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def test_other_programs_read_a_sealed_table_and_it_is_the_table(tmp_path):
    write_table(tmp_path / "t.parquet", TABLE, row_group_size=20, compression="zstd")
    assert pq.read_table(tmp_path / "t.parquet").equals(TABLE)
    assert read_table(tmp_path / "t.parquet").equals(TABLE)
    assert pq.read_metadata(tmp_path / "t.parquet").num_row_groups == 3


def test_an_empty_table_can_be_sealed(tmp_path):
    write_table(tmp_path / "t.parquet", TABLE.slice(0, 0))
    assert read_table(tmp_path / "t.parquet").equals(TABLE.slice(0, 0))


def test_every_flipped_byte_of_a_table_is_noticed_or_changes_nothing():
    data = seal_table(TABLE, row_group_size=20, compression="zstd").to_pybytes()
    rng, unnoticed = np.random.default_rng(0), 0
    for at in range(len(data)):
        changed = flipped(data, at, int(rng.integers(8)))
        try:
            assert SealedTable(pa.BufferReader(changed), "t").read().equals(TABLE), at
            unnoticed += 1
        except Damaged:
            pass
    assert unnoticed <= 2  # a length before its key: it passes for a table without a seal


@pytest.mark.parametrize("length", [0, 3, 8, 100, -1, -8, -100])
def test_a_table_that_is_cut_short_is_damaged(length):
    data = seal_table(TABLE).to_pybytes()
    with pytest.raises(Damaged, match="^t is damaged .*; mend it$"):
        SealedTable(pa.BufferReader(data[:length]), "t", remedy="mend it").read()


def test_row_groups_are_checked_when_they_are_read():
    data = seal_table(TABLE, row_group_size=20).to_pybytes()
    last = pq.read_metadata(pa.BufferReader(data)).row_group(2).column(0).data_page_offset
    table = SealedTable(pa.BufferReader(flipped(data, last + 30, 0)), "t")
    assert table.read([0, 1])["video_id"].to_pylist() == [f"v{n}" for n in range(40)]
    assert sum(map(len, islice(table.batches(10, ["score"]), 4))) == 40
    with pytest.raises(Damaged):
        table.read([2])
    with pytest.raises(Damaged):
        table.read()
    with pytest.raises(Damaged):
        list(table.batches(10, ["score"]))


def test_a_table_without_a_seal_is_read_and_its_page_checksums_count(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path, write_page_checksum=True, compression="none", use_dictionary=False)
    assert read_table(path).equals(TABLE)
    data = path.read_bytes()
    path.write_bytes(flipped(data, data.index(b"v33"), 0))
    with pytest.raises(Damaged, match=f"^{path} is damaged .*CRC"):
        read_table(path)


def test_a_json_object_shows_what_was_changed_in_it():
    sealed = seal_json({"parts": ["a"], "n": 1.5, "ä": None})
    text = json.dumps(sealed)
    assert open_json(text.encode(), "s") == {"parts": ["a"], "n": 1.5, "ä": None}
    assert open_json(b'{"n": 1}', "s") == {"n": 1}  # of an earlier version
    for wrong in (text.replace("1.5", "1.6"), text.replace('"a"', '"b"'), text[:-1], "[]", "7", text.replace("n", "m")):
        with pytest.raises(Damaged, match="^s is damaged"):
            open_json(wrong.encode(), "s")


def test_every_flipped_bit_of_a_json_object_is_noticed_or_changes_nothing():
    """Also one in the name of the seal, which would leave the object without any."""
    value = {"number": 3, "segments": ["a", "b"]}
    data = json.dumps(seal_json(value), indent=2).encode()
    for at, bit in itertools.product(range(len(data)), range(8)):
        try:
            assert open_json(flipped(data, at, bit), "o.json") == value, (at, bit)
        except Damaged as error:
            assert "o.json is damaged" in str(error)


def test_an_array_shows_when_a_byte_of_it_was_changed(tmp_path):
    path, array = tmp_path / "a.npy", np.arange(12, dtype=np.float16).reshape(3, 4)
    save_array(path, array)
    assert load_array(path).tobytes() == np.load(path).tobytes() == array.tobytes()
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(flipped(data, at, at % 8))
        with pytest.raises(Damaged, match=f"^{path} is damaged"):
            load_array(path)
    np.save(path, array)
    assert load_array(path).tobytes() == array.tobytes()
