"""Strike import, gc, folding, similarity, dedupe and fit-pca at random: killed, or no byte more fits on the disk.

python -m ndvr.benchmarks.chaos.offline --strikes 200

A round is one command on a copy of what it begins with. It is started and struck, one to three times; after every
strike what is there is read: a library must be sound, and hold of every video what it ought to or nothing; scores,
pairs and directions must be those of an undisturbed run, or refuse to be read. Then the command runs in peace, and all
must be as after an undisturbed run, to the last bit. Commands run in forks of this process, which has imported
everything: a strike is a matter of a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq

from ndvr.benchmarks.chaos.library_check import scores_in
from ndvr.benchmarks.record import record
from ndvr.operators.errors import RunStopped
from ndvr.operators.library.lease import Lease
from ndvr.operators.library.library import Library
from ndvr.operators.library.receipt_files import fold
from ndvr.pipeline.comparison.dedupe import dedupe
from ndvr.pipeline.comparison.similarity import similarity
from ndvr.pipeline.extraction.import_features import import_features
from ndvr.pipeline.upkeep.fit_pca import fit_pca
from ndvr.pipeline.upkeep.maintenance import fsck, gc, remove

HOW = ("killed", "disk full")
_SETTINGS: dict[str, Any] = {"method": "c3dhash", "weights": "random:1", "workers": 0, "progress": False}
_HANGS_S = 120.0
_MOST_ROUNDS = 20  # for each strike
_N_VIDEOS = 40

# --- What is struck --------------------------------------------------------------------------------------------------


def _features(folder: Path, count: int, size: int, windows: int) -> Path:
    folder.mkdir(parents=True)
    for video in range(count):
        values = np.random.default_rng(video).standard_normal((windows, size)).astype(np.float32)
        np.save(folder / f"v{video:02}.npy", values)
    return folder


def _import(place: Path) -> None:
    import_features(place.parent / "features", place / "library", method="c3dhash", progress=False)


def _gc(place: Path) -> None:
    gc(place / "library", force=True)


def _fold(place: Path) -> None:
    store = Library(place / "library").store
    with Lease(store, "fold"):
        fold(store, fewest=1)


def _similarity(place: Path) -> None:
    similarity(place / "library", place / "library", place / "scores", **_SETTINGS)


def _dedupe(place: Path) -> None:
    dedupe(place / "library", place / "pairs", top_k=3, **_SETTINGS)


def _fit_pca(place: Path) -> None:
    fit_pca(place / "library", place / "pca.npz", dims=16, progress=False)


def _with_left_overs(place: Path) -> None:
    """A library of several imports, with shards that nothing names and videos that were removed."""
    names = sorted((place.parent / "features").iterdir())
    for number in range(3):
        part = place / f"features{number}"
        part.mkdir(parents=True)
        for name in names[number::3]:
            shutil.copy(name, part)
        import_features(part, place / "library", method="c3dhash", progress=False)
        if number == 0:
            (shard,) = (place / "library" / "shards").rglob("*.parquet")
    shutil.copy(shard, shard.with_name("r0-nobody.parquet"))
    (shard.parent / ".r0-half.parquet.1234abcd.tmp").write_bytes(b"half")
    remove(place / "library", ["v01", "v07", "v13"])  # of another shard


def _with_raw_vectors(place: Path) -> None:
    folder = place.parent / "raw"
    import_features(folder, place / "library", method="tca", options={"pca": "none"}, progress=False)


@dataclass(frozen=True)
class Command:
    """What is struck: how it begins, what it does."""

    prepare: Callable[[Path], None]
    run: Callable[[Path], None]


COMMANDS = {
    "import": Command(lambda place: place.mkdir(), _import),
    "gc": Command(_with_left_overs, _gc),
    "fold": Command(_with_left_overs, _fold),
    "similarity": Command(_import, _similarity),
    "dedupe": Command(_import, _dedupe),
    "fit-pca": Command(_with_raw_vectors, _fit_pca),
}


# --- What is there ---------------------------------------------------------------------------------------------------


def held(place: Path) -> dict[str, str]:
    """Everything that is there, by name, as hashes; ValueError or FileNotFoundError where it refuses to be read."""
    there: dict[str, str] = {}
    if (place / "library" / "library.json").exists():
        report = fsck(place / "library", progress=False)
        if not report.sound:
            raise AssertionError("; ".join(report.problems[:3]))
        library = Library(place / "library")
        for config in library.configs:
            for video_id, start_s, features in library.read(library.entries(config).values()):
                there[f"video {video_id}"] = hashlib.sha256(start_s.tobytes() + features.tobytes()).hexdigest()
    if (place / "scores").exists():
        there |= _readable(place / "scores", _scores)
    if (place / "pairs" / "pairs.parquet").exists():
        rows = pq.read_table(place / "pairs" / "pairs.parquet").to_pylist()
        there["pairs"] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    if (place / "pca.npz").exists():
        with np.load(place / "pca.npz") as file:
            there["pca"] = hashlib.sha256(b"".join(file[name].tobytes() for name in sorted(file))).hexdigest()
    return there


def _readable(folder: Path, read: Callable[[Path], dict[str, str]]) -> dict[str, str]:
    try:
        return read(folder)
    except (ValueError, FileNotFoundError):  # it says that it is not finished
        return {}


def _scores(folder: Path) -> dict[str, str]:
    scores = sorted(scores_in(folder).items())
    return {"scores": hashlib.sha256(json.dumps(scores).encode()).hexdigest()}


# --- Striking --------------------------------------------------------------------------------------------------------


@dataclass
class Counts:
    """What happened. `wrong` has a sentence for everything that must not be."""

    strikes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by command, and how
    late: int = 0  # the command had ended before it was struck; not counted as a strike
    stopped: int = 0  # it told in a sentence that the disk was full
    wrong: list[str] = field(default_factory=list)


def forked(work: Callable[[], Any], out: Path, *, strike: Callable[[int], None] = lambda pid: None) -> tuple[str, Any]:
    """Do work in a fork of this process; `strike` may do something to it meanwhile.

    Returns "done" and what the work returned, "told" and a sentence, "failed" and what went wrong, or "killed".
    """
    out.unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        try:
            _child(work, out)
        finally:
            os._exit(1)  # whatever happens: what stands above is its parent's to do
    strike(pid)
    deadline = time.monotonic() + _HANGS_S
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "failed", f"it hung for {_HANGS_S:g} s"
        time.sleep(0.005)
    return tuple(json.loads(out.read_text())) if out.exists() else ("killed", None)


def _child(work: Callable[[], Any], out: Path) -> None:
    """Work, write how it ended, and end."""
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        answer = "done", work()
    except (ValueError, RunStopped, OSError) as error:
        answer = "told", str(error)
    except BaseException as error:
        answer = "failed", f"{type(error).__name__}: {error}"
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    part = out.with_suffix(".part")
    part.write_text(json.dumps(answer))
    os.replace(part, out)


class Striker:
    """Strikes one command after the other, in a folder of its own."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.chance, self.counts = folder, random.Random(seed), Counts()
        self._expected: dict[str, dict[str, str]] = {}
        self._seconds: dict[str, float] = {}
        _features(folder / "features", _N_VIDEOS, 512, 1)
        _features(folder / "raw", 8, 3840, 4)
        for name, command in COMMANDS.items():
            self._in_peace(partial(command.prepare, folder / f"{name}-before"))
            shutil.copytree(folder / f"{name}-before", folder / "place")
            began = time.monotonic()
            self._in_peace(partial(command.run, folder / "place"))
            self._seconds[name] = time.monotonic() - began
            self._expected[name] = self._in_peace(lambda: held(folder / "place"))
            shutil.rmtree(folder / "place")

    def _in_peace(self, work: Callable[[], Any]) -> Any:
        how, answer = forked(work, self.folder / "answer")
        if how != "done":
            raise RuntimeError(f"undisturbed, it {how}: {answer}")
        return answer

    def round(self, name: str) -> None:
        """Strike a command up to three times, let it end in peace, and compare."""
        place, command, expected = self.folder / "place", COMMANDS[name], self._expected[name]
        shutil.copytree(self.folder / f"{name}-before", place)
        for _ in range(self.chance.randrange(1, 4)):
            ended = self._strike(name, command, place)
            how, there = forked(lambda: held(place), self.folder / "answer")
            if how != "done":
                self._wrong(name, f"after a strike, reading {how}: {there}")
            elif strangers := [each for each in there if each in expected and there[each] != expected[each]]:
                self._wrong(name, f"after a strike, {strangers[0]} is another")
            if ended:
                break
        began = time.monotonic()
        how, answer = forked(lambda: command.run(place), self.folder / "answer")
        self._seconds[name] = min(self._seconds[name], time.monotonic() - began)  # other programs may have slowed it
        if how != "done":
            self._wrong(name, f"in peace, it {how}: {answer}")
        how, there = forked(lambda: held(place), self.folder / "answer")
        if (how, there) != ("done", expected):
            lost = sorted(set(expected) - set(there or ())) if how == "done" else there
            self._wrong(name, f"at the end it holds other things: {lost}")
        shutil.rmtree(place)

    def _strike(self, name: str, command: Command, place: Path) -> bool:
        """Start a command and strike it; tell whether it came to its end."""
        how, after_s = self.chance.choice(HOW), self.chance.uniform(0, self._seconds[name])
        size = self.chance.choice((0, 300, 4000))

        def strike(pid: int) -> None:
            time.sleep(after_s)
            if how == "killed":
                os.kill(pid, signal.SIGKILL)
            else:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        outcome, answer = forked(lambda: command.run(place), self.folder / "answer", strike=strike)
        self.counts.strikes[name, how] += outcome != "done"
        self.counts.late += outcome == "done"
        self.counts.stopped += outcome == "told"
        if outcome == "failed" or (outcome == "told" and how == "killed"):
            self._wrong(name, f"{how}, it {outcome}: {answer}")
        return outcome == "done"

    def _wrong(self, name: str, what: str) -> None:
        self.counts.wrong.append(f"{name}: {what}")


def strike_all(strikes: int, seed: int = 0, *, progress: bool = False) -> Counts:
    """Strike the commands in turn, so many times in all; `progress` says on stderr how far it is."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        striker = Striker(folder, seed)
        for number in range(_MOST_ROUNDS * strikes):
            striker.round(list(COMMANDS)[number % len(COMMANDS)])
            struck = striker.counts.strikes.total()
            if progress:
                click.echo(f"{struck}, wrong {len(striker.counts.wrong)}", err=True)
            if struck >= strikes:
                return striker.counts
        raise RuntimeError(f"{struck} strikes of {strikes}: the commands end before they can be struck")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@click.command()
@click.option("--strikes", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON; default: benchmarks/results.")
def main(strikes: int, seed: int, out: Path | None) -> None:
    """Print a table and write JSON. Exit code 1 when anything was lost, other than it ought to be, or not told."""
    began = time.monotonic()
    counts = strike_all(strikes, seed, progress=True)
    click.echo("| command | " + " | ".join(HOW) + " |\n| --- |" + " ---: |" * len(HOW))
    for name in COMMANDS:
        click.echo(f"| {name} | " + " | ".join(str(counts.strikes[name, how]) for how in HOW) + " |")
    click.echo(f"{counts.late} ended before they were struck; {counts.stopped} told that nothing more fits")
    click.echo(f"wrong: {len(counts.wrong)}; {time.monotonic() - began:.0f} s")
    for sentence in counts.wrong:
        click.echo(sentence)
    by_command = {f"{name}, {how}": count for (name, how), count in sorted(counts.strikes.items())}
    record("chaos-offline", {"strikes": by_command, "late": counts.late, "wrong": counts.wrong, "seed": seed}, out)
    raise SystemExit(1 if counts.wrong else 0)


if __name__ == "__main__":
    main()
