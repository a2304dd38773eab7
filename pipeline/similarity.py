"""Similarity: two libraries in, the scores of all pairs out, as Ray tasks over a grid of cells.

ndvr similarity QUERIES DATABASE SCORES --method thumbprint

SCORES/scores.json        what was compared, with what
SCORES/queries.parquet    video_id, status, reason of every query asked for; videos.parquet likewise
SCORES/parts/*.parquet    query_id, video_id, score: one file per cell, whole or absent
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ndvr.operators.library import Entry, Library
from ndvr.operators.score_cell import ScoreCell
from ndvr.operators.score_files import FORMAT
from ndvr.operators.similarities_json import write_similarities_json
from ndvr.pipeline.progress import Progress
from ndvr.pipeline.score_folder import fingerprint, open_scores, write_ids
from ndvr.pipeline.settings import Setting, choose_one

if TYPE_CHECKING:
    from ndvr.models.method import Model

# A cell holds two groups of videos; their signatures are what bounds its memory.
WINDOWS_PER_GROUP = 4096
VIDEOS_PER_GROUP = 64
# Small jobs are cut finer, for progress and for all cores. It depends on the inputs only, never on the machine, so
# that a run continues anywhere.
CELLS_AT_LEAST = 64


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a similarity run did."""

    scores: str
    method: str
    weights: str
    trained: bool
    queries: int
    videos: int
    pairs: int
    missing_queries: int  # asked for, without features
    missing_videos: int
    cells: int
    cells_resumed: int  # found finished
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """One flat object for programs."""
        return asdict(self) | {"pairs_per_s": round(self.pairs / max(self.seconds, 1e-9), 1)}


def similarity(
    queries: str | Path,
    database: str | Path,
    scores: str | Path,
    *,
    method: str = "thumbprint",
    weights: str | None = None,
    options: dict[str, Any] | None = None,
    config: str | None = None,
    query_ids: Iterable[str] | str | Path | None = None,
    format: Literal["parquet", "json"] = "parquet",
    workers: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> Comparison:
    """Score every query of one library against every video of another (or the same) and write SCORES.

    A pair of a video with itself is scored too. `query_ids` (ids, or a file with one per line) picks queries.
    A killed run continues where it stopped. Raises ValueError or FileNotFoundError before any work when the
    libraries do not fit each other or the method.
    """
    began = time.monotonic()
    if format not in ("parquet", "json"):
        raise ValueError(f"unknown format {format!r}; choose parquet or json")
    setting = choose_one(method, weights, options)
    sides = [Library(queries), Library(database)]
    configs = [library.config_of(method, config) for library in sides]
    abouts = [library.configs[name] for library, name in zip(sides, configs)]
    _same_features(sides, abouts)
    setting = _with_embedding_options(setting, abouts[0])
    model = setting.load("cpu", "similarity")
    _fits(model, sides[0], abouts[0])
    every = [library.entries(name) for library, name in zip(sides, configs)]
    every[0] = _pick(every[0], query_ids, sides[0])
    out = Path(scores)
    trained = model.trained and abouts[0]["trained"]
    about = {
        "format": FORMAT,
        "method": method,
        "weights": model.weights,
        "features": abouts[0]["weights"],
        "trained": trained,
        "symmetric": model.symmetric,
        "options": setting.options,
        "config": configs[0],
        "similarity_digest": model.digest("similarity"),
        "query_library": str(queries),
        "database_library": str(database),
        "inputs": fingerprint(every),
    }
    open_scores(out, about)
    for name, entries in zip(("queries", "videos"), every):
        write_ids(out / f"{name}.parquet", entries)
    groups = _grid(every)
    cells = [
        (out / "parts" / f"q{i:05d}-d{j:05d}.parquet", query_group, video_group)
        for j, video_group in enumerate(groups[1])
        for i, query_group in enumerate(groups[0])
    ]
    todo = [cell for cell in cells if not cell[0].exists()]
    if todo:
        _compute(todo, sides, setting, workers, address, progress)
    if format == "json":
        write_similarities_json(out, out / "similarities.json")
    done = [sum(bool(entry.pieces) for entry in entries.values()) for entries in every]
    return Comparison(
        scores=str(out),
        method=method,
        weights=model.weights,
        trained=trained,
        queries=done[0],
        videos=done[1],
        pairs=done[0] * done[1],
        missing_queries=len(every[0]) - done[0],
        missing_videos=len(every[1]) - done[1],
        cells=len(cells),
        cells_resumed=len(cells) - len(todo),
        seconds=round(time.monotonic() - began, 3),
    )


def _same_features(sides: list[Library], abouts: list[dict[str, Any]]) -> None:
    for key in ("weights_digest", "view", "feature_shape", "features_version"):
        if abouts[0][key] != abouts[1][key]:
            first, second = (f"{library.path} ({about['name']})" for library, about in zip(sides, abouts))
            raise ValueError(
                f"the features of {first} and {second} cannot be compared: their {key} differ "
                f"({abouts[0][key]!r}, {abouts[1][key]!r}); extract both with the same settings"
            )


def _fits(model: Model, library: Library, about: dict[str, Any]) -> None:
    """Refuse weights or options that compare features of another shape than the library's."""
    if list(model.feature_shape) != about["feature_shape"]:
        raise ValueError(
            f"features in {library.path} have shape {about['feature_shape']}, {model.name} under these settings "
            f"compares {list(model.feature_shape)}; choose the --option or --weights that fit them "
            f"(`ndvr methods {model.name}`)"
        )


def _with_embedding_options(setting: Setting, about: dict[str, Any]) -> Setting:
    """What the features were made with holds, whatever this command's defaults are."""
    return replace(setting, options=setting.options | about["options"])


def _pick(
    entries: dict[str, Entry], query_ids: Iterable[str] | str | Path | None, library: Library
) -> dict[str, Entry]:
    if query_ids is None:
        return entries
    if isinstance(query_ids, (str, Path)):
        path = Path(query_ids)
        if not path.is_file():
            raise FileNotFoundError(f"no file with query ids at {path}; give a text file with one id per line")
        query_ids = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    wanted = sorted(set(query_ids))
    if not wanted:
        raise ValueError("the list of query ids is empty")
    unknown = [video_id for video_id in wanted if video_id not in entries]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ValueError(f"query {unknown[0]!r}{more} is not in {library.path}; `ndvr show` lists its videos")
    return {video_id: entries[video_id] for video_id in wanted}


def _grid(every: list[dict[str, Entry]]) -> list[list[list[Entry]]]:
    """The groups of queries and of videos; their cells are every query group with every video group."""
    query_groups = list(_groups(every[0].values(), VIDEOS_PER_GROUP))
    n_videos = sum(bool(entry.pieces) for entry in every[1].values())
    per_group = -(-n_videos * max(1, len(query_groups)) // CELLS_AT_LEAST)
    return [query_groups, list(_groups(every[1].values(), min(VIDEOS_PER_GROUP, max(1, per_group))))]


def _groups(entries: Iterable[Entry], most: int) -> Iterator[list[Entry]]:
    """Videos that share a cell, `most` at most: from the same shards, short ones many, a long one alone."""
    group: list[Entry] = []
    windows = 0
    for entry in sorted((entry for entry in entries if entry.pieces), key=lambda e: (e.pieces[0]["shard"], e.video_id)):
        if group and (windows + entry.windows > WINDOWS_PER_GROUP or len(group) == most):
            yield group
            group, windows = [], 0
        group.append(entry)
        windows += entry.windows
    if group:
        yield group


def _compute(
    todo: list[tuple], sides: list[Library], setting: Setting, workers: int | None, address: str | None, progress: bool
) -> None:
    """Run the cells on a pool of actors, one model each; every cell file is a commit."""
    import ray

    from ndvr.pipeline import cluster

    have = cluster.join(address)
    n_workers = min(len(todo), workers or have.gpus or have.cpus)

    class Worker:
        def __init__(self) -> None:
            import torch

            torch.set_num_threads(max(1, have.cpus // n_workers))
            model = setting.load("cuda" if torch.cuda.is_available() else "cpu", "similarity")
            self._cell = ScoreCell(model, *(library.path for library in sides))

        def run(self, path: Path, query_group: list[Entry], video_group: list[Entry]) -> int:
            return self._cell(path, query_group, video_group)

    cpus, gpus = 0.9 * have.cpus / n_workers, min(1.0, have.gpus / n_workers)
    actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=2)(Worker)
    pool = ray.util.ActorPool([actor.remote() for _ in range(n_workers)])
    pairs = sum(len(query_group) * len(video_group) for _, query_group, video_group in todo)
    with Progress("similarity", pairs, "pair", show=progress) as bar, cluster.explained("similarity"):
        for count in pool.map_unordered(lambda worker, cell: worker.run.remote(*cell), todo):
            bar.advance(count)
