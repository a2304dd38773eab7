"""Damage one byte of any file of a library or a score folder, over and over: is it told, refused, or without effect?

python -m ndvr.benchmarks.chaos.flip --tries 400

After every flip `ndvr fsck`, `ndvr similarity` continuing SCORES, and reading SCORES are run. "told": fsck finds a
problem or a command refuses in a sentence; "no effect": digest and scores are the undisturbed ones, bit for bit (what
was damaged may have been computed again); "silent": neither. There must be none of those.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import click
import numpy as np

from ndvr.benchmarks.chaos.library_check import scores_in
from ndvr.benchmarks.record import record
from ndvr.operators.library.library import Library
from ndvr.operators.storage.store import Store
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.extraction.import_features import import_features
from ndvr.pipeline.upkeep.maintenance import fsck, gc

METHOD = "c3dhash"
# What a person may read and nothing computes with, or an export that other programs know.
_LEFT_OUT = ("locks", "work", "trash", "similarities.json")


def make(place: Path) -> None:
    """Make a library with everything in it that a library has, and SCORES of it."""
    rng = np.random.default_rng(0)
    for number in range(3):
        folder = place / f"features{number}"
        folder.mkdir(parents=True)
        for video in range(4):
            np.save(folder / f"v{number}{video}.npy", rng.standard_normal((1, 512)).astype(np.float32))
        import_features(folder, place / "library", method=METHOD, progress=False)
        if number < 2:
            gc(place / "library")
    _compare(place)


def _compare(place: Path) -> None:
    library = place / "library"
    similarity(library, library, place / "scores", method=METHOD, weights="random:1", workers=0, progress=False)


def files_of(place: Path) -> list[Path]:
    """List the files that are damaged, relative to `place`."""
    every = [path.relative_to(place) for top in ("library", "scores") for path in (place / top).rglob("*")]
    return sorted(path for path in every if (place / path).is_file() and not set(path.parts) & set(_LEFT_OUT))


def verdict(place: Path, digest: str, scores: dict[tuple[str, str], float]) -> str:
    """Say what became of a damaged library and its SCORES: "told", "no effect" or "silent"."""
    try:
        report = fsck(place / "library", progress=False)
        if not report.sound:
            return "told"
        read = scores_in(place / "scores")
        _compare(place)
        _ = Library(Store(place / "library")).ledger
    except (ValueError, FileNotFoundError):
        return "told"
    same = report.digest == digest and read == scores and scores_in(place / "scores") == scores
    return "no effect" if same else "silent"


def flip_bytes(tries: int, seed: int = 0) -> dict[str, Counter[str]]:
    """Damage one byte at a time in files drawn evenly by kind; verdicts by kind of file."""
    rng, verdicts = np.random.default_rng(seed), dict[str, Counter[str]]()
    with tempfile.TemporaryDirectory(prefix="flip-") as folder:
        place = Path(folder) / "whole"
        make(place)
        digest, scores = fsck(place / "library", progress=False).digest, scores_in(place / "scores")
        kinds: dict[str, list[Path]] = {}
        for path in files_of(place):
            kinds.setdefault("/".join(path.parts[:2]) if len(path.parts) > 2 else str(path), []).append(path)
        for number in range(tries):
            kind = sorted(kinds)[number % len(kinds)]
            path = kinds[kind][rng.integers(len(kinds[kind]))]
            damaged = Path(folder) / "damaged"
            shutil.copytree(place, damaged)
            data = bytearray((damaged / path).read_bytes())
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            (damaged / path).write_bytes(data)
            verdicts.setdefault(kind, Counter())[verdict(damaged, digest, scores)] += 1
            shutil.rmtree(damaged)
    return verdicts


@click.command()
@click.option("--tries", default=400, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the numbers as JSON.")
def main(tries: int, seed: int, out: Path | None) -> None:
    """Damage one byte of any file, over and over, and count what became of it."""
    verdicts = flip_bytes(tries, seed)
    columns = ("told", "no effect", "silent")
    click.echo(f"{'file':<36}" + "".join(f"{column:>12}" for column in columns))
    total: Counter[str] = sum(verdicts.values(), Counter())
    for kind, counts in [*verdicts.items(), ("all", total)]:
        click.echo(f"{kind:<36}" + "".join(f"{counts[column]:>12}" for column in columns))
    record("flip", {"tries": tries, "verdicts": {kind: dict(counts) for kind, counts in verdicts.items()}}, out)
    raise SystemExit(1 if total["silent"] else 0)


if __name__ == "__main__":
    main()
