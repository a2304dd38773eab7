"""Small data sets in the shape of public benchmarks, with official results; see tests/golden/benchmark_shapes.md."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner
from places import GOLDEN_FOLDER

from ndvr.benchmarks.commands import evaluate
from ndvr.pipeline.cli import Commands

GOLDEN = GOLDEN_FOLDER


def shape(name):
    """(labels and expected numbers, {query: {video: score}})."""
    data = json.loads((GOLDEN / "benchmark_shapes.json").read_text())[name]
    with np.load(GOLDEN / "benchmark_shapes.npz") as arrays:
        queries, ids, scores = (arrays[f"{name}/{key}"] for key in ("queries", "ids", "scores"))
    rows = {
        str(query): {str(video): float(x) for video, x in zip(ids, row) if not np.isnan(x)}
        for query, row in zip(queries, scores)
    }
    return data, rows


def write_fivr(folder, data):
    """The official files of FIVR-5K, with the labels of the small set."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "annotation.json").write_text(json.dumps(data["annotation"]))
    lines = {
        "fivr-5k-queries.txt": [f"{q} Videos/{q}.mp4" for q in data["queries"]],
        "fivr-5k-database.txt": [f"{v} videos/{v}.mp4" for v in data["database"]],
        "fivr_easy_duplicates.txt": data["easy_duplicates"],
        "youtube_ids.txt": data["database"],
    }
    for name, content in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in content))
    return folder


def write_parts(folder, rows, *, trained=True, row_group_size=100, videos=None, queries=None):
    """A score folder as `ndvr similarity` writes it: one part for every two queries, in dictionary columns."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    meta = {"format": "ndvr-scores/1", "method": "s2vs", "weights": "s2vs_dns", "trained": trained}
    (folder / "scores.json").write_text(json.dumps(meta))
    for name, attempted in (("videos", videos), ("queries", queries)):
        if attempted is not None:
            ids, statuses = zip(*attempted.items())
            columns = {"video_id": ids, "status": statuses, "reason": ["" for _ in ids]}
            pq.write_table(pa.table({key: list(value) for key, value in columns.items()}), folder / f"{name}.parquet")
    names = list(rows)
    for start in range(0, len(names), 2):
        table = score_table({name: rows[name] for name in names[start : start + 2]})
        path = folder / "parts" / f"{start:05d}.parquet"
        pq.write_table(table, path, row_group_size=row_group_size)
    return folder


def score_table(rows, dtype="float64"):
    triples = [(query, video, score) for query, row in rows.items() for video, score in row.items()]
    queries, videos, scores = zip(*triples) if triples else ((), (), ())
    return pa.table(
        {
            "query_id": pa.array(queries, pa.string()).dictionary_encode(),
            "video_id": pa.array(videos, pa.string()).dictionary_encode(),
            "score": pa.array(scores, dtype),
        }
    )


def ranking(query, *best_first):
    """Scores that put videos in this order."""
    return {query: {video: 1.0 - i / 10 for i, video in enumerate(best_first)}}


def truth_file(path, *rows, columns="query_id,video_id,relation,edit"):
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


class Evaluate(Commands):
    """`ndvr` with this one command, whether or not the package's entry points are installed."""

    def get_command(self, context, name):
        return evaluate


def evaluate_command(*args):
    """(exit code, stdout, stderr) of `ndvr evaluate`."""
    result = CliRunner().invoke(Evaluate(), ["evaluate", *map(str, args)])
    return result.exit_code, result.stdout, result.stderr


def write_grid(folder, queries, database, scores, *, queries_per_part=25, videos_per_part=65536, name="all"):
    """Cells of a score grid; NaN stands for a pair without a score."""
    folder.mkdir(parents=True, exist_ok=True)
    for q in range(0, len(queries), queries_per_part):
        for v in range(0, len(database), videos_per_part):
            cell = scores[q : q + queries_per_part, v : v + videos_per_part]
            rows, columns = (index.ravel().astype(np.int32) for index in np.indices(cell.shape))
            table = pa.table(
                {
                    "query_id": pa.DictionaryArray.from_arrays(rows, queries[q : q + queries_per_part]),
                    "video_id": pa.DictionaryArray.from_arrays(columns, database[v : v + videos_per_part]),
                    "score": cell.ravel(),
                }
            )
            if np.isnan(cell).any():
                table = table.filter(~np.isnan(cell.ravel()))
            pq.write_table(
                table, folder / f"{name}-{q:04d}-{v:06d}.parquet", compression="none", row_group_size=1 << 18
            )
    return folder


def load_recipes(folder):
    """recipes.py of the golden outputs: makes the seeded inputs of the official evaluators' runs."""
    spec = importlib.util.spec_from_file_location("recipes", folder / "recipes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
