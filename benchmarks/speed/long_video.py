"""Does memory depend on the length of a video?   python -m ndvr.benchmarks.speed.long_video [--hours 3]

Extracts a three-hour video and, apart from it, as many hours of three-minute videos, and compares the peak memory of
all processes of the run: private memory of the driver, Ray's workers and the decoders, and shared memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np

FPS = 5


def make_video(path: Path, seconds: int) -> None:
    """Make a moving gradient, 320 x 240; content does not matter here, the number of windows does."""
    from ndvr.operators.media.encode import write_video

    y, x = np.mgrid[0:240, 0:320]
    pictures = (((x + y + 3 * k) % 256).astype(np.uint8)[..., None].repeat(3, 2) for k in range(64))
    cycle = list(pictures)
    write_video(path, (cycle[k % 64] for k in range(seconds * FPS)), fps=FPS, preset="ultrafast")


def descendants(root: int) -> list[int]:
    """List the process ids of a process and all its children's children, from /proc."""
    parent_of = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parent_of[int(entry)] = int(fields[1])
    pids = [root]
    for pid in pids:
        pids += [child for child, parent in parent_of.items() if parent == pid]
    return pids


def private_mb(pids: list[int]) -> float:
    """Sum resident memory that is not shared."""
    pages = 0
    for pid in pids:
        try:
            _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
        except OSError:
            continue
        pages += resident - shared
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_of(videos: Path, method: str, folder: Path) -> dict[str, float]:
    """Extract in a process of its own and watch it."""
    code = (
        "import sys\nfrom ndvr.pipeline.extraction.extract import extract\n"
        "method = sys.argv[3]\nweights = {method: 'random'} if sys.argv[4] else None\n"
        "s = extract(sys.argv[1], sys.argv[2], methods=[method], weights=weights, progress=False)\n"
        "assert not s.failed, s.failed\nprint(s.windows)\n"
    )
    from ndvr import models

    untrained = "random" if models.card(method).weights else ""
    began = time.monotonic()
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(videos), str(folder), method, untrained], stdout=subprocess.PIPE, text=True
    )
    peak = {"private_mb": 0.0, "shared_mb": 0.0}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.3):
            peak["private_mb"] = max(peak["private_mb"], private_mb(descendants(run.pid)))
            peak["shared_mb"] = max(peak["shared_mb"], shutil.disk_usage("/dev/shm").used / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    windows, _ = run.communicate()
    stop.set()
    watcher.join()
    if run.returncode:
        raise RuntimeError(f"extraction of {videos} ended with exit code {run.returncode}")
    return peak | {"seconds": time.monotonic() - began, "windows": int(windows)}


@click.command()
@click.option("--hours", default=3.0, show_default=True)
@click.option("--method", default="thumbprint", show_default=True)
def main(hours: float, method: str) -> None:
    """Print one line and write JSON."""
    from ndvr.benchmarks.record import record

    root = Path(tempfile.mkdtemp(prefix="ndvr-"))
    try:
        (root / "short").mkdir()
        make_video(root / "long.mp4", int(hours * 3600))
        make_video(root / "short" / "0.mp4", 180)
        for number in range(1, round(hours * 20)):
            shutil.copy(root / "short" / "0.mp4", root / "short" / f"{number}.mp4")
        short = peak_of(root / "short", method, root / "library-short")
        long = peak_of(root / "long.mp4", method, root / "library-long")
    finally:
        shutil.rmtree(root)
    more_mb = sum(long[key] - short[key] for key in ("private_mb", "shared_mb"))
    path = record("long_video", {"method": method, "hours": hours, "short": short, "long": long, "more_mb": more_mb})
    click.echo(
        f"{method}: one video of {hours:g} h peaks at {long['private_mb']:,.0f} MB private + "
        f"{long['shared_mb']:,.0f} MB shared, the same hours in 3-minute videos at "
        f"{short['private_mb']:,.0f} + {short['shared_mb']:,.0f}: "
        f"{more_mb:+,.0f} MB; {path}"
    )


if __name__ == "__main__":
    main()
