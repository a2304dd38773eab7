"""`python -m ndvr.benchmarks NAME`: whole benchmarks. Single measurements are `python -m ndvr.benchmarks.MODULE`."""

from __future__ import annotations

import click

from ndvr.benchmarks.speed import fivr_200k as fivr_200k_size


@click.group(help=__doc__)
def main() -> None:
    """One command a benchmark."""


main.add_command(fivr_200k_size.main)

if __name__ == "__main__":
    main(prog_name="python -m ndvr.benchmarks")
