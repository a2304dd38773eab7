"""`python -m ndvr.benchmarks.speed.search MEASUREMENT`; see `--help`.

All on one core and in turns in one run, so that a slower minute of the machine hits all. The videos are made, unless a
measurement asks for some: pictures that a camera swings over.
"""

from __future__ import annotations

import click
import faiss

from ndvr.benchmarks.speed.search.dedupe import dedupe_command
from ndvr.benchmarks.speed.search.index_cost import index_command
from ndvr.benchmarks.speed.search.pairs import pairs_command
from ndvr.benchmarks.speed.search.recall import recall_command
from ndvr.benchmarks.speed.search.sureness import sureness_command
from ndvr.benchmarks.speed.search.two_stage import two_stage_command
from ndvr.benchmarks.speed.search.votes import votes_command
from ndvr.models.method import use_one_thread


@click.group()
def main() -> None:
    """Measure a search and its parts; each command prints a line and writes JSON."""
    use_one_thread()
    faiss.omp_set_num_threads(1)


main.add_command(votes_command)
main.add_command(recall_command)
main.add_command(index_command)
main.add_command(pairs_command)
main.add_command(sureness_command)
main.add_command(dedupe_command)
main.add_command(two_stage_command)

if __name__ == "__main__":
    main()
