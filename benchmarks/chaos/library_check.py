"""What a library holds, compared with what it ought to: to the last bit, while it is written and afterwards."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ndvr.operators.library.library import Library
from ndvr.operators.scores.files import open_scores

Key = tuple[str, str]  # configuration, video id; of scores: query id, video id


@dataclass(frozen=True)
class Verdict:
    """What a library says of one video, and its rows when it is done."""

    status: str
    error_class: str | None
    start_s: np.ndarray | None = None
    features: np.ndarray | None = None

    def __str__(self) -> str:
        return f"{self.status}({self.error_class})" if self.error_class else self.status


def contents(path: Path) -> dict[Key, Verdict]:
    """Return every video under every configuration, through the public reading interface."""
    library = Library(path)
    verdicts: dict[Key, Verdict] = {}
    for config in sorted(library.configs):
        entries = library.entries(config)
        rows = {video_id: both for video_id, *both in library.read(entries.values())}
        for video_id, entry in entries.items():
            start_s, features = rows.get(video_id, (None, None))
            error_class = entry.end["error_class"] if entry.status == "failed" else None
            verdicts[config, video_id] = Verdict(entry.status, error_class, start_s, features)
    return verdicts


def torn(verdicts: dict[Key, Verdict], expected: dict[Key, Verdict]) -> list[str]:
    """Return what a reader must never see: a done video whose rows are not all of its rows, in order, to the bit."""
    wrong = []
    for key, verdict in verdicts.items():
        want = expected.get(key)
        if want is None:
            wrong.append(f"{key[1]} of {key[0]} is nobody's")
        elif verdict.status == "done" and not _same_rows(verdict, want):
            n_found, n_want = (0 if some.start_s is None else len(some.start_s) for some in (verdict, want))
            wrong.append(f"{key[1]} is done with {n_found} windows that are not the {n_want} it has")
    return wrong


def differences(verdicts: dict[Key, Verdict], expected: dict[Key, Verdict]) -> list[str]:
    """Return a sentence for every video that is missing, new, ended otherwise or has other rows."""
    wrong = [f"{key[1]} of {key[0]} is missing" for key in sorted(expected.keys() - verdicts.keys())]
    for key in sorted(verdicts.keys() & expected.keys()):
        if str(verdicts[key]) != str(expected[key]):
            wrong.append(f"{key[1]} is {verdicts[key]}, not {expected[key]}")
    return wrong + torn(verdicts, expected)


def _same_rows(a: Verdict, b: Verdict) -> bool:
    if a.start_s is None or b.start_s is None:
        return a.start_s is b.start_s
    assert a.features is not None and b.features is not None
    # Bytes, not values: NaN and -0.0 shall be the same ones.
    same = a.features.dtype == b.features.dtype and a.features.shape == b.features.shape
    return same and a.start_s.tobytes() == b.start_s.tobytes() and a.features.tobytes() == b.features.tobytes()


def scores_in(folder: Path) -> dict[Key, float]:
    """Read SCORES: {(query_id, video_id): score}."""
    scores: dict[Key, float] = {}
    for batch in open_scores(folder).batches():
        queries, videos = batch.queries.to_pylist(), batch.videos.to_pylist()
        pairs = zip(batch.query.tolist(), batch.video.tolist(), batch.score.tolist())
        scores |= {(queries[query], videos[video]): score for query, video, score in pairs}
    return scores


@dataclass(frozen=True)
class RowCount:
    """Rows of all shard files of a library, counted without the library's own reading."""

    expected: int
    lost: int  # of the expected, in no shard
    duplicated: int  # in shards more than once, or not expected at all


def count_rows(path: Path, expected: dict[Key, Verdict]) -> RowCount:
    """Read every file below shards/: each (configuration, video, start) shall be there once."""
    counts: Counter = Counter()
    for file in sorted((path / "shards").glob("*/*.parquet")):
        table = pq.read_table(file, columns=["video_id", "start_s"])
        counts.update(
            (file.parent.name, *row) for row in zip(*(table[name].to_pylist() for name in table.column_names))
        )
    want = {
        (*key, start_s)
        for key, verdict in expected.items()
        if verdict.start_s is not None
        for start_s in verdict.start_s.tolist()
    }
    return RowCount(
        expected=len(want),
        lost=len(want - counts.keys()),
        duplicated=sum(counts.values()) - len(want & counts.keys()),
    )


@dataclass
class Watcher:
    """Reads a library over and over while others write it.

    with Watcher(path, expected) as watcher:
        ...
    assert not watcher.torn
    """

    path: Path
    expected: dict[Key, Verdict]
    pause_s: float = 0.3
    reads: int = 0
    overtaken: int = 0  # reads that were told to start again, because a shard was rewritten meanwhile
    settled: int = 0  # videos that have a verdict, when last seen
    torn: list[str] = field(default_factory=list)

    def __enter__(self) -> Watcher:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        opened = False
        while not self._stop.wait(self.pause_s):
            try:
                verdicts = contents(self.path)
            except FileNotFoundError as error:
                if " is gone: it was rewritten" in str(error):
                    self.overtaken += 1
                elif opened:  # before the first time there is no library yet
                    self._note(f"FileNotFoundError: {error}")
                continue
            except Exception as error:  # whatever a reader meets is what this is looking for
                self._note(f"{type(error).__name__}: {error}")
                continue
            opened = True
            self.reads += 1
            self.settled = len(verdicts)
            for sentence in torn(verdicts, self.expected):
                self._note(sentence)

    def _note(self, sentence: str) -> None:
        self.torn.append(f"{time.strftime('%H:%M:%S')} {sentence}")
