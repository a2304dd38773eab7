"""Checkpoints of TensorFlow are read without TensorFlow, and damage is noticed."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import golden_ausil
import numpy as np
import pytest
from places import GOLDEN_FOLDER

from ndvr.models.methods.ausil._tensorflow import crc32c, masked_crc32c, read_bundle
from ndvr.models.weights import WeightsError

GOLDEN = np.load(GOLDEN_FOLDER / "ausil.npz")
CODES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bool": 10, "float16": 19}
TENSORS = {
    "a/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a/kernel/Adam": np.zeros((2, 3, 4), np.float32),
    "a/step": np.array(2**40 + 3, np.int64),
    "b/half": np.array([0.5, -2], np.float16),
    "b/none": np.zeros((0, 3), np.float64),
    "c/flag": np.array([True, False]),
}


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer; zero is left out, as in TensorFlow's."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value) if value else b""


def block(entries: list[tuple[bytes, bytes]], *, compression: int = 0) -> bytes:
    """A block of a table with its trailer; every second key starts anew."""
    data, restarts, last = b"", [], b""
    for number, (key, value) in enumerate(entries):
        if number % 2 == 0:
            restarts.append(len(data))
            last = b""
        shared = next((i for i, (x, y) in enumerate(zip(key, last)) if x != y), min(len(key), len(last)))
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    data += struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts)) + bytes([compression])
    return data + struct.pack("<I", masked_crc32c(data))


def write_bundle(prefix: Path, tensors: dict[str, np.ndarray], *, n_files: int = 1, compression: int = 0) -> Path:
    """A checkpoint as TensorFlow writes it, two entries to a block, tensors dealt out to `n_files` files."""
    entries = [(b"", field(1, n_files) + field(3, field(1, 1)))]
    contents = [b""] * n_files
    for number, (name, value) in enumerate(sorted(tensors.items())):
        shape = b"".join(field(2, field(1, size) or b"") for size in value.shape)
        data, file = value.tobytes(), number % n_files
        entry = field(1, CODES[value.dtype.name]) + field(2, shape) + field(3, file)
        entry += field(4, len(contents[file])) + field(5, len(data))
        entries.append((name.encode(), entry + bytes([6 << 3 | 5]) + struct.pack("<I", masked_crc32c(data))))
        contents[file] += data
    for number, content in enumerate(contents):
        Path(f"{prefix}.data-{number:05d}-of-{n_files:05d}").write_bytes(content)
    table, addresses = b"", []
    for start in range(0, len(entries), 2):
        one = block(entries[start : start + 2], compression=compression)
        addresses.append((entries[min(start + 1, len(entries) - 1)][0], varint(len(table)) + varint(len(one) - 5)))
        table += one
    statistics, index = block([]), block(addresses)
    footer = varint(len(table)) + varint(len(statistics) - 5)
    footer += varint(len(table) + len(statistics)) + varint(len(index) - 5)
    footer = footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    Path(f"{prefix}.index").write_bytes(table + statistics + index + footer)
    return prefix


def official_like(prefix: Path) -> Path:
    """The checkpoint of which TensorFlow wrote the index kept in `golden/`; its data file is made again here."""
    tensors = golden_ausil.tf_weights()
    trained = [name for name in tensors if not name.startswith("PCA/")]
    tensors |= {f"{name}/{slot}": np.zeros_like(tensors[name]) for name in trained for slot in ("Adam", "Adam_1")}
    tensors |= {"global_step": np.array(270_001), "beta1_power": np.zeros((), np.float32)}
    Path(f"{prefix}.data-00000-of-00001").write_bytes(b"".join(value.tobytes() for _, value in sorted(tensors.items())))
    Path(f"{prefix}.index").write_bytes(GOLDEN["tensorflow/index"].tobytes())
    return prefix


def changed(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_checksums_are_those_of_the_standard_and_of_the_official_file():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720 and every catalogue of CRCs
    assert crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert masked_crc32c(struct.pack("<q", 270_001)) == 0xD4D1C4E5  # global_step of the authors' checkpoint
    assert masked_crc32c(struct.pack("<f", 0.8674130439758301)) == 0xEFE6D351  # its last bias


@pytest.mark.parametrize("size", [*range(1, 9), 63, 64, 65, 127, 128, 1000, 4097, 70_001])
def test_checksums_in_lanes_are_those_byte_by_byte(size):
    data = np.random.default_rng(size).bytes(size)
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF


@pytest.mark.slow
def test_what_tensorflow_wrote_is_read(tmp_path):
    found = read_bundle(official_like(tmp_path / "model"))
    assert len(found) == 11 + 2 * 9 + 2
    for name, value in golden_ausil.tf_weights().items():
        np.testing.assert_array_equal(found[name], value)
    assert found["global_step"] == 270_001 and found["beta1_power"].shape == ()


@pytest.mark.parametrize("n_files", [1, 3])
def test_tensors_of_every_shape_and_type_come_back(tmp_path, n_files):
    found = read_bundle(write_bundle(tmp_path / "model", TENSORS, n_files=n_files))
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype and found[name].shape == value.shape


def test_a_changed_byte_of_data_is_noticed_and_the_tensor_named(tmp_path):
    prefix = write_bundle(tmp_path / "model", TENSORS)
    changed(Path(f"{prefix}.data-00000-of-00001"), 5)
    with pytest.raises(WeightsError, match="damaged: the checksum of a/kernel is .* fetch it again"):
        read_bundle(prefix)


@pytest.mark.slow
def test_a_changed_byte_of_the_index_is_noticed_wherever_it_matters(tmp_path):
    prefix = write_bundle(tmp_path / "model", TENSORS)
    path, noticed = Path(f"{prefix}.index"), 0
    for at in range(path.stat().st_size):
        changed(path, at)
        try:
            found = read_bundle(prefix)
        except WeightsError as error:
            assert "model.index" in str(error)
            noticed += 1
        else:  # the block of statistics, and what fills up the footer
            assert found.keys() == TENSORS.keys()
        changed(path, at)
    assert noticed > 0.8 * path.stat().st_size


def test_a_shortened_data_file_is_noticed(tmp_path):
    prefix = write_bundle(tmp_path / "model", TENSORS)
    path = Path(f"{prefix}.data-00000-of-00001")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="cut short: c/flag"):
        read_bundle(prefix)


def test_missing_files_and_other_files_are_named(tmp_path):
    with pytest.raises(WeightsError, match="no such file: .*model.index"):
        read_bundle(tmp_path / "model")
    prefix = write_bundle(tmp_path / "model", TENSORS, n_files=2)
    Path(f"{prefix}.data-00001-of-00002").unlink()
    with pytest.raises(WeightsError, match="no such file: .*model.data-00001-of-00002"):
        read_bundle(prefix)
    Path(f"{prefix}.index").write_text("<html>404</html>" * 9)
    with pytest.raises(WeightsError, match="no index of a TensorFlow checkpoint"):
        read_bundle(prefix)


def test_a_compressed_index_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="compressed"):
        read_bundle(write_bundle(tmp_path / "model", TENSORS, compression=1))


@pytest.mark.slow
def test_the_index_kept_here_agrees_with_the_official_one(shared, tmp_path):
    manifest = json.loads((shared / "golden" / "ausil" / "official_checkpoint_manifest.json").read_text())
    entries = {entry["name"]: entry for entry in manifest["entries"]}
    found = read_bundle(official_like(tmp_path / "model"))
    assert found.keys() | {"beta2_power"} == entries.keys()
    assert all(list(found[name].shape) == entries[name]["shape"] for name in found)
    assert all(found[name].nbytes == entries[name]["size"] for name in found)
    for name, value in manifest["recovered_from_crc"].items():
        data = np.array(value, entries[name]["dtype"]).tobytes()
        assert masked_crc32c(data) == int(entries[name]["masked_crc32c"], 16)
