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
from pathlib import Path
from typing import Any

import click

GOAL = 0.25
# A network of 20 windows a second on two cores would take minutes for all videos: it gets every fourth of them.
METHODS = {"thumbprint": 1, "s2vs": 4}
NAMES = ("seconds", "bytes", "windows")


def ndvr(*arguments: str | Path) -> dict[str, Any]:
    """What a command of `ndvr` says with --json, and `process_s`, the wall time of its process."""
    command = [sys.executable, "-m", "ndvr.pipeline.cli", *map(str, arguments), "--json", "--quiet"]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout) | {"process_s": time.monotonic() - began}


def one_round(videos: Path, folder: Path, method: str, seed: int) -> dict[str, Any]:
    """Plan and run; predicted, measured and relative error by name, and what the plan took."""
    from ndvr.models import card
    from ndvr.pipeline.estimate.trial_files import bytes_under

    library = folder / f"{method}-{seed}"
    settings = ["--method", method, *(["--weights", f"{method}=random"] if card(method).weights else [])]
    told = ndvr("plan", videos, *settings, "--seed", str(seed))
    found = ndvr("extract", videos, library, *settings)
    measured = {"seconds": found["seconds"], "bytes": bytes_under(library), "windows": found["windows"]}
    predicted = {"seconds": told["seconds"], "bytes": told["bytes"], "windows": sum(told["windows"].values())}
    return {
        "predicted": predicted,
        "measured": measured,
        "error": {name: predicted[name] / measured[name] - 1 for name in NAMES},
        "inside": {name: told["interval"][name][0] <= measured[name] <= told["interval"][name][1] for name in NAMES},
        "interval": told["interval"],
        "busy_s": told["busy_s"],
        "bound": told["bound"],
        "stage_share": found["stage_share"],
        "failures": {"predicted": told["failures"], "measured": sum(found["failed"].values())},
        "plan_s": told["plan_s"],
        "plan_process_s": told["process_s"],
        "extract_process_s": found["process_s"],
        "load_1min": os.getloadavg()[0],
    }


def every_nth(videos: Path, folder: Path, step: int) -> Path:
    """A list of every step-th video, or the folder itself."""
    from ndvr.operators.storage.manifest import read_manifest

    if step == 1:
        return videos
    chosen = list(read_manifest(videos).uris.items())[::step]
    path = folder / f"every-{step}.txt"
    path.write_text("".join(f"{video_id} {uri}\n" for video_id, uri in chosen), encoding="utf-8")
    return path


def table(rounds: dict[str, list[dict[str, Any]]]) -> str:
    """Median predicted, measured and error by method and name."""
    lines = [
        f"{'method':<12}{'':<9}{'predicted':>13}{'measured':>13}{'off':>7}   of each round; inside the 80 % interval"
    ]
    for method, found in rounds.items():
        for name in NAMES:
            told, measured = (statistics.median(one[of][name] for one in found) for of in ("predicted", "measured"))
            each = ", ".join(f"{one['error'][name]:+.0%}" for one in found)
            inside = sum(one["inside"][name] for one in found)
            off = statistics.median(one["error"][name] for one in found)
            lines.append(
                f"{method:<12}{name:<9}{told:>13,.0f}{measured:>13,.0f}{off:>+7.0%}   {each}; {inside} of {len(found)}"
            )
        took, whole = (statistics.median(one[name] for one in found) for name in ("plan_s", "extract_process_s"))
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
    from ndvr.benchmarks.speed.plan_videos import make_collection

    with tempfile.TemporaryDirectory(prefix="ndvr-") as name:
        folder = Path(name)
        source = Path(videos) if videos else make_collection(folder / "videos", count=count)
        found: dict[str, list[dict[str, Any]]] = {method: [] for method in methods or METHODS}
        for number in range(rounds):
            for method in found:
                given = every_nth(source, folder, METHODS[method])
                found[method].append(one_round(given, folder, method, number))
    medians = {
        method: {name: statistics.median(one["error"][name] for one in mine) for name in NAMES}
        for method, mine in found.items()
    }
    within = all(abs(error) <= GOAL for errors in medians.values() for error in errors.values())
    path = record("plan_accuracy", {"count": count, "median_error": medians, "within_25_%": within, "rounds": found})
    click.echo(f"{table(found)}\nall within {GOAL:.0%}: {'yes' if within else 'no'}; {path}")


if __name__ == "__main__":
    main()
