"""How fast extraction is, against its slowest stage alone:

    python -m ndvr.benchmarks.speed.extraction --videos demo/videos [--repeat 8] [--method thumbprint]

Decode alone: as many decoders as cores over the same files, windows thrown away. Embed alone: the model over the
same windows from memory, all cores or a GPU. End to end: `extract` on a Ray that is already running, shards written.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import pyarrow as pa


def decode_alone(videos: list[str], setting) -> dict[str, float]:
    """Measure decoded frames/s and windows/s of the decode stage without Ray: the bound that extraction aims at."""
    from ndvr.operators.video.decode import Decode, Job

    jobs = {setting.method: Job(view=setting.view, config="")}
    queue = sorted(videos, key=os.path.getsize)

    def worker() -> tuple[int, int, float]:
        frames, windows, cpu_s = 0, 0, 0.0
        decode = Decode(jobs=jobs, run="")
        while queue:
            try:
                video = queue.pop()
            except IndexError:
                break
            table = pa.table({"video_id": [video], "uri": [video], "methods": [[setting.method]]})
            for rows in decode(table):
                for row in rows.select(["kind", "frames", "windows_count", "decode_s"]).to_pylist():
                    if row["kind"] == "end":
                        frames += row["frames"] or 0
                        windows += row["windows_count"]
                        cpu_s += row["decode_s"]
        decode.close()
        return frames, windows, cpu_s

    n_workers = os.cpu_count() or 1
    began = time.monotonic()
    with ThreadPoolExecutor(n_workers) as pool:
        per_worker = list(pool.map(lambda _: worker(), range(n_workers)))
    seconds = time.monotonic() - began
    frames, windows, _ = (sum(column) for column in zip(*per_worker))
    return {"seconds": seconds, "frames_per_s": frames / seconds, "windows_per_s": windows / seconds, "frames": frames}


def embed_alone(setting, windows: int) -> float:
    """Measure windows/s of the model on all cores, or on a GPU where there is one, in the batches extraction uses."""
    import torch

    from ndvr.operators.features.embed import Embed
    from ndvr.operators.rows import table

    model = setting.load("cuda" if torch.cuda.is_available() else "cpu", "embed")
    embed = Embed({setting.method: model})
    count = min(windows, 256)
    noise = np.random.default_rng(0).integers(0, 256, (count, *model.view.window_shape), np.uint8)
    piece = table([{"method": setting.method, "kind": "piece", "windows_count": count, "data": noise.tobytes()}])
    embed(piece)  # warm up
    began, rounds = time.monotonic(), 0
    while time.monotonic() - began < 5:
        embed(piece)
        rounds += 1
    return rounds * count / (time.monotonic() - began)


def end_to_end(videos: list[str], method: str, weights: str | None, folder: Path) -> dict[str, float]:
    """Measure `extract` of the same files into a new library."""
    from ndvr.pipeline.cluster import cluster
    from ndvr.pipeline.extraction.extract import extract

    cluster.join()
    manifest = folder / "videos.csv"
    with open(manifest, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "uri"])
        writer.writerows((f"{number:05d}", video) for number, video in enumerate(videos))
    library = folder / "library"
    began = time.monotonic()
    summary = extract(manifest, library, methods=(method,), weights={method: weights} if weights else None)
    seconds = time.monotonic() - began
    written = sum(file.stat().st_size for file in library.rglob("*.parquet"))
    return {
        "seconds": seconds,
        "frames_per_s": summary.frames / seconds,
        "windows_per_s": summary.windows / seconds,
        "windows": summary.windows,
        "bytes_per_window": written / max(1, summary.windows),
        "stage_share": summary.to_json()["stage_share"],
        "failed": sum(summary.failed.values()),
    }


@click.command()
@click.option("--videos", required=True, type=click.Path(exists=True, file_okay=False), help="As `ndvr demo` makes.")
@click.option("--repeat", default=8, show_default=True, help="Use every file so often, to outlast the start.")
@click.option("--method", default="thumbprint", show_default=True)
@click.option("--weights", help="Default: seeded random ones, which are as fast.")
def main(videos: str, repeat: int, method: str, weights: str | None) -> None:
    """Print one line and write JSON."""
    from ndvr.benchmarks.record import record
    from ndvr.operators.storage.manifest import read_manifest
    from ndvr.pipeline.settings import choose_one

    folder = Path(tempfile.mkdtemp(prefix="ndvr-"))
    try:
        files = list(read_manifest(videos).uris.values()) * repeat
        weights = weights or ("random" if choose_one(method).card.weights else None)
        setting = choose_one(method, weights)
        decode = decode_alone(files, setting)
        whole = end_to_end(files, method, weights, folder)
        embed = embed_alone(setting, int(whole["windows"]))
    finally:
        shutil.rmtree(folder)
    slowest = min(decode["windows_per_s"], embed)
    share = whole["windows_per_s"] / slowest
    results = {
        "method": method,
        "files": len(files),
        "decode_alone": decode,
        "embed_alone_windows_per_s": embed,
        "end_to_end": whole,
        "share_of_slowest_stage": share,
        # Both stages want the same cores when there is no GPU: what two cores could do at the very best.
        "share_of_cpu_bound": whole["windows_per_s"] * (1 / decode["windows_per_s"] + 1 / embed),
    }
    path = record("extraction_speed", results)
    click.echo(
        f"{method}, {len(files)} files: decode alone {decode['frames_per_s']:,.0f} frames/s "
        f"({decode['windows_per_s']:,.1f} windows/s), embed alone {embed:,.1f} windows/s, end to end "
        f"{whole['frames_per_s']:,.0f} frames/s ({whole['windows_per_s']:,.1f} windows/s) = {share:.0%} of the slowest "
        f"stage, {results['share_of_cpu_bound']:.0%} of what the cores could do for both; {path}"
    )


if __name__ == "__main__":
    main()
