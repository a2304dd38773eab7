"""Damage one byte of any file that ndvr keeps, over and over: is it told, refused, or without effect?

python -m ndvr.benchmarks.chaos.flip --tries 400

Damaged are libraries with all that lies in and beside them (decisions of people, an index, what says which commits of a
writer count that was taken over), SCORES, PAIRS, MATCHES of a search, and OUT of a training. After every flip all that
reads the file is run: `ndvr fsck`, similarity and dedupe that continue, index and search, a training that is resumed,
and what reads scores, pairs, matches and trained weights.
"told": fsck finds a problem or a command refuses in a sentence; "no effect": everything is the undisturbed one, bit for
bit (what was damaged may have been computed again); "silent": neither. There must be none of those.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from ndvr.benchmarks.chaos.library_check import scores_in
from ndvr.benchmarks.record import record
from ndvr.models import load
from ndvr.operators.library.decisions import Decision, DecisionLog, decisions_of
from ndvr.operators.library.fencing import lease_of, revoke
from ndvr.operators.library.lease import Lease
from ndvr.operators.library.library import Library
from ndvr.operators.storage.store import Store
from ndvr.pipeline.comparison.dedupe import dedupe
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.extraction.import_features import import_features
from ndvr.pipeline.review.found import read_found
from ndvr.pipeline.search.build import update
from ndvr.pipeline.search.library_index import open_index
from ndvr.pipeline.search.out_folder import read_answers
from ndvr.pipeline.search.search import search_index
from ndvr.pipeline.training.train import train
from ndvr.pipeline.upkeep.maintenance import fsck, gc

_HASHED: dict[str, Any] = {"method": "c3dhash", "weights": "random:1", "workers": 0, "progress": False}
# What a person may read and nothing computes with, or an export that other programs know.
_LEFT_OUT = ("work", "trash", "similarities.json")


# --- What is damaged -------------------------------------------------------------------------------------------------


def make(place: Path) -> None:
    """Make everything that ndvr keeps: one library that is compared, and one that is searched."""
    for number in range(3):
        _import(place, "compared", number)
        if number < 2:
            gc(place / "compared")
        _import(place, "searched", number)
    _compare(place)
    _take_over(Store(place / "searched"))
    a, b, c = (f"id:{name}" for name in ("v00", "v01", "v10"))
    log = DecisionLog(Store(place / "searched"))
    log.append([Decision.now(verdict="different", a_content=a, b_content=b, a_id="v00", b_id="v01", who="somebody")])
    log.append([Decision.now(verdict="same", a_content=b, b_content=c, a_id="v01", b_id="v10", who="somebody")])
    _search(place)
    _train(place)


def _import(place: Path, library: str, number: int) -> None:
    """Import some videos more."""
    folder = place.parent / f"{library}-features{number}"
    folder.mkdir(parents=True)
    for video in range(4 if library == "compared" else 2):
        rng = np.random.default_rng(4 * number + video)
        values = rng.standard_normal((1, 512)).astype(np.float32)
        if library == "searched":
            values = rng.integers(0, 256, (8, 512)).astype(np.uint8)
            values[:, :5] = (0, 128, 0, 128, 150)  # a picture without borders, of much contrast
        np.save(folder / f"v{number}{video}.npy", values)
    method = "c3dhash" if library == "compared" else "thumbprint"
    import_features(folder, place / library, method=method, progress=False)


def _take_over(store: Store) -> None:
    """Let the writer of the first commit have been taken over, as if it had slept after its work was done."""
    lease = lease_of(store.names("commits")[0])
    assert lease is not None
    revoke(store, lease, by="a benchmark", because="had slept")
    with Lease(store, "a benchmark"):
        pass


def _compare(place: Path) -> None:
    library = place / "compared"
    similarity(library, library, place / "scores", **_HASHED)
    dedupe(library, place / "pairs", top_k=3, **_HASHED)


def _search(place: Path) -> Any:
    opened = open_index(place / "searched")
    update(opened, progress=False)
    settings: dict[str, Any] = {"false_per_million": 1e6, "exhaustive": True}
    search_index(opened.now(), str(place / "searched"), out=place / "matches", **settings)
    answers = search_index(opened.now(), str(place / "searched"), **settings).answers
    return [replace(answer, seconds=0.0) for answer in answers]


def _train(place: Path, **settings: Any) -> Any:
    """Train on what is compared: every third video shows the same."""
    related = place.parent / "related.txt"
    related.write_text("".join(f"v{number}{video} {video % 3}\n" for number in range(3) for video in range(4)))
    few: dict[str, Any] = {
        "related": related,
        "steps": 4,
        "every": 2,
        "settings": {"batch": "6", "margin": "4"},
        "options": {"bits": "16"},
    }
    return train("c3dhash", place / "compared", place / "trained", progress=False, **few, **settings)


def files_of(place: Path) -> list[Path]:
    """List the files that are damaged, relative to `place`."""
    every = (path.relative_to(place) for path in place.rglob("*") if path.is_file())
    return sorted(path for path in every if not set(path.parts) & set(_LEFT_OUT) and (place / path).stat().st_size)


def kind_of(path: Path) -> str:
    """Name the kind of a file: its folder, or its name where it is the only one there."""
    folders = [part for part in path.parts[:-1] if not part.startswith(("thumbprint-", "c3dhash-"))]
    many = len(folders) > 1 or folders[0] in ("scores", "matches")
    return "/".join(folders) + f"/*{path.suffix}" if many else "/".join((*folders, path.name))


# --- What becomes of it ----------------------------------------------------------------------------------------------


def compared(place: Path) -> list[Any]:
    """Return everything about what was compared:
    what is there, what it is after the commands went on, and the digest.
    """
    before = [*_sound(place / "compared"), _of_scores(place)]
    _compare(place)
    return [*before, _of_scores(place)]


def _of_scores(place: Path) -> list[Any]:
    return [scores_in(place / "scores"), [pair.to_json() for pair in read_found(place / "pairs").pairs]]


def searched(place: Path) -> list[Any]:
    """Return everything about what was searched: answers that were kept, answers now, decisions, and the digest."""
    kept = read_answers(place / "matches")
    decisions = decisions_of(str(place / "searched")).to_json()
    return [*_sound(place / "searched"), kept, decisions, _search(place), read_answers(place / "matches")]


def trained(place: Path) -> list[Any]:
    """Return everything about a training:
    what its weights compute and say of themselves, and its curve once resumed.
    """
    model = load("c3dhash", place / "trained", parts=("similarity",))
    known = np.random.default_rng(0).standard_normal((1, 512)).astype(np.float32)
    done = replace(_train(place, resume=True), seconds=0.0)
    return [model.signature(known).tolist(), model.training, done, (place / "trained" / "curve.jsonl").read_text()]


def _sound(library: Path) -> list[str]:
    report = fsck(library, progress=False)
    if not report.sound:
        raise ValueError(report.problems[0])
    return [report.digest, str(Library(library).ledger.num_rows)]


_READERS = {"searched": searched, "matches": searched, "trained": trained}


def verdict(place: Path, read: Callable[[Path], list[Any]], expected: list[Any]) -> str:
    """Say what became of what was damaged: "told", "no effect" or "silent"."""
    try:
        return "no effect" if read(place) == expected else "silent"
    except (ValueError, FileNotFoundError):
        return "told"


def flip_bytes(tries: int, seed: int = 0, *, progress: bool = False) -> dict[str, Counter[str]]:
    """Damage one byte at a time in files drawn evenly by kind; verdicts by kind of file."""
    rng, verdicts = np.random.default_rng(seed), dict[str, Counter[str]]()
    with tempfile.TemporaryDirectory(prefix="flip-") as folder:
        place, whole = Path(folder) / "place", Path(folder) / "whole"
        make(place)
        expected = {read: (read(place), read(place))[1] for read in (compared, searched, trained)}
        shutil.copytree(place, whole)
        kinds: dict[str, list[Path]] = {}
        for path in files_of(whole):
            kinds.setdefault(kind_of(path), []).append(path)
        for number in range(tries):
            kind = sorted(kinds)[number % len(kinds)]
            path = kinds[kind][rng.integers(len(kinds[kind]))]
            shutil.rmtree(place)
            shutil.copytree(whole, place)
            data = bytearray((place / path).read_bytes())
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            (place / path).write_bytes(data)
            read = _READERS.get(path.parts[0], compared)
            outcome = verdict(place, read, expected[read])
            verdicts.setdefault(kind, Counter())[outcome] += 1
            if progress and (outcome == "silent" or number % 20 == 19):
                click.echo(f"{number + 1} of {tries}: {path} {outcome}", err=True)
    return verdicts


@click.command()
@click.option("--tries", default=400, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Where to write the numbers as JSON.")
def main(tries: int, seed: int, out: Path | None) -> None:
    """Damage one byte of any file, over and over, and count what became of it."""
    verdicts = flip_bytes(tries, seed, progress=True)
    columns = ("told", "no effect", "silent")
    click.echo(f"{'file':<36}" + "".join(f"{column:>12}" for column in columns))
    total: Counter[str] = sum(verdicts.values(), Counter())
    for kind, counts in [*verdicts.items(), ("all", total)]:
        click.echo(f"{kind:<36}" + "".join(f"{counts[column]:>12}" for column in columns))
    record("flip", {"tries": tries, "verdicts": {kind: dict(counts) for kind, counts in verdicts.items()}}, out)
    raise SystemExit(1 if total["silent"] else 0)


if __name__ == "__main__":
    main()
