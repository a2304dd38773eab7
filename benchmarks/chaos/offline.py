"""Strike the commands that need no cluster at random: killed, no byte more fits, put to sleep, the store fails.

python -m ndvr.benchmarks.chaos.offline --strikes 200

A round is one command on a copy of what it begins with, in a folder or in an object store. It is started and struck,
one to three times:

killed       SIGKILL
disk full    no byte more fits on the disk
asleep       it is stopped, at any time or right after it has looked whether it still has its lease; a second host with
             another clock takes over and does the same, or `ndvr gc`; it wakes up
store fails  a tenth to a third of the requests to the store go wrong: errors, hang-ups, half answers, silence

After every strike what is there is read: a library must be sound, and hold of every video what it ought to or nothing;
scores, pairs, directions and the index must be those of an undisturbed run, or not be there. Who slept and was taken
over must say so, with exit code 1, and what is there must be what was there before it woke up; scores and pairs may be
refused until the next run, where it put its list of parts in the place of the other's. Then the
command runs in peace, and all must be as after an undisturbed run, to the last bit.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from ndvr.benchmarks.chaos.commands import COMMANDS, Place, held, make_features
from ndvr.benchmarks.chaos.forks import Host, Outcome, forked, import_commands, wait_until_asleep
from ndvr.benchmarks.chaos.s3_server import KEYS, S3Server, running_server
from ndvr.benchmarks.record import record
from ndvr.operators.storage.store import Store

HOW = {"folder": ("killed", "disk full", "asleep"), "store": ("killed", "asleep", "store fails")}
ALL = tuple(dict.fromkeys(how for of_place in HOW.values() for how in of_place))
_MOST_ROUNDS = 20  # for each strike
_DAY_S = 86400.0
_REFUSED = ("scores", "pairs")  # whose list of parts is replaced: one that comes late is refused until the next run
_TAKEN_OVER = "has taken over"
_TRY_AGAIN = 75
_LOOKS = 6  # at its lease, within which a writer goes to sleep: all commands look as often


@dataclass
class Counts:
    """What happened. `wrong` has a sentence for everything that must not be."""

    strikes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by command, and how
    late: int = 0  # the command had ended before it was struck, or did not notice; not counted as a strike
    told: Counter[str] = field(default_factory=Counter)  # it said in a sentence what had happened, by how
    faults: int = 0  # requests to the store that went wrong
    wrong: list[str] = field(default_factory=list)


class Striker:
    """Strikes one command after the other, in a folder and a store of its own."""

    def __init__(self, folder: Path, seed: int, store: S3Server, names: Sequence[str]):
        self.folder, self.chance, self.counts, self.store = folder, random.Random(seed), Counts(), store
        self.here = Host(store=store.url)
        self._expected: dict[str, dict[str, str]] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        os.environ.update(KEYS)
        import_commands()
        make_features(folder)
        for name in names:
            command = COMMANDS[name]
            before = Place(folder / f"{name}-before", f"{folder}/{name}-before/library")
            self._in_peace(f"preparing {name}", partial(command.prepare, before))
            for where in HOW:
                place = self._copy(name, where)
                began = time.monotonic()
                self._in_peace(f"{name} in a {where}", partial(command.run, place))
                self._seconds[name, where] = time.monotonic() - began
                there = self._in_peace(f"reading after {name} in a {where}", partial(held, place))
                if there != self._expected.setdefault(name, there):
                    raise RuntimeError(f"undisturbed, {name} makes other things in a store than in a folder")
                shutil.rmtree(place.folder)

    def _fork(self, work: Any, *, host: Host | None = None, answer: str = "answer", **settings: Any) -> Outcome:
        return forked(work, self.folder / answer, host=host or self.here, **settings)

    def _in_peace(self, what: str, work: Any) -> Any:
        outcome = self._fork(work)
        if outcome.how != "done":
            raise RuntimeError(f"{what}, undisturbed, {outcome.how}: {outcome.answer}")
        return outcome.answer

    def _copy(self, name: str, where: str) -> Place:
        """Make what a command begins with, in a folder, or its library in an empty bucket."""
        folder, before = self.folder / "place", self.folder / f"{name}-before"
        if where == "folder":
            shutil.copytree(before, folder)
            return Place(folder, f"{folder}/library")
        self.store.clear()
        place = Place(folder, f"{self.store.make_bucket('chaos')}/library")
        folder.mkdir()
        self._in_peace("copying", lambda: _upload(before / "library", place.library))
        return place

    def round(self, name: str, where: str) -> None:
        """Strike a command up to three times, let it end in peace, and compare."""
        place, command, expected = self._copy(name, where), COMMANDS[name], self._expected[name]
        for _ in range(self.chance.randrange(1, 4)):
            how = self.chance.choice(HOW[where])
            ended = self._asleep(name, place, where) if how == "asleep" else self._strike(name, how, place, where)
            self._read(name, f"{how}, then", place)
            if ended:
                break
        began = time.monotonic()
        outcome = self._fork(lambda: command.run(place))
        # Other programs may have slowed it before.
        self._seconds[name, where] = min(self._seconds[name, where], time.monotonic() - began)
        if outcome.how != "done":
            self._wrong(name, f"in peace, it {outcome.how}: {outcome.answer}")
        there = self._read(name, "at the end", place)
        if there is not None and there != expected:
            lost = sorted(key for key in {*expected, *there} if expected.get(key) != there.get(key))
            self._wrong(name, f"at the end it holds other things: {lost}")
        shutil.rmtree(place.folder)

    def _read(self, name: str, when: str, place: Place) -> dict[str, str] | None:
        """Read what is there; None when it cannot be read, which is wrong, as is what ought to be otherwise."""
        outcome = self._fork(lambda: held(place, sound=COMMANDS[name].sound))
        if outcome.how != "done":
            self._wrong(name, f"{when} reading {outcome.how}: {outcome.answer}")
            return None
        expected = self._expected[name]
        if strangers := [each for each, what in outcome.answer.items() if expected.get(each, what) != what]:
            self._wrong(name, f"{when} {strangers[0]} is another")
        return outcome.answer

    def _strike(self, name: str, how: str, place: Place, where: str) -> bool:
        """Start a command and strike it; tell whether it came to its end."""
        after_s, size = self.chance.uniform(0, self._seconds[name, where]), self.chance.choice((0, 300, 4000))

        def strike(pid: int) -> None:
            if how == "store fails":
                return
            time.sleep(after_s)
            if how == "killed":
                os.kill(pid, signal.SIGKILL)
            else:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        failing = self.chance.uniform(0.1, 0.3) if how == "store fails" else 0.0
        host = Host(store=self.store.url, failing=failing)
        outcome = self._fork(lambda: COMMANDS[name].run(place), host=host, strike=strike)
        ended = outcome.how == "done"
        hit = outcome.faults > 0 if how == "store fails" else not ended
        self.counts.strikes[name, how] += hit
        self.counts.late += not hit
        self.counts.told[how] += outcome.how == "told"
        self.counts.faults += outcome.faults
        if outcome.how == "failed" or (outcome.how == "told" and not _may_tell(how, outcome)):
            self._wrong(name, f"{how}, it {outcome.how} ({outcome.code}): {outcome.answer}")
        return ended

    def _asleep(self, name: str, place: Place, where: str) -> bool:
        """Start a command, stop it, let another host take over, and wake it; tell whether it came to its end."""
        after_s, clocks = (
            self.chance.uniform(0, self._seconds[name, where]),
            self.chance.sample([-_DAY_S, 0, _DAY_S], 2),
        )
        sleeper, other = (Host(f"host {letter}", clock, self.store.url) for letter, clock in zip("AB", clocks))
        if self.chance.random() < 0.5:
            sleeper = replace(sleeper, sleeps_at=self.chance.randrange(_LOOKS))
        doing = self.chance.choice([name, name, "gc"])
        there: list[dict[str, str] | None] = []

        def taken_over() -> int:
            return self._in_peace("looking", place.taken_over)

        def strike(pid: int) -> None:
            if sleeper.sleeps_at is None:
                stop(pid)
            elif not wait_until_asleep(pid):
                return
            before = taken_over()
            done = self._fork(lambda: COMMANDS[doing].run(place), host=other, answer="other")
            if done.how != "done" and not (doing == "gc" and done.how == "told"):  # there is no library yet
                self._wrong(name, f"the second host {done.how} ({doing}): {done.answer}")
            if taken_over() > before:
                there.append(self._read(name, "before the sleeper woke up", place))
            os.kill(pid, signal.SIGCONT)

        def stop(pid: int) -> None:
            # In a store, looking would slow down what is looked at.
            until = time.monotonic() + self._seconds[name, where] * (where == "folder")
            while time.monotonic() < until and not place.being_written():
                time.sleep(0.002)
            time.sleep(after_s if where == "store" else self.chance.choice((0.0, 0.02, 0.1, 0.5)) * after_s)
            os.kill(pid, signal.SIGSTOP)

        outcome = self._fork(lambda: COMMANDS[name].run(place), host=sleeper, strike=strike, answer="sleeper")
        hit = bool(there) and outcome.how != "done"
        self.counts.strikes[name, "asleep"] += hit
        self.counts.late += not hit
        self.counts.told["asleep"] += outcome.how == "told"
        if outcome.how == "failed" or (hit and not _may_tell("asleep", outcome)):
            self._wrong(name, f"asleep, it {outcome.how} ({outcome.code}): {outcome.answer}")
        if there and (before := there[0]) is not None:
            after = self._read(name, "after the sleeper woke up", place)
            kept = {key: what for key, what in before.items() if key not in _REFUSED or key in (after or {})}
            if after is not None and after != kept:
                self._wrong(name, "the sleeper changed what was there")
        return outcome.how == "done"

    def _wrong(self, name: str, what: str) -> None:
        self.counts.wrong.append(f"{name}: {what}")
        click.echo(f"WRONG {self.counts.wrong[-1]}", err=True)


def _may_tell(how: str, outcome: Outcome) -> bool:
    """Tell whether what a command said, and its exit code, are what a user is promised."""
    if how == "asleep":
        return outcome.code == 1 and _TAKEN_OVER in outcome.answer
    return how == "disk full" or (how == "store fails" and outcome.code == _TRY_AGAIN)


def _upload(folder: Path, to: str) -> None:
    store = Store(to)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".tmp":
            store.write(path.relative_to(folder).as_posix(), path.read_bytes())


def strike_all(
    strikes: int, seed: int = 0, names: Sequence[str] = tuple(COMMANDS), *, progress: bool = False
) -> Counts:
    """Strike the commands in turn, so many times in all; `progress` says on stderr how far it is."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        striker = Striker(folder, seed, stack.enter_context(running_server(folder)), names)
        struck = 0
        for number in range(_MOST_ROUNDS * strikes):
            striker.round(names[number % len(names)], list(HOW)[number // len(names) % len(HOW)])
            struck = striker.counts.strikes.total()
            if progress:
                click.echo(f"{struck}, wrong {len(striker.counts.wrong)}", err=True)
            if struck >= strikes:
                return striker.counts
        raise RuntimeError(f"{struck} strikes of {strikes}: the commands end before they can be struck")


@click.command()
@click.option("--strikes", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--command", "names", type=click.Choice(list(COMMANDS)), multiple=True, help="Default: all.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON; default: benchmarks/results.")
def main(strikes: int, seed: int, names: tuple[str, ...], out: Path | None) -> None:
    """Print a table and write JSON. Exit code 1 when anything was lost, other than it ought to be, or not told."""
    began = time.monotonic()
    counts = strike_all(strikes, seed, names or tuple(COMMANDS), progress=True)
    click.echo("| command | " + " | ".join(ALL) + " |\n| --- |" + " ---: |" * len(ALL))
    for name in names or COMMANDS:
        click.echo(f"| {name} | " + " | ".join(str(counts.strikes[name, how]) for how in ALL) + " |")
    click.echo(
        f"{counts.late} ended before they were struck; {dict(counts.told)} told; {counts.faults} requests failed"
    )
    click.echo(f"wrong: {len(counts.wrong)}; {time.monotonic() - began:.0f} s")
    for sentence in counts.wrong:
        click.echo(sentence)
    by_command = {f"{name}, {how}": count for (name, how), count in sorted(counts.strikes.items())}
    results = {"strikes": by_command, "late": counts.late, "told": dict(counts.told), "faults": counts.faults}
    record("chaos-offline", results | {"wrong": counts.wrong, "seed": seed}, out)
    raise SystemExit(1 if counts.wrong else 0)


if __name__ == "__main__":
    main()
