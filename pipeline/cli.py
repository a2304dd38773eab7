"""The `ndvr` command. Commands are entry points of the group `ndvr.commands` (setup.cfg), so that layers above
this one can add theirs; modules they live in import nothing heavy, so `ndvr --help` answers at once."""

from __future__ import annotations

import signal
import sys
import threading
from importlib.metadata import entry_points

import click

GROUP = "ndvr.commands"
# As one uses them, not as the alphabet has them.
ORDER = (
    "demo",
    "methods",
    "plan",
    "extract",
    "import",
    "similarity",
    "dedupe",
    "evaluate",
    "compare",
    "show",
    "explain",
    "remove",
    "fsck",
    "gc",
    "fit-pca",
)


class Commands(click.Group):
    """Finds commands by entry point and turns wrong settings into one sentence and exit code 2."""

    def list_commands(self, context: click.Context) -> list[str]:
        found = {point.name for point in entry_points(group=GROUP)}
        return [name for name in ORDER if name in found] + sorted(found - set(ORDER))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        for point in entry_points(group=GROUP, name=name):
            return point.load()
        return None

    def invoke(self, context: click.Context):
        # A scheduler that wants its machine back shall leave no more behind than Ctrl-C does.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(context)
        except (ValueError, FileNotFoundError, PermissionError) as error:
            if context.params.get("traceback"):
                raise
            click.echo(f"Error: {error}", err=True)
            context.exit(2)
        except RuntimeError as error:
            if context.params.get("traceback") or type(error).__name__ != "RunStopped":
                raise
            click.echo(f"Error: {error}", err=True)
            context.exit(1)
        except OSError as error:  # a disk that is full or read-only, a store that does not answer
            if context.params.get("traceback") or isinstance(error, BrokenPipeError):
                raise
            click.echo(f"Error: {error}", err=True)
            context.exit(1)


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
)
@click.version_option(package_name="ndvr")
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Have we seen this video before? Near-duplicate video retrieval at scale, by picture and by sound.

    Typical use: extract features of a collection once, add new videos every day, compare, evaluate.

    \b
      ndvr extract    ./videos library/
      ndvr similarity library/ library/ scores/
      ndvr evaluate   scores/ --truth truth.csv
    """


if __name__ == "__main__":
    sys.exit(main())
