"""A command of `python -m ndvr.benchmarks.NAME` that says in a sentence what is wrong, as `ndvr` does."""

from __future__ import annotations

from typing import Any

import click


class PlainCommand(click.Command):
    """Exit code 2 and a line on stderr for input that cannot be used."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (ValueError, FileNotFoundError) as error:
            click.echo(f"Error: {error}", err=True)
            return context.exit(2)
