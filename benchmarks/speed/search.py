"""How fast a search is, and its parts, beside what bounds them:

    python -m ndvr.benchmarks.speed.search votes      # [--keys 10000 --keys 100000 --keys 1000000] [--rounds 5]
    python -m ndvr.benchmarks.speed.search index      # [--videos 1000]
    python -m ndvr.benchmarks.speed.search pairs      # [--rounds 5]
    python -m ndvr.benchmarks.speed.search sureness   # [--library LIBRARY]
    python -m ndvr.benchmarks.speed.search dedupe     # [--videos 100] [--queries 12]
    python -m ndvr.benchmarks.speed.search two-stage  # [--videos 225960] [--candidates 50 --candidates 200 ...]

votes     probes of one query of ten seconds against an index of so many keys, which are seeded noise of that length;
          whole pictures only, and with all boxes. Beside it faiss's flat search of the same vectors, held as float32,
          for the same neighbours; and the products that a flat search cannot do without, as one matrix product. More
          than MOST_FLAT keys have nothing beside them; more than MOST_MADE are so many, several times over
index     building it, adding one video in a hundred, doing so again; bytes a second of video; opening it and asking a
          first time, with its files out of the page cache, and again
pairs     candidates a second of the closer look, reading and decoding included, and its parts: the rough look at the
          placements that votes propose, signatures, the full comparison; beside the bare reading, and beside the one
          product that compares every frame of a pair with every frame
sureness  the rate of false matches that is stated, of half of the videos, beside the one that is measured on the other
          half: pairs of videos that have nothing to do with each other
dedupe    what `ndvr dedupe --by-index` does for a video of 100 s: votes among the keys of 10,000 such videos, closer
          looks among so many made ones; and what that would be for 10,000 videos
two-stage mAP of rankings by the index, of synthetic vectors in the numbers of FIVR-200K (fivr_200k_data.py), beside
          that of comparing each query with all videos; a video that is no candidate is not ranked

All on one core and in turns in one run, so that a slower minute of the machine hits all. The videos are made: pictures
that a camera swings over.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from ndvr import models
from ndvr.benchmarks.record import record
from ndvr.benchmarks.speed.fivr_200k_data import VIDEOS, read_collection, write_library, write_made_up
from ndvr.benchmarks.speed.fivr_200k_stages import Job
from ndvr.models.keys import Keys, Place
from ndvr.models.method import Model, use_one_thread
from ndvr.operators.index import codes
from ndvr.operators.index.lists import coded, joined
from ndvr.operators.index.segments import IndexedVideo, IndexFiles, Segment
from ndvr.operators.index.sureness import LIMIT, fit, odds
from ndvr.operators.index.votes import NEIGHBOURS, candidates
from ndvr.operators.library.feature_reader import FeatureReader
from ndvr.operators.metrics.average_precision import average_precision
from ndvr.pipeline.extraction.import_features import import_features
from ndvr.pipeline.search.build import sampled, unrelated
from ndvr.pipeline.search.library_index import LibraryIndex, open_index
from ndvr.pipeline.search.matcher import Here, Matcher, Wanted
from ndvr.pipeline.search.queries import Queries, Query
from ndvr.pipeline.search.search import index
from ndvr.pipeline.search.verify import Proposed, Verifier

_SEED = 20261126
_SECONDS, _FPS = 10, 2
KEYS_PER_VIDEO = 40
MOST_FLAT, MOST_MADE = 2_000_000, 10_000_000  # keys; float32 of the first are half a GB
CANDIDATES = 50
_PIXELS = 32 * 32  # of a frame that is compared


def film(seed: int, seconds: int = _SECONDS) -> np.ndarray:
    """Make features of a picture that a camera swings over: (T, 512) uint8."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    world = np.fft.ifft2(np.fft.fft2(rng.standard_normal((512, 512))) / np.maximum(frequency, 1 / 128)).real
    world = np.clip(128 + 55 * world / world.std(), 0, 255).astype(np.uint8)
    path = (200 + 60 * np.sin(np.arange(seconds * _FPS)[:, None] * rng.uniform(0.2, 0.6, 2))).astype(int)
    windows = np.stack([world[y : y + 128, x : x + 128] for y, x in path])
    return models.load("thumbprint").embed(windows)


def measure_votes(model: Model, n_keys: int, folder: Path, rounds: int) -> dict[str, float]:
    """Measure seconds of one query's votes in an index of `n_keys` keys."""
    import faiss

    segments = [_segment(folder, min(n_keys, MOST_MADE))] * max(1, n_keys // MOST_MADE)
    query = film(0)
    probes = {"whole": model.probes(query, whole=True), "boxes": model.probes(query)}
    steps: dict[str, Callable[[], Any]] = {
        f"{name}_votes": partial(candidates, mine, segments) for name, mine in probes.items()
    }
    if n_keys <= MOST_MADE:
        ten = [_segment(folder / f"part{number}", n_keys // 10) for number in range(10)]
        steps |= {f"{name}_votes_in_ten": partial(candidates, mine, ten) for name, mine in probes.items()}
    if n_keys <= MOST_FLAT:
        vectors = codes.decode(segments[0].coded.codes, segments[0].coded.factor)
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        for name, mine in probes.items():
            turned = codes.turned(mine.vectors)
            steps[f"{name}_flat_faiss"] = partial(flat.search, turned, NEIGHBOURS)
            steps[f"{name}_products"] = partial(_products, turned, vectors)
    seconds = _in_turns(steps, rounds)
    files = sum(path.stat().st_size for path in (folder / "segments").iterdir())
    return {
        "keys": n_keys,
        "bytes_per_key": files / min(n_keys, MOST_MADE),
        **{f"{k}_probes": len(v) for k, v in probes.items()},
    } | seconds


def _products(probes: np.ndarray, vectors: np.ndarray) -> None:
    for start in range(0, len(vectors), 1 << 14):
        probes @ vectors[start : start + (1 << 14)].T


def _segment(folder: Path, n_keys: int) -> Segment:
    """Write an index of noise and open it again; four boxes a picture, as thumbprint keeps them."""
    rng = np.random.default_rng(_SEED)
    boxes = np.array([[0, 0, w, h] for w in (1, 0.5) for h in (1, 0.5)], np.float32)
    videos, keys = [], []
    for number in range(n_keys // KEYS_PER_VIDEO):
        vectors = rng.standard_normal((KEYS_PER_VIDEO, 55), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        keys.append(
            coded(
                Keys(
                    vectors=vectors,
                    windows=np.arange(KEYS_PER_VIDEO, dtype=np.int32) // 4,
                    boxes=np.tile(boxes, (KEYS_PER_VIDEO // 4, 1)),
                    turns=np.zeros(KEYS_PER_VIDEO, np.int8),
                    novelty=np.ones(KEYS_PER_VIDEO, np.float32),
                )
            )
        )
        videos.append(IndexedVideo(video_id=f"{number}", content=f"{number}", windows=20, sha256=""))
    files = IndexFiles(str(folder))
    return Segment(files.store, files.write_segment(videos, joined(keys, [20] * len(keys)), level=0))


def measure_pairs(model: Model, folder: Path, rounds: int) -> dict[str, float]:
    """Measure milliseconds per candidate of the closer look and of its parts, and the bounds."""
    query, videos = film(0), {f"v{seed:02}": film(seed) for seed in range(1, CANDIDATES + 1)}
    opened = open_index(made_library(folder, videos))
    places = [
        Place(query_window=k, video_window=k, placement=(0.1 * p, 0.0, 0.8, 0.8), turn=0)
        for p in range(4)
        for k in (2, 9, 15)
    ]
    proposed = [Proposed(video=video, places=places) for video in opened.lookup(videos).values()]
    asked = Query(query_id="q", uri="", start_s=np.arange(len(query)) / _FPS, features=query)
    verifier, reader = Verifier(opened, false_per_million=200.0), FeatureReader(opened.library.store)
    own, theirs = model.signature(query), [model.signature(video) for video in videos.values()]
    pictures = np.random.default_rng(_SEED).standard_normal((2, len(query), _PIXELS), dtype=np.float32)
    steps = {
        "closer_look_ms": lambda: verifier.verify(asked, proposed),
        "read_ms": lambda: [reader.read(each.video.pieces) for each in proposed],
        "rough_look_ms": lambda: model.spot(query, list(videos.values()), [places] * len(videos)),
        "signatures_ms": lambda: [model.signature(video) for video in videos.values()],
        "compare_ms": lambda: model.similarities(own, theirs),
        "product_ms": lambda: [pictures[0] @ pictures[1].T for _ in videos],
    }
    measured = {name: 1e3 * seconds / CANDIDATES for name, seconds in _in_turns(steps, rounds).items()}
    left = len(verifier.spotted(asked, proposed, []))
    return measured | {"compared": left / CANDIDATES, "pairs_per_s": 1e3 / measured["closer_look_ms"]}


def made_library(folder: Path, videos: dict[str, np.ndarray]) -> Path:
    """Put features of made videos into a library at `folder`, beside what is there."""
    with tempfile.TemporaryDirectory(prefix="features-") as features:
        for name, each in videos.items():
            np.save(Path(features) / f"{name}.npy", each)
        import_features(features, folder, method="thumbprint", progress=False)
    return folder


def measure_index(folder: Path, n_videos: int) -> dict[str, float]:
    """Measure CPU seconds of building and of adding; seconds until an index answers, cold and warm."""
    videos = {f"v{seed:06}": film(seed) for seed in range(n_videos)}
    late = dict(list(videos.items())[-max(1, n_videos // 100) :])
    library = made_library(folder, {name: each for name, each in videos.items() if name not in late})
    measured: dict[str, float] = {"videos": n_videos, "added": len(late)}
    for step in ("build_s", "add_s", "again_s"):
        if step == "add_s":
            made_library(library, late)
        began = time.process_time()
        done = index(library, progress=False)
        measured[step] = time.process_time() - began
    opened = open_index(library)
    measured["sureness_s"] = _sureness_s(opened)
    probes = opened.model.probes(film(0), whole=True)
    for name in ("cold", "warm"):
        if name == "cold":
            _out_of_cache(opened.files.store.folder)
        began = time.perf_counter()
        segments = IndexFiles(opened.files.store).open(opened.snapshot)
        measured[f"open_{name}_s"] = time.perf_counter() - began
        candidates(probes, segments)
        measured[f"first_answer_{name}_s"] = time.perf_counter() - began
    return measured | {"keys": done.keys, "bytes_per_s": done.bytes / (n_videos * _SECONDS)}


def _sureness_s(opened: LibraryIndex) -> float:
    """Measure CPU seconds that the build spends on sureness, whatever the size of the library."""
    reader, began = FeatureReader(opened.library.store), time.process_time()
    for number, row in sampled(opened):
        unrelated(opened, reader, number, row)
    return time.process_time() - began


def _out_of_cache(folder: Path) -> None:
    """Ask the kernel to forget what the files hold; where it cannot, cold is warm."""
    for path in (path for path in folder.rglob("*") if path.is_file() and hasattr(os, "posix_fadvise")):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_sureness(library: Path) -> dict[str, Any]:
    """Measure rates per million, stated by one half of the videos and measured on the other."""
    opened = open_index(library)
    rows = [(number, row) for number, segment in enumerate(opened.segments) for row in segment.alive]
    reader, limits = FeatureReader(opened.library.store), opened.model.card.range
    fitted_on, held_out = (
        [score for number, row in half for score in unrelated(opened, reader, number, row)]
        for half in (rows[::2], rows[1::2])
    )
    sure = fit(fitted_on, videos=len(rows), limits=limits)
    false = np.array(held_out)[odds(np.array(held_out), limits) < LIMIT]  # others may be copies that nobody knows of
    rates = {}
    for rate in (100_000.0, 30_000.0, 10_000.0):
        rates[f"{rate:.0f}"] = 1e6 * float((false >= sure.score_at(rate, limits)).mean()) if len(false) else None
    return {"fitted": sure.fitted, "fitted_on": len(fitted_on), "held_out": len(false), "measured_per_million": rates}


_MANY, _LONG_S = 10_000, 100  # of a library that is deduplicated: videos, of so long
_MANY_KEYS, _SEGMENTS = 4_000_000, 4  # of it


def measure_dedupe(folder: Path, n_videos: int, n_queries: int) -> dict[str, float]:
    """CPU seconds a video of searching for videos of a library in it, by parts, and hours of two cores for _MANY."""
    videos = {f"v{seed:06}": film(seed, _LONG_S) for seed in range(n_videos)}
    library = made_library(folder, videos)
    index(library, progress=False)
    opened = open_index(library)
    ids = sorted(videos)[:: max(1, n_videos // n_queries)][:n_queries]
    queries = Queries(str(library), dict.fromkeys(ids, ""), dict.fromkeys(ids), opened.library)
    matcher, look_s = Matcher(opened, Wanted(mutual=True)), []
    crew = Here(opened, matcher.verifier)
    asked = list(queries.read(ids, opened))
    list(matcher.answers(asked[:1], crew))
    for query in asked:
        votes_s = _votes_s(query, opened.segments)
        began = time.process_time()
        list(matcher.answers([query], crew))
        look_s.append(time.process_time() - began - votes_s)
    many = [_segment(folder / "many", _MANY_KEYS // _SEGMENTS)] * _SEGMENTS
    votes = statistics.median(_votes_s(query, many) for query in asked[:10])
    each = votes + (look := statistics.median(look_s))
    keys = sum(map(len, opened.segments))
    return {"keys": keys, "votes_s": votes, "closer_look_s": look, "hours_of_two_cores": each * _MANY / 2 / 3600}


def _votes_s(query: Query, segments: Sequence[Segment]) -> float:
    """Measure CPU seconds of a query's probes and votes, where every video asks."""
    assert query.features is not None
    began = time.process_time()
    probes = models.load("thumbprint").probes(query.features)
    candidates(probes, segments, top=CANDIDATES, mutual=True)
    return time.process_time() - began


def measure_two_stage(folder: Path, n_videos: int, tops: Sequence[int]) -> dict[str, Any]:
    """Write, index and search; mAP of all of FIVR-200K's labels, exhaustive and by the first `tops` candidates."""
    annotations = write_made_up(folder / "annotations", videos=n_videos)
    collection = read_collection(annotations)
    job = Job(method="tca", fraction=1.0, frames=1, annotations=str(annotations), folder=str(folder))
    write_library(job.library, collection, collection.videos, setting=job.setting, n_windows=1)
    began = time.process_time()
    built = index(job.library, method=job.method, options=job.setting.options, progress=False)
    measured: dict[str, Any] = {"videos": n_videos, "keys": built.keys, "bytes": built.bytes}
    measured["index_s"] = time.process_time() - began
    opened = open_index(job.library, method=job.method, options=job.setting.options)
    entries = opened.library.entries(opened.config)
    ids, vectors = [], np.empty((n_videos, *opened.features.feature_shape[-1:]), np.float32)
    for row, (video_id, _, features) in enumerate(opened.library.read(entries.values())):
        ids.append(video_id)
        vectors[row] = features.reshape(-1)
    row_of = {video_id: row for row, video_id in enumerate(ids)}
    every: list[float] = []
    by_index: dict[int, list[float]] = {top: [] for top in tops}
    seconds: dict[str, list[float]] = {"candidates": [], "exhaustive": []}
    for query in collection.queries:
        began = time.process_time()
        scores = vectors @ vectors[row_of[query]]
        seconds["exhaustive"].append(time.process_time() - began)
        right = [row_of[v] for v, labels in collection.labels.items() if any(each == query for _, each in labels)]
        own, relevant = row_of[query], np.zeros(len(ids), bool)
        relevant[right] = True
        began = time.process_time()
        probes = opened.model.probes(vectors[own].reshape(1, *opened.features.feature_shape))
        found = candidates(probes, opened.segments, top=max(tops) + 1, plain=True)
        seconds["candidates"].append(time.process_time() - began)
        chosen = [row_of[opened.segments[c.segment].videos[c.row].video_id] for c in found]
        chosen = [row for row in chosen if row != own]
        every.append(_average_precision(scores, relevant, [row for row in range(len(ids)) if row != own]))
        for top in tops:
            by_index[top].append(_average_precision(scores, relevant, chosen[:top]))
    measured |= {f"{name}_s": statistics.median(each) for name, each in seconds.items()}
    return measured | {
        "map": float(np.nanmean(every)),
        "map_of": {top: float(np.nanmean(by_index[top])) for top in tops},
    }


def _average_precision(scores: np.ndarray, relevant: np.ndarray, ranked: Sequence[int]) -> float:
    """Rank some rows by their scores; the relevant ones that are not among them are never found. NaN: none is."""
    if not relevant.any():
        return float("nan")
    rows = np.array(ranked, np.int64)
    hits = relevant[rows[np.argsort(-scores[rows], kind="stable")]]
    wrong_before = np.cumsum(~hits)[hits]
    return average_precision(wrong_before, int(relevant.sum()))


def _in_turns(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Measure median CPU seconds of each step; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            began = time.process_time()
            step()
            times[name].append(time.process_time() - began)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON; default: benchmarks/results."
)


@click.group()
def main() -> None:
    """Measure a search and its parts; each command prints a line and writes JSON."""
    import faiss

    use_one_thread()
    faiss.omp_set_num_threads(1)


@main.command("votes")
@click.option("--keys", multiple=True, type=int, default=(10_000, 100_000, 1_000_000), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@out_option
def votes_command(keys: tuple[int, ...], rounds: int, out: Path | None) -> None:
    """Measure candidates for a query against ever more keys."""
    model, sizes = models.load("thumbprint"), []
    for n_keys in keys:
        with tempfile.TemporaryDirectory(prefix="search-") as folder:
            sizes.append(measure_votes(model, n_keys, Path(folder), rounds))
        each = sizes[-1]
        told = "; ".join(_votes_text(each, name) for name in ("whole", "boxes"))
        click.echo(f"{n_keys:,} keys of {each['bytes_per_key']:.0f} bytes: {told}")
    click.echo(record("search_votes", {"sizes": sizes}, out))


def _votes_text(each: dict[str, float], name: str) -> str:
    votes = each[f"{name}_votes"]
    text = f"{name} {each[f'{name}_probes']:,} probes {votes:.3f} s"
    if f"{name}_flat_faiss" in each:
        text += f" = {votes / each[f'{name}_flat_faiss']:.2f} x flat faiss, "
        text += f"{votes / each[f'{name}_products']:.1f} x the bare products"
    if f"{name}_votes_in_ten" in each:
        text += f", in ten segments {each[f'{name}_votes_in_ten'] / votes:.2f} times as long"
    return text


@main.command("index")
@click.option("--videos", default=1000, show_default=True, help=f"Of {_SECONDS} s.")
@out_option
def index_command(videos: int, out: Path | None) -> None:
    """Measure building, adding, opening, and bytes a second of video."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        each = measure_index(Path(folder) / "library", videos)
    click.echo(
        f"{videos:,} videos of {_SECONDS} s, {each['keys']:,} keys, {each['bytes_per_s']:.0f} bytes a second: built "
        f"in {each['build_s']:.2f} s, some {each['sureness_s']:.2f} of them for sureness; {each['added']:,} "
        f"more in {each['add_s']:.2f} s = {each['add_s'] / (each['build_s'] - each['sureness_s']):.1%} of the rest; "
        f"nothing to do: {each['again_s']:.3f} s; opened in "
        f"{1e3 * each['open_cold_s']:.0f} ms cold, {1e3 * each['open_warm_s']:.0f} warm, first answer after "
        f"{1e3 * each['first_answer_cold_s']:.0f} and {1e3 * each['first_answer_warm_s']:.0f} ms; "
        f"{record('search_index', each, out)}"
    )


@main.command("pairs")
@click.option("--rounds", default=5, show_default=True)
@out_option
def pairs_command(rounds: int, out: Path | None) -> None:
    """Measure the closer look at candidates."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        each = measure_pairs(models.load("thumbprint"), Path(folder) / "library", rounds)
    click.echo(
        f"{each['pairs_per_s']:.0f} candidates a second and core, {each['compared']:.0%} of them compared in full; a "
        f"candidate: read {each['read_ms']:.2f} ms, rough look {each['rough_look_ms']:.2f}, signature "
        f"{each['signatures_ms']:.1f}, comparison {each['compare_ms']:.1f}, one product of its frames "
        f"{each['product_ms']:.3f} ms; {record('search_pairs', each, out)}"
    )


@main.command("sureness")
@click.option("--library", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: made videos.")
@click.option("--videos", default=120, show_default=True, help="That are made.")
@out_option
def sureness_command(library: Path | None, videos: int, out: Path | None) -> None:
    """Measure how right the stated rate of false matches is."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        if library is None:
            library = made_library(Path(folder) / "library", {f"v{seed:06}": film(seed) for seed in range(videos)})
        index(library, progress=False)
        each = measure_sureness(library)
    told = ", ".join(
        f"{float(rate):,.0f} stated, {measured:,.0f} measured"
        for rate, measured in each["measured_per_million"].items()
    )
    click.echo(
        f"false matches per million, by {each['fitted_on']:,} pairs, on {each['held_out']:,} others: {told}; "
        f"{record('search_sureness', each, out)}"
    )


@main.command("dedupe")
@click.option("--videos", default=100, show_default=True, help=f"Of {_LONG_S} s.")
@click.option("--queries", default=12, show_default=True)
@out_option
def dedupe_command(videos: int, queries: int, out: Path | None) -> None:
    """Measure a search for videos of a library in itself."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        each = measure_dedupe(Path(folder) / "library", videos, queries)
    click.echo(
        f"a video of {_LONG_S} s: votes among {_MANY_KEYS:,} keys {each['votes_s']:.2f} s, closer looks among "
        f"{videos:,} videos {each['closer_look_s']:.2f} s of a core; {_MANY:,} videos would take "
        f"{each['hours_of_two_cores']:.1f} h of two cores; {record('search_dedupe', each | {'videos': videos}, out)}"
    )


@main.command("two-stage")
@click.option("--videos", default=VIDEOS, show_default=True)
@click.option("--candidates", "tops", multiple=True, type=int, default=(50, 200, 1000), show_default=True)
@out_option
def two_stage_command(videos: int, tops: tuple[int, ...], out: Path | None) -> None:
    """Measure what a ranking by the index loses against comparing all."""
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        each = measure_two_stage(Path(folder), videos, tops)
    told = ", ".join(f"{value:.4f} by {top:,} candidates" for top, value in each["map_of"].items())
    click.echo(
        f"{videos:,} videos, {each['bytes'] / 1e6:,.0f} MB of index in {each['index_s']:.0f} s: mAP {each['map']:.4f} "
        f"by comparing all ({1e3 * each['exhaustive_s']:.0f} ms a query), {told} "
        f"({1e3 * each['candidates_s']:.0f} ms); {record('search_two_stage', each, out)}"
    )


if __name__ == "__main__":
    main()
