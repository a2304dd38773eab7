"""Read VIDEOS: a folder, a text list, a CSV or a Parquet table -> which videos, under which ids.

    folder      every file below it that may be a video; id = path relative to the folder, with "/"
    .txt        "id path" per line, the references' format; the path may hold spaces
    .csv        columns video_id and uri (or path); .parquet likewise
    one video   id = its file name
Relative paths in a list are looked up from the list's own folder; folders may be spelled in another case.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

# What lies beside videos and is none, by its name. Anything else in a folder is tried: a wrong or missing
# extension says nothing about the bytes.
NOT_VIDEOS = frozenset(
    """
    .bmp .cfg .csv .db .doc .docx .exe .gz .h5 .hdf5 .html .ini .ipynb .jpeg .jpg .json .jsonl .log .md .nfo .npy
    .npz .parquet .part .pdf .pickle .pkl .png .pth .py .rst .sh .sqlite .srt .sub .svg .tar .tgz .tif .tiff .toml
    .torrent .tsv .txt .vtt .webp .xlsx .xml .yaml .yml .zip
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The videos of a run: `uris[video_id]`, sorted by id. `ignored` counts files left out, by extension."""

    source: str
    uris: dict[str, str] = field(repr=False)
    ignored: dict[str, int] = field(default_factory=dict)
    stats: dict[str, tuple[int, int] | None] = field(default_factory=dict, repr=False)  # bytes, mtime_ns, where known

    def __len__(self) -> int:
        return len(self.uris)


def read_manifest(videos: str | Path) -> Manifest:
    """The manifest behind VIDEOS. FileNotFoundError or ValueError say what is wrong with it and what to do."""
    path = Path(videos)
    if "://" in str(videos):
        raise ValueError(
            f"{videos}: object stores are not supported yet; mount it or copy the videos to a local folder"
        )
    if not path.exists():
        raise FileNotFoundError(
            f"VIDEOS does not exist: {path}; give a folder, a list (.txt, .csv, .parquet) or a video"
        )
    if path.is_dir():
        return _folder(path)
    suffix = path.suffix.lower()
    if suffix == ".txt":
        pairs = _text(path)
    elif suffix == ".csv":
        pairs = _csv(path)
    elif suffix == ".parquet":
        pairs = _parquet(path)
    else:
        pairs = [(path.name, path.name)]
    if not pairs:
        raise ValueError(f"{path} lists no videos")
    _refuse_duplicates(path, [video_id for video_id, _ in pairs])
    base, spelled = path.resolve().parent, cache(_spelled)
    uris = {video_id: base / uri for video_id, uri in sorted(pairs)}
    return Manifest(
        source=str(path),
        uris={video_id: os.path.join(spelled(str(uri.parent)), uri.name) for video_id, uri in uris.items()},
    )


def _spelled(folder: str) -> str:
    """The folder as it is spelled on disk: 3D-CSL's lists say Videos/ and videos/ of the same one."""
    parent, name = os.path.split(folder)
    if os.path.isdir(folder) or not name:
        return folder
    parent = _spelled(parent)
    try:
        alike = [found for found in os.listdir(parent) if found.casefold() == name.casefold()]
    except OSError:
        alike = []
    return os.path.join(parent, alike[0] if len(alike) == 1 else name)


def _folder(folder: Path) -> Manifest:
    uris: dict[str, str] = {}
    ignored: Counter[str] = Counter()
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            file = Path(root, name)
            if name.startswith(".") or file.suffix.lower() in NOT_VIDEOS:
                ignored[file.suffix.lower() or name] += 1
            else:
                uris[file.relative_to(folder).as_posix()] = str(file.resolve() if file.exists() else file.absolute())
    if not uris:
        left = f"; ignored {sum(ignored.values())} files that are no videos by name" if ignored else ""
        raise ValueError(f"no videos in folder {folder}{left}")
    return Manifest(source=str(folder), uris=dict(sorted(uris.items())), ignored=dict(sorted(ignored.items())))


def _text(path: Path) -> list[tuple[str, str]]:
    pairs = []
    # utf-8-sig: editors on Windows put a mark before the first id.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.strip().split(maxsplit=1)
        if len(parts) != 2:
            raise ValueError(f'{path}, line {number}: expected "id path", got {line.strip()!r}')
        pairs.append((parts[0], parts[1]))
    return pairs


def _csv(path: Path) -> list[tuple[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        key = _uri_column(path, reader.fieldnames or [])
        return _complete(path, ((row["video_id"], row[key]) for row in reader))


def _parquet(path: Path) -> list[tuple[str, str]]:
    columns = pq.read_schema(path).names
    key = _uri_column(path, columns)
    table = pq.read_table(path, columns=["video_id", key])
    return _complete(path, zip(table["video_id"].to_pylist(), table[key].to_pylist()))


def _uri_column(path: Path, columns) -> str:
    for key in ("uri", "path"):
        if "video_id" in columns and key in columns:
            return key
    found = ", ".join(columns) or "none"
    raise ValueError(f"{path} needs the columns video_id and uri (or path); its columns are: {found}")


def _complete(path: Path, pairs) -> list[tuple[str, str]]:
    rows = []
    for number, (video_id, uri) in enumerate(pairs, start=1):
        if not video_id or not uri:
            raise ValueError(f"{path}, row {number}: empty {'uri' if video_id else 'video_id'}")
        rows.append((str(video_id), str(uri)))
    return rows


def _refuse_duplicates(path: Path, ids: list[str]) -> None:
    twice = sorted(video_id for video_id, count in Counter(ids).items() if count > 1)
    if twice:
        more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        raise ValueError(f"{path} lists id {twice[0]!r} twice{more}; every video needs an id of its own")
