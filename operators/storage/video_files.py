"""Which files of a folder are videos, and what they are called: ids that can be printed, URIs that can be opened."""

from __future__ import annotations

import os
import stat as stat_mode
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote_to_bytes

# What lies beside videos and is none, by its name; stills are none either. Anything else in a folder is tried, unless
# its first bytes say what it is: a wrong or missing extension says nothing about the bytes.
NOT_VIDEOS = frozenset(
    """
    .7z .aae .ass .avif .bak .bmp .bz2 .cfg .crdownload .cr2 .csv .dash .db .dng .doc .docx .download .edl .exe
    .ffconcat .gz .h5 .hdf5 .heic .heif .html .icc .idx .ini .ipynb .jp2 .jpe .jpeg .jpg .json .jsonl .jxl .lnk
    .log .lrf .m3u .m3u8 .m4s .md .md5 .mpd .nef .nfo .npy .npz .parquet .part .partial .pdf .pek .pickle .pkl
    .pls .png .psd .pth .py .rar .raw .rst .sdp .sfv .sh .sha1 .sha256 .smi .smil .sqlite .srt .ssa .sub .sup
    .svg .tar .tgz .thm .tif .tiff .tmp .toml .torrent .tsv .ttml .txt .url .vtt .webp .xlsx .xml .xmp .xspf .xz
    .yaml .yml .zip .zst
    """.split()  # noqa: SIM905
)
# Folders of file systems and of programs, not of their users.
NOT_FOLDERS = frozenset({"$recycle.bin", "system volume information", "lost+found", "__macosx", "@eadir", "#recycle"})
# First bytes of what is no video: archives, documents, stills, playlists; asked where the name does not say.
_NOT_VIDEO_MAGIC = (
    *(b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x1f\x8b", b"%PDF", b"MZ", b"\x7fELF", b"SQLite format 3"),
    *(b"\xff\xd8\xff", b"\x89PNG", b"<?xml", b"<x:xmp", b"<!DOCTYPE", b"<html", b"{", b"#EXTM3U", b"#!", b"ffconcat"),
)
# A name that says "video" is taken at its word: what such a file is worth, decoding tells.
_VIDEO_NAMES = frozenset(
    """
    .264 .265 .3g2 .3gp .amv .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v
    .mjpeg .mjpg .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mpv .mts .mxf .nut .obu .ogg .ogm .ogv .qt .rm .rmvb .swf
    .tod .ts .vob .webm .wmv .y4m
    """.split()  # noqa: SIM905
)


@dataclass
class Walk:
    """What is below a local folder: links are followed, and no folder is entered and no file taken twice.

    ignored     files that are no videos, by extension or kind: counts
    unreadable  folder -> why it could not be listed
    names       file -> each of its names: whether it is a link, the id, the path
    """

    folder: Path
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    names: dict[Any, list[tuple[bool, str, Path]]] = field(default_factory=dict)
    entered: set[tuple[int, int]] = field(default_factory=set)

    def run(self) -> None:
        folders, linked = [self.folder], list[Path]()
        while folders or linked:  # links last: a file has the name it has without them, where there is one
            folder = folders.pop() if folders else linked.pop()
            try:
                inside = self.enter(folder)
            except OSError as error:
                self.unreadable[printable(str(folder))] = error.strerror or str(error)
                continue
            for each in reversed(inside):
                (linked if each.is_symlink() else folders).append(each)

    def enter(self, folder: Path) -> list[Path]:
        """Take the files of a folder, and return the folders in it that are to be entered."""
        status = folder.stat()
        if (status.st_dev, status.st_ino) in self.entered:
            return []
        self.entered.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        files = [entry for entry in entries if not _is_folder(entry)]
        streamed = any(PurePosixPath(entry.name).suffix.lower() in (".m3u8", ".mpd") for entry in files)
        for entry in files:
            self.take(folder / entry.name, entry, streamed=streamed)
        return [
            folder / entry.name
            for entry in entries
            if _is_folder(entry) and not entry.name.startswith(".") and entry.name.lower() not in NOT_FOLDERS
        ]

    def take(self, file: Path, entry: os.DirEntry, *, streamed: bool) -> None:
        kind = no_video(file.name) or ("segment of a stream" if streamed and file.suffix.lower() == ".ts" else None)
        try:
            status = entry.stat()
        except OSError:
            status = None  # a link to nothing, or in a loop: the video's row says so
        if status is not None and not kind:
            kind = no_video_inside(file) if stat_mode.S_ISREG(status.st_mode) else "no regular file"
        if kind:
            self.ignored[kind] += 1
            return
        video_id = printable(file.relative_to(self.folder).as_posix())
        key = video_id if status is None else (status.st_dev, status.st_ino)
        self.names.setdefault(key, []).append((entry.is_symlink(), video_id, file))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def no_video(name: str) -> str | None:
    """Name the kind of file that is no video by its name: its extension, or the name of a hidden one."""
    suffix = PurePosixPath(name).suffix.lower()
    return (suffix or name) if name.startswith(".") or suffix in NOT_VIDEOS else None


def printable(name: str) -> str:
    """Write the name with bytes that are no UTF-8 as \\xe9: an id that every table and terminal can hold."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def uri_of(path: str) -> str:
    """Write a path as itself, or as file:// with its bytes where they are no UTF-8."""
    try:
        path.encode()
        return path
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(path))


def local_path(uri: str) -> str:
    """Return the path behind what `uri_of` returned."""
    return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))) if uri.startswith("file:///") else uri


def no_video_inside(file: Path) -> str | None:
    """Name the kind of a file that says by its first bytes that it is no video,
    where its name does not say it is one.
    """
    if file.suffix.lower() in _VIDEO_NAMES:
        return None
    try:
        with file.open("rb") as opened:
            head = opened.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return None
    return "no video inside" if head.startswith(_NOT_VIDEO_MAGIC) or _is_text(head) else None


def _is_text(head: bytes) -> bool:
    return len(head) >= 16 and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
