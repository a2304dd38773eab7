"""What decoding for several methods at once costs, against the most demanding of them alone:

    python -m ndvr.benchmarks.speed.one_pass [--videos FOLDER] [--rounds 7]

CPU seconds of one decoding process, from opening a file to the last window, for each method alone and for all of them
in one pass; in turns, the least of the rounds, which other work on the machine has disturbed the least. Torch is
imported before.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np

METHODS = ("s2vs", "tca", "csl3d", "c3dhash", "ausil")


def decode_s(videos: list[str], methods: tuple[str, ...]) -> float:
    """Measure CPU seconds of cutting all windows of the methods out of the videos."""
    from ndvr.models import card
    from ndvr.operators.video.windows import cut

    views = {method: card(method).view for method in methods}
    began = time.process_time()
    for video in videos:
        for _ in cut(video, views):
            pass
    return time.process_time() - began


def make_videos(folder: Path, *, count: int, seconds: int) -> list[str]:
    """Make moving noise with sound, 1280 x 720 at 25 frames a second, H.264 and AAC."""
    from ndvr.operators.media.encode import tone, write_video

    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        wide = rng.integers(0, 256, (90, 200 + seconds * 25 // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        frames = (np.ascontiguousarray(wide[:, step : step + 1280]) for step in range(seconds * 25))
        write_video(folder / f"{number}.mp4", frames, fps=25, audio=tone(float(seconds), hz=220.0 * (number + 1)))
        made.append(str(folder / f"{number}.mp4"))
    return made


def measure(videos: list[str], *, rounds: int) -> dict[str, float]:
    """Measure CPU seconds by method and for "all", and `ratio` of all to the longest."""
    from ndvr.models import card
    from ndvr.operators.video.windows import use_one_core

    use_one_core(card(method).view for method in METHODS)  # imports torch, so that no round pays for it
    turns = [(method,) for method in METHODS] + [METHODS]
    times_by_turn: dict[tuple[str, ...], list[float]] = {turn: [] for turn in turns}
    for _ in range(rounds):
        for turn in turns:
            times_by_turn[turn].append(decode_s(videos, turn))
    seconds = {turn[0] if len(turn) == 1 else "all": min(times) for turn, times in times_by_turn.items()}
    return seconds | {"ratio": seconds["all"] / max(seconds[method] for method in METHODS)}


@click.command()
@click.option("--videos", type=click.Path(exists=True, file_okay=False), help="Folder; default: makes 2 of 40 s.")
@click.option("--rounds", default=7, show_default=True)
def main(videos: str | None, rounds: int) -> None:
    """Print one line and write JSON."""
    from ndvr.benchmarks.record import record
    from ndvr.operators.storage.manifest import read_manifest

    with tempfile.TemporaryDirectory(prefix="ndvr-") as folder:
        files = list(read_manifest(videos).uris.values()) if videos else make_videos(Path(folder), count=2, seconds=40)
        results = measure(files, rounds=rounds)
    path = record("one_pass", {"videos": len(files), "methods": METHODS, **results})
    alone = ", ".join(f"{method} {results[method]:.2f}" for method in METHODS)
    click.echo(f"CPU s: {alone}; all in one pass {results['all']:.2f} = {results['ratio']:.2f} x the longest; {path}")


if __name__ == "__main__":
    main()
