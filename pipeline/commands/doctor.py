"""The command `ndvr doctor`: what this machine has of what is needed."""

from __future__ import annotations

import json

import click

from ndvr.pipeline.commands.options import json_option


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what this machine has of what is needed.

    Versions, processors, memory, free space, and which walls stand around decoders. Exit code 0: all is well; 1:
    something that matters is missing, in a sentence.
    """
    from ndvr.pipeline.upkeep import doctor as run

    examination = run.examine()
    click.echo(json.dumps(examination.to_json(), ensure_ascii=False) if as_json else examination.text())
    if examination.wrong:
        raise SystemExit(1)
