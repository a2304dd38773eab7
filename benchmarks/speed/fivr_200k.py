"""What FIVR-200K costs from features to mAP: 100 queries, 225,960 videos, every stage measured, at growing shares.

    python -m ndvr.benchmarks.speed.fivr_200k --annotations ./annotations/fivr
    python -m ndvr.benchmarks.speed.fivr_200k --method s2vs --frames 10 --fractions 0.01,0.1

Writes synthetic features as a library, compares all queries with all videos, evaluates all tasks of the official
annotation (without --annotations, of a made-up one of the same numbers). All queries are kept in every share, and of
all other videos, right or wrong, the same part. Methods of one vector or code have one window a video; the others
--frames of them, and are projected from there to all pairs and to videos of 112 frames, FIVR-200K's mean.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ndvr.benchmarks.record import PlainCommand, record
from ndvr.benchmarks.speed.fivr_200k_data import LEDGER_BYTES, bytes_per_video, read_collection, write_made_up
from ndvr.benchmarks.speed.fivr_200k_stages import Job, command
from ndvr.benchmarks.speed.process_cost import measured

ROOM = 1.1  # of the disk space that is asked for, to what is expected
STAGES = ("write", "similarity", "evaluate")
_SCORE_BYTES = 8  # of a pair, at most about


def measure(
    *,
    annotations: Path,
    methods: Sequence[str],
    fractions: Sequence[float],
    frames: int,
    folder: Path,
    workers: int | None = None,
    keep: bool = False,
) -> dict[str, Any]:
    """Measure every method on every share, smallest first. ValueError before any work when the disk is too small."""
    collection = read_collection(annotations)
    n_queries, n_videos = len(collection.queries), len(collection.videos)
    shares = {fraction: len(collection.share(fraction)) for fraction in sorted(set(fractions))}
    where: dict[str, Any] = {"annotations": str(annotations), "frames": frames, "workers": workers}
    jobs = [
        Job(method=method, fraction=fraction, folder=str(folder / f"{method}-{fraction:g}"), **where)
        for method in dict.fromkeys(methods)
        for fraction in shares
    ]
    needs = [expected_bytes(job, n_videos=shares[job.fraction], n_queries=n_queries) for job in jobs]
    _check_disk(folder, sum(needs) if keep else max(needs))
    runs = []
    for job, need in zip(jobs, needs):
        click.echo(
            f"{job.method}: {shares[job.fraction]:,} of {n_videos:,} videos, windows of each: {job.windows}; "
            f"about {need / 1e9:.2f} GB in {job.folder}",
            err=True,
        )
        runs.append(run(job, all_pairs=n_queries * n_videos))
        if not keep:
            shutil.rmtree(job.folder)
    return {"queries": n_queries, "videos": n_videos, "runs": runs, "growth": growth(runs)}


def expected_bytes(job: Job, *, n_videos: int, n_queries: int) -> int:
    """Estimate what a job writes, at most about:
    features, their ledger, signatures of methods that keep one, scores.
    """
    of_video = bytes_per_video(job.setting, job.windows) * (3 if job.compact else 1) + LEDGER_BYTES
    return n_videos * (of_video + n_queries * _SCORE_BYTES)


def _check_disk(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need * ROOM > free:
        raise ValueError(
            f"this takes about {need * ROOM / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free: give "
            "another --folder, smaller --fractions or fewer --frames"
        )


def run(job: Job, *, all_pairs: int) -> dict[str, Any]:
    """Run the three stages of one job, in processes of their own."""
    stages = {name: _stage(name, job) for name in STAGES}
    if not stages["evaluate"]["complete"]:
        raise AssertionError(f"scores of {job.method} are not complete: these numbers cannot be used")
    result = {
        "method": job.method,
        "options": job.setting.options,
        "fraction": job.fraction,
        "windows": job.windows,
        "videos": stages["write"]["videos"],
        "pairs": stages["similarity"]["pairs"],
        "stages": stages,
    }
    return result if job.compact else result | {"projection": _projection(job, stages["similarity"], all_pairs)}


def _stage(name: str, job: Job) -> dict[str, Any]:
    printed, cost = measured(command(name, job))
    return json.loads(printed.splitlines()[-1]) | {"cost": cost.to_json()}


def _projection(job: Job, done: dict[str, Any], all_pairs: int) -> dict[str, float]:
    """Of a method that compares frames: hours of all pairs, of videos as measured, and of videos of mean length by the
    ratio of what a pair of either takes in memory.
    """
    cost = _stage("pair_cost", job)
    hours = done["compute_s"] / done["pairs"] * all_pairs / 3600
    longer = cost["mean_length_pair_s"] / cost["pair_s"]
    at_mean_length = {"mean_frames": cost["mean_frames"], "hours_at_mean_frames": hours * longer}
    return {"hours": hours, "times_a_pair": longer} | at_mean_length


def growth(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compute, from each share of a method to the next, the exponent e of work,
    CPU time and memory as (number of videos)^e.
    """
    steps = []
    for before, after in zip(runs, runs[1:]):
        if before["method"] == after["method"]:
            times = math.log(after["videos"] / before["videos"])
            exponents = {stage: _exponents(before["stages"][stage], after["stages"][stage], times) for stage in STAGES}
            steps.append({"method": after["method"], "from": before["fraction"], "to": after["fraction"]} | exponents)
    return steps


def _exponents(before: dict[str, Any], after: dict[str, Any], times: float) -> dict[str, float]:
    def of(stage: dict[str, Any]) -> dict[str, float]:
        return {key: max(stage["cost"].get(key, stage.get(key)), 0.01) for key in ("work_s", "cpu_s", "private_mb")}

    less, more = of(before), of(after)
    return {key: math.log(more[key] / less[key]) / times for key in less}


def _numbers(_context: click.Context, _option: click.Parameter, text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r}; give numbers above 0, at most 1, such as 0.01,0.1,1") from None


@click.command("fivr-200k", cls=PlainCommand, help=(__doc__ or "").partition("\n\n")[0])
@click.option("--annotations", type=click.Path(path_type=Path), help="Folder of FIVR-200K's files [default: made up].")
@click.option("--method", "methods", multiple=True, default=("c3dhash", "tca"), show_default=True)
@click.option("--fractions", default="0.01,0.1,1", show_default=True, callback=_numbers, help="Shares of the videos.")
@click.option("--frames", default=10, show_default=True, type=click.IntRange(min=1), help="Of a video.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Where to write [default: temporary].")
@click.option("--workers", type=int, help="Of the comparison; 0: without Ray [default: all cores].")
@click.option("--keep", is_flag=True, help="Leave libraries and scores there.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON [default: benchmarks/results/].")
def main(
    annotations: Path | None, folder: Path | None, fractions: list[float], out: Path | None, keep: bool, **settings: Any
) -> None:
    """Print a table, and write JSON."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="fivr-200k-", dir=folder))
    try:
        labels = annotations or write_made_up(place / "annotation")
        results = measure(annotations=labels, fractions=fractions, folder=place, keep=keep, **settings)
    finally:
        if not keep:
            shutil.rmtree(place)
    results |= {"annotation": "as given" if annotations else "made up, of FIVR-200K's numbers"}
    path = record("fivr_200k_size", results, out)
    click.echo(f"{table(results)}\n{path}")


# The text: a line for every stage, how the cost grows, projections, and the mAP of noise.


# Heading -> what stands below it, of a run and one of its stages.
_COLUMNS: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
    "s": lambda _, stage: f"{stage['cost']['wall_s']:.1f}",
    "of work": lambda _, stage: f"{stage['work_s']:.1f}",
    "CPU s": lambda _, stage: f"{stage['cost']['cpu_s']:.1f}",
    "MB": lambda _, stage: f"{stage['cost']['private_mb']:,.0f}",
    "MB shared": lambda _, stage: f"{stage['cost']['shared_mb']:,.0f}",
    "MB read": lambda _, stage: f"{stage['cost']['read_bytes'] / 1e6:,.0f}",
    "MB on disk": lambda _, stage: f"{stage['bytes'] / 1e6:,.0f}",
    "videos/s": lambda run, stage: f"{run['videos'] / stage['work_s']:,.0f}",
    "pairs/s": lambda run, stage: f"{stage['pairs'] / stage['work_s']:,.0f}" if "pairs" in stage else "",
}


def table(results: dict[str, Any]) -> str:
    """Lines of plain text. `found` is what ndvr.benchmarks.speed.fivr_200k.measure returns, and the annotation used."""
    lines = [
        f"{results['queries']:,} queries, {results['videos']:,} videos; annotation {results['annotation']}",
        "s: from start to end of a process; of work: without its imports, of similarity with Ray's start; MB: private "
        "memory of all processes at its peak",
        "",
    ]
    for run in results["runs"]:
        frames = "a window each" if run["windows"] == 1 else f"{run['windows']} windows each"
        rows = [(name, *(cell(run, stage) for cell in _COLUMNS.values())) for name, stage in run["stages"].items()]
        lines += [
            f"{run['method']} at {run['fraction']:.4g}: {run['videos']:,} videos of {frames}, {run['pairs']:,} pairs",
            *_aligned([("", *_COLUMNS), *rows]),
            *([_projected(run)] if "projection" in run else []),
            "",
        ]
    lines += [_growth(step) for step in results["growth"]]
    lines.append("Synthetic features, seeded weights: these numbers say nothing about the methods.")
    return "\n".join([*lines, *map(_map, results["runs"])])


def _growth(step: dict[str, Any]) -> str:
    def sentence(stage: str) -> str:
        of = step[stage]
        return f"{stage} work n^{of['work_s']:.2f}, CPU n^{of['cpu_s']:.2f}, MB n^{of['private_mb']:.2f}"

    stages = "; ".join(map(sentence, ("write", "similarity", "evaluate")))
    return f"{step['method']} from {step['from']:.4g} to {step['to']:.4g}: {stages}"


def _projected(run: dict[str, Any]) -> str:
    projection = run["projection"]
    return (
        f"  PROJECTED: all pairs at {run['windows']} frames {projection['hours']:.1f} h; "
        f"at {projection['mean_frames']} frames, where a pair takes {projection['times_a_pair']:.0f} times as long, "
        f"{projection['hours_at_mean_frames']:.0f} h"
    )


def _map(run: dict[str, Any]) -> str:
    tasks = run["stages"]["evaluate"]["tasks"]
    maps = ", ".join(f"{name} {_number(task['map'])} of {task['queries']} queries" for name, task in tasks.items())
    return f"  mAP, {run['method']} at {run['fraction']:.4g}: {maps}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns to the right, but for the first."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


if __name__ == "__main__":
    main()
