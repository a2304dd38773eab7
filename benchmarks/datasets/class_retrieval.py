"""UCF101, HMDB51 and JHMDB as retrieval (C3DHash, github.com/zhongzhh8/Video-Retrieval-C3D): equal classes are right.

Videos of the test list ask, the whole training list is ranked, every video of the same class is right. Split 1. The
files are described below. Scores of codes are few, so ties decide: look at their interval.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from ndvr.benchmarks.evaluation.protocol import Protocol, Task, load_protocol
from ndvr.benchmarks.record import PlainCommand
from ndvr.operators.metrics.average_precision import top_average_precision, top_average_precision_ends
from ndvr.operators.metrics.rank_counts import Counter, Plan
from ndvr.operators.metrics.survey import survey
from ndvr.operators.scores.files import Scores, ScoreSource, open_scores

# The split lists: video -> class, of the queries and of the database. What is read, from the folder given:
#     UCF101  classInd.txt ("number Name"), trainlist01.txt ("Name/file.avi number"), testlist01.txt ("Name/file.avi")
#     HMDB51  CLASS_test_split1.txt for every class, "file.avi flag": 1 training, 2 test, 0 unused. JHMDB likewise
#     C3DHash's own lists, "path number" with classes from 0: train1.txt and test1.txt, or test_10_210.txt and
#     db_20_420.txt of JHMDB, where the videos that ask are in the database too
# An id is the path as the list has it, and of the lists that name files only, CLASS/file.avi: `ndvr extract` of the
# folder with all classes gives the same ids.


Classes = dict[str, str]  # video -> class


@dataclass(frozen=True, kw_only=True)
class ClassLists:
    """Both sides of a split. `repeated` counts lines that say again what an earlier one said."""

    queries: Classes
    database: Classes
    repeated: int


def read_class_lists(name: str, folder: Path, *, cut: bool) -> ClassLists:
    """Read the lists of ucf101, hmdb51 or jhmdb; errors name the file that is missing or the line that is wrong.

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
    """Return (classes, how many lines repeat another). Two lines that give one id two paths or classes are an error."""
    entries: dict[str, tuple[str, str]] = {}
    repeated = 0
    for file, line, path, label in rows:
        video = path.split(".")[0] if cut else path
        if not video:
            raise ValueError(f"{file}, line {line}: nothing stands before the first dot of {path!r}")
        if video not in entries:
            entries[video] = path, label
        elif entries[video] == (path, label):
            repeated += 1
        elif entries[video][0] != path:
            raise ValueError(
                f"{file}, line {line}: {path!r} and {entries[video][0]!r} are one video {video!r} when cut after the "
                "first dot: use --convention lists"
            )
        else:
            raise ValueError(
                f"{file}, line {line}: {path!r} has class {label}, and {entries[video][1]} in another line"
            )
    return {video: label for video, (_, label) in entries.items()}, repeated


def _need(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"no {path.name} in {path.parent}: it comes with the split lists of the data set")
    return path


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _last_word(path: Path, expected: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, all before, last word) where the last word is a number; names may hold spaces."""
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
            for line, video, given in _last_word(file, "file flag"):
                if given not in ("0", "1", "2"):
                    raise ValueError(f"{file}, line {line}: flag {given} of {video!r} is none of 0, 1, 2")
                if given == flag:
                    yield file, line, f"{label}/{video}", label

    return [rows("2"), rows("1")]


DATASETS = ("hmdb51", "jhmdb", "ucf101")
CONVENTIONS = {
    "lists": "ids are paths as in the split lists; a query that is in the database is neither ranked nor right",
    "c3dhash": "ids are paths cut after their first dot; a query that is in the database is ranked and right",
}


def protocol(name: str, annotations: Path, *, convention: str, hard: bool) -> Protocol:
    """Make one task over the queries of split 1."""
    lists = read_class_lists(name, annotations, cut=convention == "c3dhash")
    members: defaultdict[str, set[str]] = defaultdict(set)
    for video, label in lists.database.items():
        members[label].add(video)
    whole = {label: frozenset(videos) for label, videos in members.items()}
    relevant = {query: whole.get(label, frozenset()) for query, label in lists.queries.items()}
    if convention == "lists":
        relevant = {query: videos - {query} if query in videos else videos for query, videos in relevant.items()}
    return Protocol(
        name=name,
        tasks=(Task(name="class", relevant=relevant),),
        database=frozenset(lists.database),
        ranks_query=convention == "c3dhash",
        notes=_notes(lists, relevant),
    )


def _notes(lists: ClassLists, relevant: dict[str, frozenset[str]]) -> tuple[str, ...]:
    notes = []
    lonely = sorted(query for query, videos in relevant.items() if not videos)
    if lonely:
        notes.append(
            f"{len(lonely):,} of {len(relevant):,} queries (such as {lonely[0]}) have a class that no other video "
            "of the database has: they have no AP and are not in the mean, which would be NaN with them"
        )
    if lists.repeated:
        notes.append(f"{lists.repeated:,} lines of the lists repeat another and count once")
    return tuple(notes)


# Top-k mAP: only the k best count, divided by the right ones among them.


@dataclass(frozen=True, kw_only=True)
class TopResult:
    """Means over the queries that have a score and a right video in the database."""

    map: float  # equal scores in the order of their ids
    map_low: float  # the lowest that an order of equal scores can give
    map_high: float
    top: int
    queries: int
    expected_queries: int


def top_map(
    scores: ScoreSource, *, dataset: str, annotations: str | Path, top: int, convention: str | None = None
) -> TopResult:
    """Evaluate the k best of each query; a class that the database lacks leaves the mean."""
    if dataset not in DATASETS:
        raise ValueError(f"top-k mAP is defined for {', '.join(DATASETS)}, not for {dataset!r}")
    if top < 1:
        raise ValueError(f"top {top}: at least the best one has to count")
    return _top_map(open_scores(scores), load_protocol(dataset, annotations, convention=convention), top)


def _top_map(scores: Scores, protocol: Protocol, top: int) -> TopResult:
    right = {query: videos for query, videos in protocol.tasks[0].relevant.items() if videos}
    labels = {query: videos | {query} for query, videos in right.items()}  # the query itself is never a wrong one
    surveyed = survey(scores, labels)
    database = protocol.database or frozenset()
    ranked = np.fromiter((video in database for video in surveyed.videos.ids), bool, len(surveyed.videos))
    order = surveyed.videos.order()
    counter = Counter(Plan(surveyed=surveyed, right=right, order=order, ranked=ranked, groups=()))
    counter.walk(scores)
    tallies = counter.counted().tallies
    rows = []
    for query in sorted(right):
        if not surveyed.rows[surveyed.queries.of([query])[0]]:
            continue
        counts = tallies[query]
        # All three rise from the best right video to the last one.
        by_id, above, at_least = (np.sort(counts.above + n) for n in (counts.tied_before, 0, counts.tied))
        rows.append((top_average_precision(by_id, top), *top_average_precision_ends(above, at_least, top)))
    if not rows:
        raise ValueError(f"no query of {scores.name} has a score and a right video in {protocol.name}: check the ids")
    mean, low, high = np.mean(rows, axis=0).tolist()
    return TopResult(map=mean, map_low=low, map_high=high, top=top, queries=len(rows), expected_queries=len(right))


@click.command(cls=PlainCommand)
@click.argument("scores", type=click.Path())
@click.option("--dataset", required=True, type=click.Choice(DATASETS))
@click.option("--annotations", required=True, metavar="FOLDER", help="The split lists of the dataset.")
@click.option("--convention", type=click.Choice(list(CONVENTIONS)), help="How ids are read.")
@click.option("--top", default=100, show_default=True, help="How many of the best count.")
@click.option("--json", "as_json", is_flag=True, help="For programs, on stdout.")
def main(scores: str, *, top: int, as_json: bool, **settings: str) -> None:
    """Top-k mAP of SCORES."""
    result = top_map(scores, top=top, **settings)
    if as_json:
        click.echo(json.dumps(asdict(result), indent=1))
        return
    ties = "" if result.map_low == result.map_high else f", ties {result.map_low:.4f} to {result.map_high:.4f}"
    click.echo(f"top-{top} mAP {result.map:.4f}{ties}; {result.queries:,} of {result.expected_queries:,} queries")


if __name__ == "__main__":
    main()
