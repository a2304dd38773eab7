"""Kill extraction at random, over and over, and count what it costs: rows lost, rows twice, torn reads (all 0).

    python -m ndvr.benchmarks.chaos.chaos --kills 200 --seed 0

Half of the rounds run on a Ray that the command starts, half join a cluster of three nodes, of which two may die.
A round is one new library: `ndvr extract` is started, something is killed every few commits (a dead driver is
started again) until a run ends by itself; then the library is compared with an undisturbed one.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

from ndvr.benchmarks.chaos.processes import Run
from ndvr.benchmarks.chaos.round import TARGETS, Counts, Round, make_manifest, say, undisturbed


def table(counts: Counts) -> str:
    """Write Markdown, a row for each thing counted."""
    rows = [("kills", counts.kills.total())]
    rows += [(f"kills of: {target}", counts.kills[target]) for target in TARGETS]
    rows += [(f"kills while {phase}", count) for phase, count in sorted(counts.phases.items())]
    rows += [
        ("libraries", counts.rounds),
        ("runs", counts.runs),
        ("runs that stopped with a sentence", counts.stopped),
        ("runs that hung", counts.hung),
        ("runs with --retry", counts.asked),
        ("processes left over", counts.left_over),
        ("reads meanwhile", counts.reads),
        ("reads told to start again", counts.overtaken),
        ("torn reads", len(counts.torn)),
        ("rows", counts.rows),
        ("lost rows", counts.lost),
        ("duplicated rows", counts.duplicated),
        ("videos that differ from the undisturbed library", len(counts.different)),
    ]
    return "\n".join(["| what | count |", "| --- | ---: |", *(f"| {what} | {count:,} |" for what, count in rows)])


@click.command()
@click.option("--kills", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--repeat", default=4, show_default=True, help="Ids of every file of the collection.")
@click.option("--where", type=click.Choice(["both", "local", "cluster"]), default="both", show_default=True)
@click.option("--keep", is_flag=True, help="Leave libraries and logs in place.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON; default: benchmarks/results.")
def main(kills: int, seed: int, repeat: int, where: str, keep: bool, out: Path | None) -> None:
    """Print the table and write JSON. Exit code 1 when a row was lost, doubled, torn or different."""
    from ndvr.benchmarks.record import record

    folder = Path(tempfile.mkdtemp(prefix="chaos-"))  # short: Ray's sockets lie below it
    counts, began = Counts(), time.monotonic()
    try:
        collection = make_manifest(folder, repeat=repeat)
        measured = undisturbed(collection)
        say(
            f"undisturbed: {measured.seconds:.0f} s, of which {measured.start_s:.0f} s start, {measured.commits} "
            f"commits, {len(measured.contents)} videos; {folder}"
        )
        number = 0
        for place, share in _shares(kills, where):
            counts_here = Counts()
            cluster = _start_cluster(folder) if place == "cluster" else None
            try:
                while counts_here.kills.total() < share:
                    if counts_here.rounds > share:
                        raise RuntimeError(
                            f"{counts_here.kills.total()} kills of {share} in {counts_here.rounds} rounds"
                        )
                    number += 1
                    part = Round(number, collection=collection, measured=measured, seed=seed)
                    counts_here.add(part.play(share - counts_here.kills.total(), cluster))
                    say(_progress(number, place, part.counts, counts.kills.total() + counts_here.kills.total(), kills))
                    if not keep and not (part.counts.torn or part.counts.different):
                        shutil.rmtree(part.library)
            finally:
                if cluster:
                    cluster.close()
            counts.add(counts_here)
    finally:
        if not keep and not (counts.torn or counts.different or counts.hung):
            shutil.rmtree(folder, ignore_errors=True)
    results = {name: getattr(counts, name) for name in counts.__dataclass_fields__}
    results |= {"seconds": time.monotonic() - began, "seed": seed, "undisturbed_s": measured.seconds}
    path = record("chaos", results, out)
    click.echo(table(counts))
    for sentence in [*counts.torn, *counts.different]:
        click.echo(sentence)
    click.echo(f"{results['seconds']:.0f} s; {path}")
    if counts.lost or counts.duplicated or counts.torn or counts.different:
        raise SystemExit(1)


def _shares(kills: int, where: str) -> list[tuple[str, int]]:
    if where != "both":
        return [(where, kills)]
    return [("local", kills // 2), ("cluster", kills - kills // 2)]


def _start_cluster(folder: Path) -> Run:
    cluster = Run(
        [sys.executable, "-m", "ndvr.benchmarks.chaos.setting"],
        folder / "logs",
        environment={"RAY_TMPDIR": str(folder), "RAY_raylet_start_wait_time_s": "120"},
    )
    if not cluster.until(lambda: ":" in cluster.text, within_s=120):
        raise RuntimeError(f"the cluster did not start:\n{cluster.text}")
    return cluster


def _progress(number: int, place: str, counts: Counts, kills: int, of: int) -> str:
    hit = ", ".join(f"{target} {count}" for target, count in counts.kills.items())
    bad = f"; torn {len(counts.torn)}, lost {counts.lost}, twice {counts.duplicated}, differ {len(counts.different)}"
    return f"{kills}/{of} round {number} ({place}): {hit}; {counts.runs} runs{bad}"


if __name__ == "__main__":
    main()
