"""Read similarity scores batch by batch, whoever wrote them: a folder of `ndvr similarity`, Parquet, JSON or CSV.

    for batch in open_scores("scores").batches(): ...

Three columns are a score table: query_id, video_id, score. A folder of `ndvr similarity` holds them under parts/;
its scores.json names those in force, and the tables that say what was attempted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ndvr.operators.library.fencing import unstamped, written_late
from ndvr.operators.storage.sealed import Damaged, SealedTable, open_json
from ndvr.operators.storage.sealed import read_table as read_sealed
from ndvr.operators.storage.shapes import shaped
from ndvr.operators.storage.store import Store, file_name, write_whole
from ndvr.operators.storage.text_files import read_table, table_layout

# --- Walk over {query: {video: score}} one query at a time: FIVR-200K's result file is 803 MB, 2.8 GiB once loaded


_GAP = re.compile(r"[\s,]*")
_COLON = re.compile(r"\s*:\s*")


def read_json_rows(path: Path, *, block: int = 1 << 22) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield (query, {video: score}) in the order of the file; ValueError names what is wrong and for which query.

    block  characters to read at a time; more are read while one query does not fit.
    """
    # As floats, whole numbers have no limit of digits: what is too large is not finite, and told with its pair.
    decoder = json.JSONDecoder(object_pairs_hook=lambda items: _unique(path, items), parse_int=float)
    with _utf8(path) as file:
        text = file.read(block).lstrip()
        if text[:1] != "{":
            raise ValueError(f"{path} is not a JSON object {{query: {{video: score}}}}")
        at, ended = 1, False
        while text[(at := _end(_GAP, text, at)) : at + 1] != "}":
            try:
                query, key_end = decoder.raw_decode(text, at)
                row, at = decoder.raw_decode(text, _end(_COLON, text, key_end))
            except RecursionError:
                raise ValueError(f"{path} is nested too deep to be {{query: {{video: score}}}}") from None
            except json.JSONDecodeError as error:  # cut by the block, or broken
                if ended:
                    raise ValueError(f"{path} is not a whole JSON file: {error}") from None
                new = file.read(max(block, len(text) - at))
                text, at, ended = text[at:] + new, 0, not new
                continue
            if not isinstance(row, dict):
                raise ValueError(f"{path}: {query!r} is followed by no object of {{video: score}}")
            yield query, row


@contextmanager
def _utf8(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason}): JSON is; write it again") from None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _unique(path: Path, items: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(items)
    if len(row) != len(items):  # json.loads would silently keep the last one
        names = sorted(name for name, _ in items)
        twice = next(a for a, b in zip(names, names[1:]) if a == b)
        raise ValueError(f"{path} names the video {twice!r} twice for one query: keep one score a pair")
    return row


COLUMNS = ("query_id", "video_id", "score")
BATCH_ROWS = 1 << 20  # 12 MB of indices and scores; larger ones are not faster
FORMAT = "ndvr-scores/1"
ABOUT, PARTS = "scores.json", "parts"
_SAID = {"parts": list[str] | None, "ids": dict[str, str], "method": str, "trained": bool, "symmetric": bool}
_REMEDY = "run the same `ndvr similarity` again, which computes what is damaged"


@dataclass(frozen=True, kw_only=True)
class ScoreBatch:
    """Rows as indices into the batch's own lists of ids: row i is (queries[query[i]], videos[video[i]], score[i])."""

    queries: pa.Array  # strings
    videos: pa.Array  # strings
    query: np.ndarray  # (N,) integer
    video: np.ndarray  # (N,) integer
    score: np.ndarray  # (N,) float64; float32 and float16 scores are widened, which changes no comparison


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Where scores are, what is known about them, and how to walk over them as often as needed."""

    name: str
    sources: tuple[Any, ...]  # paths, or one mapping {query: {video: score}}
    meta: dict[str, Any] = field(default_factory=dict)
    # id -> "done" or "status: reason" of everything that was attempted; None when the writer did not say.
    queries: dict[str, str] | None = None
    videos: dict[str, str] | None = None

    def batches(self) -> Iterator[ScoreBatch]:
        """Yield all rows, in a fixed order, at most BATCH_ROWS (JSON: one query) at a time."""
        for source in self.sources:
            if isinstance(source, Mapping):
                yield from _of_rows((query, row) for query, row in source.items())
            else:
                yield from _READERS[source.suffix](source)

    def parts(self) -> list[Scores]:
        """Split the scores into their sources, one each."""
        names = [self.name if isinstance(source, Mapping) else str(source) for source in self.sources]
        return [replace(self, name=name, sources=(source,)) for name, source in zip(names, self.sources)]


ScoreSource = str | Path | Mapping[str, Mapping[str, float]] | Scores


def open_scores(source: ScoreSource) -> Scores:
    """Find what there is to read; ValueError or FileNotFoundError before a single row is read."""
    if isinstance(source, Scores):
        return source
    if isinstance(source, Mapping):
        return Scores(name="scores in memory", sources=(source,))
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"no scores at {path}: give the folder that `ndvr similarity` wrote, or a file")
    if path.is_dir():
        return _open_folder(path)
    if path.name == ABOUT and (path.parent / PARTS).is_dir():
        return _open_folder(path.parent)
    if path.suffix not in _READERS:
        raise ValueError(f"{path} is no score file: its name must end in {', '.join(sorted(_READERS))}")
    _check_columns(path)
    return Scores(name=str(path), sources=(path,))


def _open_folder(folder: Path) -> Scores:
    meta_path, parts = folder / ABOUT, folder / PARTS
    meta = unstamped(read_manifest(meta_path, remedy=_REMEDY)) if meta_path.exists() else {}
    if meta and meta.get("format") != FORMAT:
        raise ValueError(
            f"{meta_path} says format {meta.get('format')!r}, this version reads {FORMAT!r}: "
            "evaluate with the version of ndvr that wrote it"
        )
    ids = {"queries": "queries.parquet", "videos": "videos.parquet"} | ids_named(meta, meta_path)
    files = _in_force(folder, meta) if "parts" in meta else _found(folder, parts, ids)
    for path in files:
        _check_columns(path)
    return Scores(
        name=str(folder),
        sources=tuple(files),
        meta=meta,
        queries=_attempted(folder / ids["queries"]),
        videos=_attempted(folder / ids["videos"]),
    )


def read_manifest(path: Path, *, remedy: str) -> dict[str, Any]:
    """Read what a folder of scores or pairs says about itself; ValueError when it does not count."""
    data = path.read_bytes()
    if written_late(Store(path.parent), path.name, data):
        raise ValueError(f"{path} was written by a run that another one had taken over; {remedy}")
    return shaped(open_json(data, path, remedy=remedy), {}, path, optional=_SAID, remedy=remedy)


def file_hash(path: Path) -> str:
    """Hash what is in a file that a manifest names: SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ids_named(meta: Mapping[str, Any], source: Path) -> dict[str, str]:
    """Read the names of the files that say what became of each side, by side; none when `meta` does not say."""
    named = meta.get("ids", {})
    return {side: file_name(named[side], source) for side in ("queries", "videos") if side in named}


def _in_force(folder: Path, meta: Mapping[str, Any]) -> list[Path]:
    """List the parts of the last state that was finished, whatever else a run has written since."""
    if meta["parts"] is None:
        raise ValueError(f"{folder} holds a comparison that was not finished: run the same `ndvr similarity` again")
    files = [folder / PARTS / file_name(name, folder / ABOUT) for name in meta["parts"]]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise ValueError(f"{missing[0]} and {len(missing) - 1} other parts are gone: run `ndvr similarity` again")
    return files


def _found(folder: Path, parts: Path, ids: Mapping[str, str]) -> list[Path]:
    """List all score tables of a folder that does not say which ones count."""
    inside = parts if parts.is_dir() else folder
    files = sorted(
        path
        for path in inside.rglob("*.parquet")
        if not any(part.startswith((".", "_")) for part in path.relative_to(inside).parts)
        and (inside is parts or path.name not in ids.values())
    )
    if not files:
        raise ValueError(f"no score file in {inside}: run `ndvr similarity` first, or give the right folder")
    return files


def _attempted(path: Path) -> dict[str, str] | None:
    """Read id -> status, with the reason behind it where there is one; None without the file."""
    if not path.exists():
        return None
    rows = read_sealed(path, remedy=_REMEDY).to_pydict()
    if "video_id" not in rows:
        raise Damaged(path, "it has no column video_id", _REMEDY)
    reasons = rows.get("reason") or [""] * len(rows["video_id"])
    statuses = rows.get("status") or ["done"] * len(rows["video_id"])
    return {
        video_id: f"{status}: {reason}" if reason else status
        for video_id, status, reason in zip(rows["video_id"], statuses, reasons)
    }


def _check_columns(path: Path) -> None:
    if path.suffix == ".parquet":
        try:
            with pa.OSFile(str(path)) as source:
                columns = SealedTable(source, path).parquet.schema_arrow.names
        except Damaged as error:
            raise ValueError(f"{path} is not a whole Parquet file ({error.why}): remove it and run again") from None
    elif path.suffix == ".csv":
        table_layout(path, needs=COLUMNS, purpose="score table")
        return
    else:
        return
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)} (it has {', '.join(columns)}): "
            f"a score table needs {', '.join(COLUMNS)}"
        )


def _of_table(batch: pa.RecordBatch) -> ScoreBatch:
    """Turn a table into indices, whatever its string columns are (plain, large, dictionary)."""
    coded = [
        column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
        for column in (batch.column("query_id"), batch.column("video_id"))
    ]
    for name, column in zip(COLUMNS, [*coded, batch.column("score")]):
        if column.null_count:
            raise ValueError(f"column {name} has {column.null_count} empty cells: every row needs all three values")
    return ScoreBatch(
        queries=coded[0].dictionary,
        videos=coded[1].dictionary,
        query=coded[0].indices.to_numpy(),
        video=coded[1].indices.to_numpy(),
        score=batch.column("score").to_numpy(zero_copy_only=False).astype(np.float64),
    )


def _read_parquet(path: Path) -> Iterator[ScoreBatch]:
    # read_dictionary: without it 22.6 million ids become 22.6 million strings before we see them.
    with pa.OSFile(str(path)) as source:
        spelt = _spelt_out(SealedTable(source, path, remedy=_REMEDY).metadata)
        coded = ["query_id"] if spelt else ["query_id", "video_id"]
        file, repeats = SealedTable(source, path, remedy=_REMEDY, read_dictionary=coded), _Repeats()
        for batch in file.batches(BATCH_ROWS, COLUMNS):
            yield _of_table(repeats.coded(batch) if spelt else batch)


def _spelt_out(metadata: Any) -> bool:
    """Say whether a file writes out the ids of videos row by row: it takes more than a number a row for them."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    ids = [column for column in columns if column.path_in_schema == "video_id"]
    return sum(column.total_uncompressed_size for column in ids) > 8 * sum(column.num_values for column in ids)


class _Repeats:
    """Codes for ids of videos, where one query after the other was compared with the same videos in the same order.

    Then a query's ids are known by one comparison with those of a query before, without looking up each.
    """

    def __init__(self) -> None:
        self._ids: pa.Array | None = None  # of one query, in order
        self._coded: pa.DictionaryArray | None = None

    def coded(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Replace the column video_id by its codes."""
        queries, videos = batch.column("query_id"), batch.column("video_id")
        if not pa.types.is_dictionary(queries.type) or queries.null_count or not pa.types.is_string(videos.type):
            return batch
        query = queries.indices.to_numpy()
        bounds = [0, *(np.flatnonzero(np.diff(query)) + 1).tolist(), len(query)]
        together = len(bounds) < len(query) // 64  # the rows of each query
        runs = [videos.slice(start, end - start) for start, end in zip(bounds[:-1], bounds[1:])] if together else []
        if (coded := self._known(runs)) is None and runs:
            self._ids = max(runs, key=len)
            self._coded = self._ids.dictionary_encode()
            coded = self._known(runs)
        coded = videos.dictionary_encode() if coded is None else coded
        columns = [coded if name == "video_id" else batch.column(name) for name in batch.schema.names]
        return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    def _known(self, runs: list[pa.Array]) -> pa.DictionaryArray | None:
        """Join the codes of runs that are each a beginning or an end of the known one; None when one is neither."""
        if self._ids is None or self._coded is None or not runs:
            return None
        codes, whole = [], self._coded.indices
        for run in runs:
            places = (0, len(whole) - len(run)) if len(run) <= len(whole) else ()
            starts = [start for start in places if run.equals(self._ids.slice(start, len(run)))]
            if not starts:
                return None
            codes.append(whole.slice(starts[0], len(run)))
        return pa.DictionaryArray.from_arrays(pa.concat_arrays(codes), self._coded.dictionary)


def _read_csv(path: Path) -> Iterator[ScoreBatch]:
    from pyarrow import csv

    layout = table_layout(path, needs=COLUMNS, purpose="score table")
    # Ids such as 001 must stay text.
    types = {"query_id": pa.string(), "video_id": pa.string(), "score": pa.float64()}
    convert = csv.ConvertOptions(column_types=types, include_columns=list(COLUMNS), null_values=[])
    read = csv.ReadOptions(encoding=layout.encoding, column_names=layout.columns, skip_rows=layout.line)
    parse = csv.ParseOptions(delimiter=layout.separator)
    try:
        for batch in csv.open_csv(path, convert_options=convert, read_options=read, parse_options=parse):
            yield _of_table(_unspaced(batch) if layout.spaced else batch)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        _name_the_line(path)
        raise ValueError(f"{path}: {error}") from None


def _name_the_line(path: Path) -> None:
    """Raise ValueError for the first row of a CSV that is no score; slower than the reader that stumbled over it."""
    for line, row in read_table(path, needs=COLUMNS, purpose="score table")[1]:
        try:
            float(row["score"])
        except ValueError:
            raise ValueError(f"score table {path}, line {line}: score {row['score']!r} is not a number") from None


def _unspaced(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Drop the space that stood behind a separator."""
    columns = [pc.utf8_ltrim(column, " ") if pa.types.is_string(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _of_rows(rows: Iterable[tuple[str, Mapping[str, float]]]) -> Iterator[ScoreBatch]:
    for query, row in rows:
        if strange := [item for item in row.items() if not _is_number(item[1])]:
            video, score = strange[0]
            raise ValueError(f"the score of query {query!r} and video {video!r} is {score!r}, not a number")
        yield ScoreBatch(
            queries=pa.array([query], pa.string()),
            videos=pa.array(list(row), pa.string()),
            query=np.zeros(len(row), np.int32),
            video=np.arange(len(row), dtype=np.int32),
            score=np.fromiter(row.values(), np.float64, len(row)),
        )


def _is_number(score: Any) -> bool:
    return isinstance(score, (float, np.number)) or isinstance(score, int) and abs(score) < 1 << 1000


def _read_json(path: Path) -> Iterator[ScoreBatch]:
    yield from _of_rows(read_json_rows(path))


_READERS = {".parquet": _read_parquet, ".csv": _read_csv, ".json": _read_json}


# --- Write scores as the JSON that AuSiL and 3D-CSL exchange: {query: {video: score}}


def write_similarities_json(scores: Path, path: Path) -> None:
    """Write all parts of SCORES as one JSON file, a query at a time: memory for one group of queries."""

    def write(name: str) -> None:
        with open(name, "w", encoding="utf-8") as file:
            comma = "{"
            for query_id, row in _rows(scores):
                file.write(
                    f"{comma}\n{json.dumps(query_id, ensure_ascii=False)}: {json.dumps(row, ensure_ascii=False)}"
                )
                comma = ","
            file.write("{}\n" if comma == "{" else "\n}\n")

    write_whole(path, write)


def _rows(scores: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield (query_id, {video_id: score}), a group of queries at a time: its cells' names begin alike."""
    groups: dict[str, list[Path]] = {}
    for part in open_scores(scores).sources:
        groups.setdefault(part.name.split("-")[0], []).append(part)
    for parts in groups.values():
        rows: dict[str, dict[str, float]] = {}
        for part in parts:
            cell = read_sealed(part, columns=list(COLUMNS), remedy=_REMEDY)
            for query_id, video_id, score in zip(*(cell[name].to_pylist() for name in COLUMNS)):
                rows.setdefault(query_id, {})[video_id] = score
        for query_id in sorted(rows):
            yield query_id, dict(sorted(rows[query_id].items()))
