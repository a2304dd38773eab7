"""Read tables and lists of text as spreadsheets and editors save them, with their encodings and separators.

    for line, row in read_table(path): ...      # row: {column: cell}
    for line, text in read_lines(path): ...     # not the empty ones

UTF-8 with or without a mark, and UTF-16 with one, are read. Other encodings are refused with the line: to guess a code
page is to guess the names in it. A table is separated by commas, semicolons, tabs or bars, whichever its first line
makes columns of; empty lines and the "sep=;" of spreadsheets may stand before it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SEPARATORS = ",;\t|"
_MOST_BYTES = 4 << 30  # a list of 30 million videos; more is no list that somebody made
_BEFORE = re.compile("(?:(?:sep=.)?[ \t]*(?:\r\n|[\r\n]))*", re.IGNORECASE)  # the columns
_HEAD_BYTES = 1 << 20  # of a table whose rows another reader streams


# All controls but tab and line feed, and the marks of writing direction.
_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class MissingColumns(ValueError):
    """A table whose first line does not name what is needed; `columns` are those it names."""

    def __init__(self, message: str, columns: list[str]):
        super().__init__(message)
        self.columns = columns


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a table is written: what its first line says."""

    columns: tuple[str, ...]
    encoding: str
    separator: str
    spaced: bool  # "a, b": a space follows each separator and belongs to no cell
    line: int  # of the columns, from 1


def decode(data: bytes, place: str) -> str:
    """Return the text of a file; ValueError names the file and the first line that is not UTF-8."""
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{place} has {len(data):,} bytes, too many for a list; is it the right file?")
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{place}, line {line}: byte 0x{data[error.start]:02x} is not {encoding.upper().removesuffix('-SIG')}; "
            'save the file as UTF-8 (in Excel: Save As, "CSV UTF-8")'
        ) from None
    text = _without_zeros(text, place)
    return text if "\n" in text else text.replace("\r", "\n")  # as they were on a Mac once


def _without_zeros(text: str, place: str) -> str:
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{place}, line {line}: a zero byte; this is no text in UTF-8: save the file as UTF-8")
    return text


def _encoding(head: bytes) -> str:
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf-8")


def read_lines(path: str | Path, data: bytes | None = None) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text, without spaces around it, of every line that is not empty."""
    text = decode(Path(path).read_bytes() if data is None else data, str(path))
    # Not splitlines(): it also splits at form feeds and at separators that names may hold.
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def read_ids(path: str | Path, data: bytes | None = None) -> list[str]:
    """Read ids, one a line, in the order of the file; of `ndvr show --list` ("id path", quoted where needed) the id."""
    return [split_pair(line)[0] for line in read_id_lines(path, data)]


def read_id_lines(path: str | Path, data: bytes | None = None) -> list[str]:
    """Return the lines of an id list that are not empty; "-" is standard input."""
    if data is None and str(path) == "-":
        data = sys.stdin.buffer.read()
    elif data is None and not Path(path).is_file():
        raise FileNotFoundError(f"no id list {path}: give a text file with one id a line")
    return [line for _, line in read_lines(path, data)]


def ids_among(lines: Iterable[str], known: Container[str]) -> list[str]:
    """Return the id of each line: all of it where that is known, as ids may hold spaces, else the id before a path.

    A line that names no known id is returned whole, so that a message can show it.
    """
    pairs = [(line, split_pair(line)[0]) for line in lines]
    return [video_id if line not in known and video_id in known else line for line, video_id in pairs]


def split_pair(line: str) -> tuple[str, str]:
    """Split "id path" at the first space or tab; an id in double quotes may hold both ("" stands for one quote)."""
    if line.startswith('"'):
        end = 1
        while (end := line.find('"', end)) >= 0:
            if line[end : end + 2] != '""':
                if end > 1 and (end + 1 == len(line) or line[end + 1].isspace()):
                    return line[1:end].replace('""', '"'), line[end + 1 :].strip()
                break
            end += 2
    first, *rest = line.split(maxsplit=1)
    return first, rest[0] if rest else ""


def quoted_id(video_id: str) -> str:
    """Write the id as `split_pair` reads it back, in quotes only where they are needed."""
    if video_id and not video_id.startswith('"') and not any(letter.isspace() for letter in video_id):
        return video_id
    return '"' + video_id.replace('"', '""') + '"'


def visible(text: str) -> str:
    """Make the text fit for a terminal:
    control characters, which may steer it, and marks that turn text round as escapes.
    """
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def fits_a_line(video_id: str, path: str) -> bool:
    """Tell whether "id path", quoted where needed, is one line that `split_pair` reads back."""
    return not set("\n\r\0") & {*video_id, *path} and path == path.strip() != ""


def read_table(
    path: str | Path, data: bytes | None = None, *, needs: Sequence[str], purpose: str
) -> tuple[Layout, Iterator[tuple[int, dict[str, str]]]]:
    """Return the layout, and number of the line (from 1) and cells of every row that is not empty.

    needs    columns that must be there, with a cell in every row (it may be empty)
    purpose  what the file is, for messages: "truth file"
    ValueError names the file, the line and what to do.
    """
    place = f"{purpose} {path}"
    data = Path(path).read_bytes() if data is None else data
    text = decode(data, place)
    layout = _layout(text, _encoding(data), place, needs)
    return layout, _rows(text, layout, place, needs)


def table_layout(path: Path, *, needs: Sequence[str], purpose: str) -> Layout:
    """Return how a table is written, from its head only: for a reader that streams the rows."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    encoding = _encoding(head)
    head = head[: head.rfind(b"\n") + 1] or head
    if encoding == "utf-16" and len(head) % 2:
        head += b"\0" if head.startswith(codecs.BOM_UTF16_LE) else b""
    place = f"{purpose} {path}"
    return _layout(_without_zeros(head.decode(encoding, errors="replace"), place), encoding, place, needs)


def _layout(text: str, encoding: str, place: str, needs: Sequence[str]) -> Layout:
    before = _BEFORE.match(text)
    start = before.end() if before else 0
    line = 1 + len(re.findall("\r\n|[\r\n]", text[:start]))
    first = re.compile("[^\r\n]*").match(text, start)[0]  # type: ignore[index]
    names: list[list[str]] = []
    for separator in _SEPARATORS:
        cells = next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
        columns = tuple(cell.strip() for cell in cells)
        if set(needs) <= set(columns):
            twice = {name for name in columns if name and columns.count(name) > 1}
            if twice:
                raise ValueError(f"{place}: its first line names the column {min(twice)} twice")
            spaced = f"{separator} " in first
            return Layout(columns=columns, encoding=encoding, separator=separator, spaced=spaced, line=line)
        names.append([name for name in columns if name])
    best = max(names, key=len)
    missing = [name for name in needs if name not in best]
    raise MissingColumns(
        f"{place} has no column {', '.join(missing)} (it has {', '.join(best) or 'nothing'}): its first line must name "
        f"{', '.join(needs)}",
        best,
    )


def _rows(text: str, layout: Layout, place: str, needs: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    # strict: a quote in the middle of a cell is refused instead of swallowing the lines after it.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=layout.separator, skipinitialspace=layout.spaced, strict=True
    )
    last = 1 + max(layout.columns.index(name) for name in needs)
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{place}, line {start}: {error}; a quote inside a cell is written twice") from None
        if start <= layout.line:  # the columns, and what stands before them
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(layout.columns) and any(cells[len(layout.columns) :]):
            raise ValueError(
                f"{place}, line {start}: {len(cells)} cells where the first line names {len(layout.columns)} columns; "
                f"a cell that holds {layout.separator!r} needs double quotes around it"
            )
        if len(cells) < last:
            raise ValueError(f"{place}, line {start}: {len(cells)} cells, too few for the columns {', '.join(needs)}")
        cells += [""] * (len(layout.columns) - len(cells))
        yield start, dict(zip(layout.columns, cells))
