"""A small collection to disturb: clips of several codecs and lengths, one long video, broken files.

make_collection(folder, clips=24, long_s=900)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ray.cluster_utils import Cluster

from ndvr.operators.media.encode import write_video

_KINDS = ((".mp4", "libx264"), (".mkv", "mpeg4"), (".webm", "libvpx"), (".avi", "mjpeg"), (".mpg", "mpeg2video"))
_FPS = 25
# One window a frame: the most windows for the least decoding. 512 thumbprint windows are a piece.
_LONG_FPS = 2


def make_collection(
    folder: Path, *, clips: int = 24, long_s: float = 900.0, size: tuple[int, int] = (320, 240)
) -> Path:
    """Make a folder of clips of 1 to 4 s, a long video of several pieces, and four broken files:
    always the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(clips):
        suffix, codec = _KINDS[number % len(_KINDS)]
        length_s = 1 + (number * 7 % 13) / 4
        write_video(
            folder / f"clip_{number:02d}{suffix}",
            _frames(number, round(length_s * _FPS), size),
            fps=_FPS,
            codec=codec,
            preset="ultrafast",
        )
    if long_s:
        write_video(folder / "long.mkv", _frames(clips, round(long_s * _LONG_FPS), size), fps=_LONG_FPS, codec="mpeg4")
    whole = (folder / "clip_00.mp4").read_bytes()
    (folder / "broken_cut.mp4").write_bytes(whole[: len(whole) // 2])  # its index was at the end
    (folder / "broken_page.mp4").write_text("<html>404 Not Found</html>\n")
    (folder / "broken_empty.mkv").touch()
    (folder / "broken_noise.avi").write_bytes(np.random.default_rng(0).bytes(20_000))
    return folder


def _frames(seed: int, count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Smooth colours that drift, with a bright square that wanders: (height, width, 3) uint8."""
    generator = np.random.default_rng(seed)
    width, height = size
    coarse = generator.integers(0, 200, (6, 8, 3)).astype(np.uint8)
    picture = np.kron(coarse, np.ones((height // 6 + 1, width // 8 + 1, 1), np.uint8))[:height, :width]
    speed_y, speed_x, square_y, square_x = generator.integers(1, 5, 4).tolist()
    for number in range(count):
        frame = np.roll(picture, (number * speed_y, number * speed_x), (0, 1))
        top, left = number * square_y % (height - 40), number * square_x % (width - 40)
        frame[top : top + 40, left : left + 40] = 255
        yield frame


# Prints the address to join. Runs until it is ended. Only tests need it: `ray start` is how users make clusters.


_NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 256 << 20, "include_dashboard": False}


def main(workers: int) -> None:
    """Start one head and `workers` more nodes of one CPU each, so that actors live on all of them."""
    cluster = Cluster(initialize_head=True, head_node_args=_NODE)
    _fill(cluster, workers)
    print(cluster.address, flush=True)
    while True:
        for node in list(cluster.worker_nodes):
            if node.dead_processes():
                cluster.remove_node(node, allow_graceful=False)
        _fill(cluster, workers)
        time.sleep(0.2)


def _fill(cluster: Cluster, workers: int) -> None:
    for _ in range(workers - len(cluster.worker_nodes)):
        try:
            cluster.add_node(wait=False, **_NODE)
        except Exception as error:  # Ray's own words for a node that was killed while it started
            print(error, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
