"""The split lists of UCF101, HMDB51 and JHMDB: video -> class, of the videos that ask and of those that answer.

What is read, from the folder given:
    UCF101  classInd.txt ("number Name"), trainlist01.txt ("Name/file.avi number"), testlist01.txt ("Name/file.avi")
    HMDB51  CLASS_test_split1.txt for every class, "file.avi flag": 1 training, 2 test, 0 unused. JHMDB likewise
    C3DHash's own lists, "path number" with classes from 0: train1.txt and test1.txt, or test_10_210.txt and
    db_20_420.txt of JHMDB, where the videos that ask are in the database too
An id is the path as the list has it, and of the lists that name files only, CLASS/file.avi: `ndvr extract` of the
folder with all classes gives the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Classes = dict[str, str]  # video -> class


@dataclass(frozen=True, kw_only=True)
class ClassLists:
    """Both sides of a split. `repeated` counts lines that say again what an earlier one said."""

    queries: Classes
    database: Classes
    repeated: int


def read_class_lists(name: str, folder: Path, *, cut: bool) -> ClassLists:
    """The lists of ucf101, hmdb51 or jhmdb. FileNotFoundError names what is missing, ValueError the line that is wrong.

    cut  leave out everything after the first dot of an id, as C3DHash does (its videos are folders of frames)
    """
    for asking, answering in (("test1.txt", "train1.txt"), ("test_10_210.txt", "db_20_420.txt")):
        if (folder / asking).exists():
            sides = [_numbered(_need(folder / file)) for file in (asking, answering)]
            break
    else:
        sides = _ucf101(folder) if name == "ucf101" else _flagged(name, folder)
    (queries, again), (database, more) = (_collect(rows, cut) for rows in sides)
    for side, what in ((queries, "asks"), (database, "answers")):
        if not side:
            raise ValueError(f"no video {what} in the lists of {folder}: are they those of {name}?")
    for video in queries.keys() & database.keys():
        if queries[video] != database[video]:
            raise ValueError(f"{video!r} has class {queries[video]} as a query and {database[video]} in the database")
    return ClassLists(queries=queries, database=database, repeated=again + more)


Row = tuple[Path, int, str, str]  # file, line, path as listed, class


def _collect(rows: Iterator[Row], cut: bool) -> tuple[Classes, int]:
    """(classes, how many lines repeat another). Two lines that give one id two paths or classes are an error."""
    found: dict[str, tuple[str, str]] = {}
    repeated = 0
    for file, line, path, label in rows:
        video = path.split(".")[0] if cut else path
        if not video:
            raise ValueError(f"{file}, line {line}: nothing stands before the first dot of {path!r}")
        if video not in found:
            found[video] = path, label
        elif found[video] == (path, label):
            repeated += 1
        elif found[video][0] != path:
            raise ValueError(
                f"{file}, line {line}: {path!r} and {found[video][0]!r} are one video {video!r} when cut after the "
                "first dot: use --convention lists"
            )
        else:
            raise ValueError(f"{file}, line {line}: {path!r} has class {label}, and {found[video][1]} in another line")
    return {video: label for video, (_, label) in found.items()}, repeated


def _need(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"no {path.name} in {path.parent}: it comes with the split lists of the data set")
    return path


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _last_word(path: Path, expected: str) -> Iterator[tuple[int, str, str]]:
    """(line, all before, last word) where the last word is a number; names may hold spaces."""
    for number, line in _lines(path):
        words = line.rsplit(maxsplit=1)
        if len(words) != 2 or not words[1].isdecimal():
            raise ValueError(f"{path}, line {number}: expected {expected!r}, found {line!r}")
        yield number, words[0], words[1]


def _numbered(path: Path) -> Iterator[Row]:
    for line, video, label in _last_word(path, "path class-number"):
        yield path, line, video, str(int(label))


def _ucf101(folder: Path) -> list[Iterator[Row]]:
    test, train, index = (_need(folder / name) for name in ("testlist01.txt", "trainlist01.txt", "classInd.txt"))
    number_of: dict[str, str] = {}
    for line, text in _lines(index):
        words = text.split()
        if len(words) != 2 or not words[0].isdecimal():
            raise ValueError(f"{index}, line {line}: expected 'number Name', found {text!r}")
        number_of[words[1]] = str(int(words[0]))

    def asking() -> Iterator[Row]:
        for line, path in _lines(test):
            name = path.split("/")[0]
            if name not in number_of:
                raise ValueError(
                    f"{test}, line {line}: {path!r} is of class {name!r}, which {index.name} does not list"
                )
            yield test, line, path, number_of[name]

    return [asking(), _numbered(train)]


def _flagged(name: str, folder: Path) -> list[Iterator[Row]]:
    ending = "_test_split1.txt"
    files = sorted(folder.glob(f"*{ending}"))
    if not files:
        raise FileNotFoundError(f"no CLASS{ending} in {folder}: it comes with the split lists of {name}")

    def rows(flag: str) -> Iterator[Row]:
        for file in files:
            label = file.name.removesuffix(ending)
            for line, video, found in _last_word(file, "file flag"):
                if found not in ("0", "1", "2"):
                    raise ValueError(f"{file}, line {line}: flag {found} of {video!r} is none of 0, 1, 2")
                if found == flag:
                    yield file, line, f"{label}/{video}", label

    return [rows("2"), rows("1")]
