"""Commands as a user gives them, run in this process."""

from __future__ import annotations

import json

from click.testing import CliRunner

from ndvr.pipeline.cli import main


def ndvr(*arguments: object, code: int = 0) -> str:
    """Run a command that ends with `code`; return what it prints, warnings included."""
    done = CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def as_json(*arguments: object) -> dict:
    """Run a command with --json; return the object that it prints last."""
    return json.loads(ndvr(*arguments, "--json").splitlines()[-1])
