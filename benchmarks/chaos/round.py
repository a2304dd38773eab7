"""One library made under fire: extraction is started, hit, started again, and compared with an undisturbed one."""

from __future__ import annotations

import csv
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import click

from ndvr.benchmarks.chaos.library_check import Key, Verdict, Watcher, contents, count_rows, differences
from ndvr.benchmarks.chaos.processes import POLL_S, Run, commits, extract_command
from ndvr.benchmarks.chaos.setting import make_collection

# What is killed, and how often of a hundred when all of it is there.
TARGETS = {"driver": 10, "decode": 20, "embed": 12, "write": 18, "child": 20, "worker": 8, "node": 12}
_PER_ROUND = 24  # kills; then it may end
GONE_S = 30.0
HANGS_S = 240.0  # that nothing happens for
_MOST_RUNS = 40
_MOST_ASKED = 4


@dataclass
class Counts:
    """What happened in some rounds."""

    kills: Counter = field(default_factory=Counter)  # by target
    phases: Counter = field(default_factory=Counter)  # kills by what the run was doing
    rounds: int = 0
    runs: int = 0
    hung: int = 0
    stopped: int = 0  # runs that ended with a sentence and left the rest to the next
    asked: int = 0  # runs with --retry, for videos that were at hand too often when something died
    left_over: int = 0  # processes that were still there long after the end of their command
    reads: int = 0
    overtaken: int = 0  # reads that were told to start again
    torn: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    rows: int = 0
    lost: int = 0
    duplicated: int = 0

    def add(self, other: Counts) -> None:
        """Add everything of `other`."""
        for name in self.__dataclass_fields__:
            total, addend = getattr(self, name), getattr(other, name)
            setattr(self, name, total + addend)


@dataclass(frozen=True)
class Undisturbed:
    """What a library ought to hold, and how long that takes."""

    contents: dict[Key, Verdict]
    start_s: float  # until the first commit
    seconds: float
    commits: int


class Moments:
    """When to strike: by what was committed, so that a busy machine does not shift it all into the start."""

    def __init__(self, trees: list[Run], library: Path, watcher: Watcher, chance: random.Random, measured: Undisturbed):
        """trees: the command, and the cluster that it uses."""
        self.trees, self.run = trees, trees[0]
        self.library, self.watcher, self.chance, self.measured = library, watcher, chance, measured
        self._old = commits(library)
        self._new: set[str] = set()

    def next(self) -> str | None:
        """Wait; then the phase, or None when the run has come to its end or hangs.

        starting   nothing is at hand yet        working  commits come
        decoding   before the first commit       ending   all is committed
        """
        weights = {"starting": 20, "decoding": 30, "working": 40, "ending": 10} if not self._progress() else {}
        weights = weights or {"working": 90, "ending": 10}
        phase = self.chance.choices(list(weights), list(weights.values()))[0]
        pause_s = self.chance.uniform(0, 0.7)
        if phase == "starting":
            pause_s = self.chance.uniform(0, self.measured.start_s)
        elif phase == "decoding":
            self._until(lambda: any(tree.with_role("child") for tree in self.trees))
        elif phase == "working":
            enough = self._progress() + 1 + self.chance.randrange(1 + self.measured.commits // 16)
            self._until(lambda: self._progress() >= enough)
        else:
            self._until(lambda: self.watcher.settled == len(self.measured.contents))
        return None if self.run.wait(pause_s) is not None else phase

    def _progress(self) -> int:
        """Count the commits of this run so far; the start of a run folds older ones away."""
        self._new |= commits(self.library) - self._old
        return len(self._new)

    def _until(self, happened: Callable[[], bool]) -> None:
        self.run.until(lambda: self.run.code is not None or happened(), within_s=HANGS_S)


class Round:
    """One library, made under fire."""

    def __init__(self, number: int, *, collection: Path, measured: Undisturbed, seed: int):
        self.expected, self.measured = measured.contents, measured
        self.chance = random.Random(f"{seed} {number}")
        self.library = collection.parent / f"library-{number:03d}"
        self.logs = collection.parent / "logs" / f"{number:03d}"
        self.environment = {"RAY_TMPDIR": str(collection.parent)}
        self.collection = collection
        self.counts = Counts(rounds=1)
        self._runs: list[Run] = []

    def play(self, kills: int, cluster: Run | None) -> Counts:
        """Start, kill, start again; at most `kills` kills; then compare."""
        retry: tuple[str, ...] = ()
        with ExitStack() as runs, Watcher(self.library, self.expected) as watcher:
            for _ in range(_MOST_RUNS):
                if cluster and cluster.code is not None:
                    raise RuntimeError(f"the cluster is gone, which nobody has killed:\n{cluster.text}")
                left = min(kills, _PER_ROUND) - self.counts.kills.total()
                # What a killed driver leaves behind stays, as it would elsewhere: it must do no harm to the next run.
                run = runs.enter_context(self._start(retry, cluster))
                self._runs.append(run)
                if not self._disturb(run, left, cluster, watcher):
                    continue
                wrong = differences(contents(self.library), self.expected)
                if not wrong or self.counts.asked == _MOST_ASKED:
                    break
                retry = ("--retry", "crash,timeout,quarantined")
                self.counts.asked += 1
                say(f"asked again: {wrong[:3]} ...{len(wrong)}")
            self.counts.left_over += sum(len(run.processes()) for run in self._runs if not run.gone(GONE_S))
        verdicts = contents(self.library)
        rows = count_rows(self.library, self.expected)
        self.counts.add(
            Counts(
                reads=watcher.reads,
                overtaken=watcher.overtaken,
                torn=watcher.torn,
                different=differences(verdicts, self.expected),
                rows=rows.expected,
                lost=rows.lost,
                duplicated=rows.duplicated,
            )
        )
        return self.counts

    def _start(self, retry: tuple[str, ...], cluster: Run | None) -> Run:
        options = [*retry, *(("--address", address_of(cluster)) if cluster else ())]
        self.counts.runs += 1
        return Run(extract_command(self.collection, self.library, *options), self.logs, environment=self.environment)

    def _disturb(self, run: Run, kills: int, cluster: Run | None, watcher: Watcher) -> bool:
        """Say whether the command came to its own end."""
        trees = [run, cluster] if cluster else [run]
        moments = Moments(trees, self.library, watcher, self.chance, self.measured)
        while kills > 0 and (phase := moments.next()):
            if target := self._kill(trees):
                kills -= 1
                self.counts.kills[target] += 1
                self.counts.phases[phase] += 1
        if run.wait(HANGS_S) is None:
            self.counts.hung += 1
            say(f"hung: {run.log}")
            run.close()
        elif run.summary is None and run.code != -9:
            self.counts.stopped += 1
            say(f"exit code {run.code}: {run.text.strip().splitlines()[-1:]}")
        return run.summary is not None

    def _kill(self, trees: list[Run]) -> str | None:
        """Kill one of the targets that are there, by their weights; return which."""
        processes = [(process.role, process) for tree in trees for process in tree.processes()]
        by_role = {role: [process for its, process in processes if its == role] for role in TARGETS}
        by_role["driver"] = trees[0].with_role("driver")
        roles = [role for role in TARGETS if by_role[role]]
        if not roles:
            return None
        target = self.chance.choices(roles, [TARGETS[role] for role in roles])[0]
        return target if self.chance.choice(by_role[target]).kill() else None


def address_of(cluster: Run) -> str:
    return next(line for line in cluster.text.splitlines() if ":" in line and " " not in line)


def make_manifest(folder: Path, *, repeat: int) -> Path:
    """Write the collection under `repeat` ids a file, so that a run has work for some seconds."""
    videos = make_collection(folder / "videos", size=(640, 360))
    path = folder / "videos.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "uri"])
        for number in range(repeat):
            writer.writerows((f"{number}_{video.name}", video) for video in sorted(videos.iterdir()))
    return path


def undisturbed(collection: Path) -> Undisturbed:
    """Run the command once in peace."""
    library = collection.parent / "undisturbed"
    environment = {"RAY_TMPDIR": str(collection.parent)}
    seen: set[str] = set()
    with Run(extract_command(collection, library), collection.parent / "logs", environment=environment) as run:
        run.until(lambda: run.code is not None or commits(library), within_s=600)
        start_s = time.monotonic() - run.began
        while run.wait(POLL_S) is None and time.monotonic() - run.began < 600:
            seen |= commits(library)
        if run.summary is None:
            raise RuntimeError(f"the undisturbed run ended with exit code {run.code}:\n{run.text}")
        seconds = time.monotonic() - run.began
    return Undisturbed(contents=contents(library), start_s=start_s, seconds=seconds, commits=len(seen))


def say(sentence: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {sentence}", err=True)
