"""The `ndvr` command: one table says which commands there are and where they live.

A string is not an import: `ndvr --help` answers at once, and layers above this one have their commands here too.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
from difflib import get_close_matches
from typing import Any

import click

import ndvr
from ndvr.operators.storage.text_files import visible

# As one uses them, not as the alphabet has them: heading -> command -> "module:function".
COMMANDS = {
    "Main job": {
        "demo": "ndvr.benchmarks.commands:demo",
        "extract": "ndvr.pipeline.commands.extraction:extract",
        "index": "ndvr.pipeline.commands.search:index",
        "search": "ndvr.pipeline.commands.search:search",
        "similarity": "ndvr.pipeline.commands.comparison:similarity",
        "report": "ndvr.pipeline.commands.review:report",
        "review": "ndvr.pipeline.commands.review:review",
        "dedupe": "ndvr.pipeline.commands.comparison:dedupe",
        "compare": "ndvr.pipeline.commands.comparison:compare",
        "decide": "ndvr.pipeline.commands.review:decide",
    },
    "Library": {
        "show": "ndvr.pipeline.commands.library:show",
        "common": "ndvr.pipeline.commands.search:common",
        "explain": "ndvr.pipeline.commands.library:explain",
        "remove": "ndvr.pipeline.commands.library:remove",
        "fsck": "ndvr.pipeline.commands.library:fsck",
        "gc": "ndvr.pipeline.commands.library:gc",
        "import": "ndvr.pipeline.commands.extraction:import_",
        "fit-pca": "ndvr.pipeline.commands.library:fit_pca",
        "train": "ndvr.pipeline.commands.training:train",
    },
    "Evaluation": {
        "evaluate": "ndvr.benchmarks.commands:evaluate",
        "stress": "ndvr.benchmarks.commands:stress",
    },
    "Before you start": {
        "doctor": "ndvr.pipeline.commands.methods:doctor",
        "methods": "ndvr.pipeline.commands.methods:methods",
        "plan": "ndvr.pipeline.commands.plan:plan",
    },
}
TRY_AGAIN = 75  # EX_TEMPFAIL, which schedulers repeat: a store did not answer, and may do so later
_WHERE = {name: where for group in COMMANDS.values() for name, where in group.items()}


def open_closed_streams() -> None:
    """Open what is closed of input, output and errors on nothing, as a daemon's may be.

    The next file that is opened would take its number, and what a library writes to errors would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


class Commands(click.Group):
    """Find commands in the table, and turn wrong settings into one sentence and exit code 2."""

    def main(self, *args: Any, **settings: Any) -> Any:
        open_closed_streams()
        return super().main(*args, **settings)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_WHERE)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _WHERE:
            return None
        module, function = _WHERE[name].split(":")
        return getattr(importlib.import_module(module), function)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in COMMANDS.items():
            with formatter.section(heading):
                each = {name: self.get_command(context, name) for name in commands}
                formatter.write_dl([(name, one.get_short_help_str(80)) for name, one in each.items() if one])

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Take --traceback from anywhere on the line; what stands behind "--" is no option."""
        end = args.index("--") if "--" in args else len(args)
        if "--traceback" in args[:end]:
            args = ["--traceback", *(each for each in args[:end] if each != "--traceback"), *args[end:]]
        return super().parse_args(context, args)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one is spelled nearly so."""
        name = args[0]
        if name not in _WHERE and not name.startswith("-") and not context.resilient_parsing:
            near = get_close_matches(name, _WHERE, n=1)
            guess = f" Did you mean '{near[0]}'?" if near else ""
            context.fail(f"No such command '{name}'.{guess}")
        return super().resolve_command(context, args)

    def invoke(self, context: click.Context):
        # A scheduler that wants its machine back, or a terminal that is closed, shall leave no more behind than Ctrl-C.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
                signal.signal(signal.SIGHUP, signal.default_int_handler)
        try:
            return super().invoke(context)
        except click.NoSuchOption as error:
            message = f"{error.message} If it begins an id or a path, put -- before it."
            raise click.NoSuchOption(error.option_name, message, error.possibilities, error.ctx) from None
        except (ValueError, FileNotFoundError, PermissionError) as error:
            if context.params.get("traceback"):
                raise
            click.echo(f"Error: {visible(str(error))}", err=True)
            context.exit(TRY_AGAIN if getattr(error, "passing", False) else 2)
        except RuntimeError as error:
            if context.params.get("traceback") or type(error).__name__ != "RunStopped":
                raise
            click.echo(f"Error: {visible(str(error))}", err=True)
            context.exit(TRY_AGAIN if getattr(error, "passing", False) else 1)
        except OSError as error:  # a disk that is full or read-only, a store that does not answer
            if context.params.get("traceback") or isinstance(error, BrokenPipeError):
                raise
            click.echo(f"Error: {visible(str(error))}", err=True)
            context.exit(1)


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
)
@click.version_option(ndvr.__version__, prog_name="ndvr")
@click.option("--traceback", is_flag=True, help="Show where an error comes from; anywhere on the line.")
def main(traceback: bool) -> None:
    """Have we seen this video before? Near-duplicate video retrieval at scale, by picture and by sound.

    Typical use: extract features once, add new videos every day, search.

    \b
      ndvr extract ./videos library/
      ndvr index   library/
      ndvr search  new.mp4 library/
    """


def run() -> None:
    """Run the command of this process, which then ends at once: to take torch apart costs Python half a second."""
    code: list[int] = []

    def end_at_once() -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads the answer: then Python ends as it does
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            if code:
                os._exit(code[0])

    atexit.register(end_at_once)  # the first to be registered is the last to be called
    try:
        main(prog_name="ndvr")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            code.append(end.code or 0)
        raise


if __name__ == "__main__":
    run()
