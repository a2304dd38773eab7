"""How right `ndvr plan` is: a collection is planned, then really extracted, in turns on the same machine.

    python -m ndvr.benchmarks.speed.plan_accuracy [--videos FOLDER] [--count 200] [--rounds 3]

Every command runs in a process of its own, as a user runs it. Other programs that come or go between a plan and its
run make times wrong, so the median of the rounds counts; each round draws another sample.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import numpy as np

from ndvr.operators.media.encode import write_video

GOAL = 0.25
# A network of 20 windows a second on two cores would take minutes for all videos: it gets every fourth of them.
METHODS = {"thumbprint": 1, "s2vs": 4}
NAMES = ("seconds", "bytes", "windows")


def ndvr(*arguments: str | Path) -> dict[str, Any]:
    """Run a command of `ndvr`; return what it says with --json, and `process_s`, the wall time of its process."""
    command = [sys.executable, "-m", "ndvr.pipeline.cli", *map(str, arguments), "--json", "--quiet"]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout) | {"process_s": time.monotonic() - began}


def one_round(videos: Path, folder: Path, method: str, seed: int) -> dict[str, Any]:
    """Plan and run; predicted, measured and relative error by name, and what the plan took."""
    from ndvr.models import card
    from ndvr.pipeline.estimate.trial import bytes_under

    library = folder / f"{method}-{seed}"
    settings = ["--method", method, *(["--weights", f"{method}=random"] if card(method).weights else [])]
    plan = ndvr("plan", videos, *settings, "--seed", str(seed))
    summary = ndvr("extract", videos, library, *settings)
    measured = {"seconds": summary["seconds"], "bytes": bytes_under(library), "windows": summary["windows"]}
    predicted = {"seconds": plan["seconds"], "bytes": plan["bytes"], "windows": sum(plan["windows"].values())}
    return {
        "predicted": predicted,
        "measured": measured,
        "error": {name: predicted[name] / measured[name] - 1 for name in NAMES},
        "inside": {name: plan["interval"][name][0] <= measured[name] <= plan["interval"][name][1] for name in NAMES},
        "interval": plan["interval"],
        "busy_s": plan["busy_s"],
        "bound": plan["bound"],
        "stage_share": summary["stage_share"],
        "failures": {"predicted": plan["failures"], "measured": sum(summary["failed"].values())},
        "plan_s": plan["plan_s"],
        "plan_process_s": plan["process_s"],
        "extract_process_s": summary["process_s"],
        "load_1min": os.getloadavg()[0],
    }


def every_nth(videos: Path, folder: Path, step: int) -> Path:
    """List every step-th video, or the folder itself."""
    from ndvr.operators.storage.manifest import read_manifest

    if step == 1:
        return videos
    chosen = list(read_manifest(videos).uris.items())[::step]
    path = folder / f"every-{step}.txt"
    path.write_text("".join(f"{video_id} {uri}\n" for video_id, uri in chosen), encoding="utf-8")
    return path


def table(rounds: dict[str, list[dict[str, Any]]]) -> str:
    """Tabulate median predicted, measured and error by method and name."""
    lines = [
        f"{'method':<12}{'':<9}{'predicted':>13}{'measured':>13}{'off':>7}   of each round; inside the 80 % interval"
    ]
    for method, trials in rounds.items():
        for name in NAMES:
            predicted, measured = (
                statistics.median(trial[of][name] for trial in trials) for of in ("predicted", "measured")
            )
            errors = ", ".join(f"{trial['error'][name]:+.0%}" for trial in trials)
            inside = sum(trial["inside"][name] for trial in trials)
            off = statistics.median(trial["error"][name] for trial in trials)
            lines.append(
                f"{method:<12}{name:<9}{predicted:>13,.0f}{measured:>13,.0f}{off:>+7.0%}   {errors}; "
                f"{inside} of {len(trials)}"
            )
        took, whole = (statistics.median(trial[name] for trial in trials) for name in ("plan_s", "extract_process_s"))
        lines.append(f"{method:<12}the plan took {took:.1f} s, the extraction {whole:.1f} s: {took / whole:.0%}")
    return "\n".join(lines)


@click.command()
@click.option("--videos", type=click.Path(exists=True, file_okay=False), help="Folder; default: makes them.")
@click.option("--count", default=200, show_default=True, help="Videos to make.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--method", "methods", multiple=True, type=click.Choice(list(METHODS)), help="Default: all of these.")
def main(videos: str | None, count: int, rounds: int, methods: tuple[str, ...]) -> None:
    """Print a table and write JSON."""
    from ndvr.benchmarks.record import record

    with tempfile.TemporaryDirectory(prefix="ndvr-") as name:
        folder = Path(name)
        source = Path(videos) if videos else make_collection(folder / "videos", count=count)
        by_method: dict[str, list[dict[str, Any]]] = {method: [] for method in methods or METHODS}
        for number in range(rounds):
            for method in by_method:
                given = every_nth(source, folder, METHODS[method])
                by_method[method].append(one_round(given, folder, method, number))
    medians = {
        method: {name: statistics.median(trial["error"][name] for trial in trials) for name in NAMES}
        for method, trials in by_method.items()
    }
    within = all(abs(error) <= GOAL for errors in medians.values() for error in errors.values())
    path = record(
        "plan_accuracy", {"count": count, "median_error": medians, "within_25_%": within, "rounds": by_method}
    )
    click.echo(f"{table(by_method)}\nall within {GOAL:.0%}: {'yes' if within else 'no'}; {path}")


# Many short, varied videos are made quickly: a second or two is encoded, its packets repeated to the length wanted.
#
# make_collection(folder, count=200, seed=0)


SIZES = ((426, 240), (320, 240), (480, 270), (640, 360), (854, 480), (1280, 720))
RATES = (25, 30, 24, 12)
KINDS = (  # encoder, suffix, how common
    ("libx264", ".mp4", 5),
    ("libvpx-vp9", ".webm", 2),
    ("mpeg4", ".mp4", 1),
    ("libx265", ".mp4", 1),
)
ENCODED_S = 1.0


@dataclass(frozen=True)
class Job:
    """One video to be made."""

    path: Path
    codec: str
    size: tuple[int, int]
    fps: int
    duration_s: float
    crf: int
    coarse: int  # side of the blocks of noise in pixels: the smaller, the more bytes
    seed: int


def make_collection(
    folder: Path, *, count: int = 200, seed: int = 0, duration_s: tuple[float, float] = (3.0, 60.0)
) -> Path:
    """Write `count` videos, lengths spread evenly in their logarithm, and one of 50 that is no video."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    chances = np.array([weight for *_, weight in KINDS], float)
    jobs = []
    for number in range(count):
        codec, suffix, _ = KINDS[rng.choice(len(KINDS), p=chances / chances.sum())]
        job = Job(
            path=folder / f"{number:05d}{suffix}",
            codec=codec,
            size=SIZES[rng.integers(len(SIZES))],
            fps=RATES[rng.integers(len(RATES))],
            duration_s=float(np.exp(rng.uniform(*np.log(duration_s)))),
            crf=int(rng.integers(20, 36)),
            coarse=int(rng.choice([4, 8, 16])),
            seed=int(rng.integers(1 << 31)),
        )
        if number % 50 == 49:
            job.path.write_bytes(rng.bytes(5000))
        else:
            jobs.append(job)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for made in [pool.submit(_make, job) for job in jobs]:
            made.result()
    return folder


def _make(job: Job) -> None:
    seconds = min(ENCODED_S, job.duration_s)
    short = job.path.with_name(f".{job.path.name}.short{job.path.suffix}")
    options = {"b:v": f"{job.size[0] * job.size[1] * job.fps // 10}"} if job.codec == "mpeg4" else None
    write_video(
        short,
        _film(job, max(2, round(seconds * job.fps))),
        fps=job.fps,
        codec=job.codec,
        crf=job.crf,
        preset="ultrafast" if job.codec == "libx265" else "superfast",
        options=options,
    )
    try:
        _repeat(short, job.path, max(1, round(job.duration_s / seconds)), job.fps)
    finally:
        short.unlink()


def _film(job: Job, n_frames: int) -> Iterator[np.ndarray]:
    """Draw noise that slides, with a brighter block going the other way: (H, W, 3) uint8."""
    rng = np.random.default_rng(job.seed)
    width, height = job.size
    cells = rng.integers(0, 256, (-(-height // job.coarse), -(-(width + 4 * n_frames) // job.coarse), 3), np.uint8)
    wide = cells.repeat(job.coarse, axis=0).repeat(job.coarse, axis=1)
    for step in range(n_frames):
        frame = np.ascontiguousarray(wide[:height, 4 * step : 4 * step + width])
        left = (width - 80) * (n_frames - 1 - step) // n_frames
        frame[height // 3 : height // 2, left : left + 80] |= 128
        yield frame


def _repeat(source: Path, target: Path, times: int, fps: int) -> None:
    """Repeat the packets of `source` so many times."""
    with av.open(str(source)) as film, av.open(str(target), "w") as out:
        video = film.streams.video[0]
        stream = out.add_stream_from_template(video)
        packets = [packet for packet in film.demux(video) if packet.dts is not None]
        clock = video.time_base
        assert clock is not None
        length = round(Fraction(len(packets), fps) / clock)
        times_of = [(packet, packet.dts or 0, packet.pts or 0) for packet in packets]
        for lap in range(times):
            for packet, decoded, shown in times_of:
                packet.stream, packet.time_base = stream, clock
                packet.dts, packet.pts = decoded + lap * length, shown + lap * length
                out.mux(packet)


if __name__ == "__main__":
    main()
