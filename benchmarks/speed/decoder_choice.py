"""Which decoder for which file?   python -m ndvr.benchmarks.speed.decoder_choice FOLDER

Cuts every file below FOLDER into 1 frame/s windows with PyAV and with decord, each in a child that can be killed, and
compares: the same pictures, other ones, a failure, and CPU seconds.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

SAME_LEVELS = 2.0  # mean grey levels between two windows that show the same frame: the two FFmpegs scale alike


def windows_of(decode, path: Path) -> tuple[dict, np.ndarray]:
    """Decode a file: its end row and all windows."""
    rows = [
        row
        for table in decode(pa.table({"video_id": ["v"], "uri": [str(path)], "methods": [["m"]]}))
        for row in table.to_pylist()
    ]
    pieces = [np.frombuffer(row["data"], np.uint8) for row in rows if row["kind"] == "piece"]
    flat = np.concatenate([*pieces, np.zeros(0, np.uint8)])
    return rows[-1], flat.reshape(-1, 224, 224, 3)


def verdict(ends: dict[str, dict], windows: dict[str, np.ndarray]) -> str:
    """Return what decord did where PyAV got pictures."""
    if ends["decord"]["status"] != "done":
        return f"decord fails ({ends['decord']['error_class'] or ends['decord']['status']})"
    a, b = windows["pyav"].astype(np.int16), windows["decord"].astype(np.int16)
    if len(a) != len(b):
        return "another number of windows"
    return "same" if all(np.abs(x - y).mean() <= SAME_LEVELS for x, y in zip(a, b)) else "other pictures"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Print a table and write JSON."""
    from ndvr.benchmarks.record import record
    from ndvr.models.card import Frames
    from ndvr.operators.storage.manifest import read_manifest
    from ndvr.operators.video.decode import Decode, Job, Limits

    jobs, limits = {"m": Job(view=Frames(), config="")}, Limits(stall_s=20, total_s=120)
    decoders = {name: Decode(jobs=jobs, run="", decoder=name, limits=limits) for name in ("pyav", "decord")}
    counts: Counter[str] = Counter()
    cpu_s = dict.fromkeys(decoders, 0.0)
    by_file = {}
    for video_id, uri in read_manifest(folder).uris.items():
        decoded = {name: windows_of(decode, Path(uri)) for name, decode in decoders.items()}
        ends = {name: end for name, (end, _) in decoded.items()}
        if ends["pyav"]["status"] != "done":
            counts["neither" if ends["decord"]["status"] != "done" else "only decord"] += 1
            continue
        outcome = verdict(ends, {name: windows for name, (_, windows) in decoded.items()})
        counts[outcome] += 1
        by_file[video_id] = outcome
        if outcome == "same":
            for name, end in ends.items():
                cpu_s[name] += end["decode_s"]
    for decode in decoders.values():
        decode.close()
    ratio = cpu_s["decord"] / max(cpu_s["pyav"], 1e-9)
    path = record("decoder_choice", {"counts": dict(counts), "cpu_s_where_same": cpu_s, "files": by_file})
    for outcome, count in counts.most_common():
        click.echo(f"{count:5d}  {outcome}")
    click.echo(f"CPU time where they agree: decord needs {ratio:.2f} times PyAV's; {path}")


if __name__ == "__main__":
    main()
