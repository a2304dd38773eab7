"""Options that several commands share: a name means the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import click

from ndvr import models
from ndvr.operators.storage.text_files import visible
from ndvr.pipeline import settings as method_settings
from ndvr.pipeline.commands.option_types import METHOD, KeyValue, OneOf, RetryClasses, Weights, unknown

POOLS = ("decode_workers", "decode_cpus", "embed_workers", "embed_cpus", "embed_gpus")
DEFAULT_METHOD = "thumbprint"
METHOD_HELP = "Method by name; `ndvr methods` lists them."
Command = Callable[..., None]
_MOST_NAMED = 20  # lines on stderr


def given(**settings: Any) -> dict[str, Any]:
    """Take only what the user set; the defaults are written once, in the function."""
    return {key: value for key, value in settings.items() if value not in (None, (), {})}


def _mapping(context: click.Context, parameter: click.Parameter, values: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(values)


def _workers(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    from ndvr.pipeline.extraction.pools import workers_of

    try:
        return workers_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def renamed(old: str, new: str) -> Callable[[Command], Command]:
    """Refuse the old name of an option with a sentence that has the new one."""

    def refuse(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None and not context.resilient_parsing:
            raise ValueError(f"{old} is called {new} in `ndvr {context.info_name}` now: give {new} {value}")

    return click.option(old, hidden=True, expose_value=False, callback=refuse)


method_option = click.option("--method", type=METHOD, help=f"{METHOD_HELP} Default: {DEFAULT_METHOD}.")
methods_option = click.option(
    "--method", "methods", type=METHOD, multiple=True, help=f"{METHOD_HELP} Repeatable. Default: {DEFAULT_METHOD}."
)
weights_option = click.option(
    "--weights",
    type=Weights(),
    multiple=True,
    metavar="[METHOD=]WEIGHTS",
    help="Published name, path, or random[:SEED] (tests only). Default: the method's published weights.",
)
option_option = click.option(
    "--option",
    "options",
    type=KeyValue(),
    multiple=True,
    callback=_mapping,
    metavar="KEY=VALUE",
    help="Setting of a method, repeatable.",
)
config_option = click.option("--config", help="Configuration, when a library holds several of the method.")
decoder_option = click.option(
    "--decoder", type=OneOf("decoder", ("auto", "pyav", "decord")), help="auto: PyAV, then decord. Default: auto."
)
prefix_option = click.option("--prefix", metavar="TEXT", help="Put TEXT before every id.")
id_from_option = click.option(
    "--id-from",
    type=OneOf("id_from", ("path", "name", "hash")),
    help="Ids that are whole paths, file names, or hashes of the bytes. Default: paths below VIDEOS, or as listed.",
)
retry_option = click.option(
    "--retry",
    type=RetryClasses(),
    metavar="CLASS,...",
    help="Try these failures again: classes separated by commas, e.g. timeout,io, or all; quarantined, too.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes at work at once. Default: one per GPU, or per CPU; 0: this one, without Ray.",
)
worker_memory_option = click.option(
    "--memory-gb", type=float, help="Of videos in a worker's memory, beside some 1.2 GB for itself. Default: 2."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
strict_option = click.option(
    "--strict", is_flag=True, help="Stop where features are missing or damaged, instead of leaving their videos out."
)
quiet_option = click.option("--quiet", is_flag=True, help="No progress bar.")
address_option = click.option("--address", metavar="ADDR", help="Ray cluster to join; default: this machine.")


def pool_options(command: Command) -> Command:
    """Add the options that make ndvr.pipeline.extraction.pools.Pools."""
    workers: dict[str, Any] = {"metavar": "N|MIN-MAX", "callback": _workers}
    for option in (
        click.option("--embed-cpus", type=float, help="CPUs an embedding worker counts for. Default: none on a GPU."),
        click.option("--embed-gpus", type=float, help="GPUs per embedding worker; 0.5: two share one. Default: 1."),
        click.option("--embed-workers", **workers, help="Models at work. Default: one per GPU, or per 4 CPUs."),
        click.option("--decode-cpus", type=float, help="CPUs a decoder counts for. Default: 1, or its share."),
        click.option("--decode-workers", **workers, help="Videos decoded at once. Default: one per CPU."),
    ):
        command = option(command)
    return command


def warn_of_unlisted(unlisted: dict[str, str]) -> None:
    """Name on stderr what of VIDEOS could not be looked at."""
    for name, why in list(unlisted.items())[:_MOST_NAMED]:
        click.echo(f"WARNING: cannot look into {visible(name)}: {why}; what lies there is unknown", err=True)
    if len(unlisted) > _MOST_NAMED:
        click.echo(f"WARNING: and {len(unlisted) - _MOST_NAMED:,} more; --json names them all", err=True)


class Leaving(Protocol):
    """What a command did, which may have left videos out."""

    def left_out_text(self) -> str:
        """Name them; nothing when none was left out."""


def tell_left_out(done: Leaving) -> None:
    """Name on standard error what was left out, and exit with 1; return when nothing was."""
    if text := done.left_out_text():
        click.echo(text, err=True)
        raise SystemExit(1)


def check_methods(
    methods: Sequence[str], weights: Sequence[tuple[str | None, str]], options: dict[str, str]
) -> dict[str, str]:
    """Check weights by method; refuse what does not fit the methods before anything heavy is imported."""
    chosen = tuple(methods) or (DEFAULT_METHOD,)
    known = {key: None for method in chosen for key in models.card(method).options}
    for key in options:
        if key not in known:
            raise ValueError(unknown("option", key, known, of=f" of {', '.join(chosen)}"))
    if len(chosen) > 1 and (unnamed := [value for method, value in weights if method is None]):
        raise ValueError(f"--weights {unnamed[0]}: say of which method, --weights {chosen[0]}={unnamed[0]}")
    by_method = {method or chosen[0]: value for method, value in weights}
    method_settings.choose(chosen, by_method, options)
    return by_method


def check_method(settings: dict[str, Any]) -> dict[str, Any]:
    """Check the settings of a command for one method; `weights` become the text that belongs to it."""
    method = settings.get("method") or DEFAULT_METHOD
    weights = check_methods((method,), settings["weights"], settings["options"])
    return settings | {"weights": weights.get(method)}
