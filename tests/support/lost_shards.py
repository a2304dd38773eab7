"""Shards of a library that are gone, emptied or changed."""

from pathlib import Path

from ndvr.operators.library.library import Library


def flip(path: Path) -> None:
    """Change a byte of the features."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


HARM = {"missing": lambda path: path.unlink(), "empty": lambda path: path.write_bytes(b""), "flipped": flip}


def shard_of(place: Path, video_id: str) -> Path:
    """The file with the features of a video."""
    opened = Library(place)
    (config,) = opened.configs
    (shard,) = opened.entries(config)[video_id].shards
    return place / "shards" / shard
