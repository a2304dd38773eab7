"""The commands of the pipeline: each one is a Python function with the same arguments and defaults.

Imports inside the functions keep `ndvr --help` instant.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

POOLS = ("decode_workers", "decode_cpus", "embed_workers", "embed_cpus", "embed_gpus")
METHOD_HELP = "Method by name; `ndvr methods` lists them."


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected KEY=VALUE, got {value!r}")
        pairs[key] = rest
    return pairs


def given(**settings: Any) -> dict[str, Any]:
    """Only what the user set; the defaults are written once, in the function."""
    return {key: value for key, value in settings.items() if value not in (None, (), {})}


method_option = click.option("--method", help=f"{METHOD_HELP} Default: thumbprint.")
weights_option = click.option("--weights", help="Published name, path, or random[:SEED] (tests only).")
option_option = click.option(
    "--option", "options", multiple=True, callback=_pairs, metavar="KEY=VALUE", help="Setting of a method, repeatable."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
quiet_option = click.option("--quiet", is_flag=True, help="No progress bar.")
address_option = click.option("--address", metavar="ADDR", help="Ray cluster to join; default: this machine.")


def _workers(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    from ndvr.pipeline.extraction.pools import workers_of

    try:
        return None if value is None else workers_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def pool_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that make ndvr.pipeline.extraction.pools.Pools."""
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


@click.command()
@click.argument("videos")
@click.argument("library")
@click.option("--method", "methods", multiple=True, help=f"{METHOD_HELP} Repeatable. Default: thumbprint.")
@click.option(
    "--weights",
    multiple=True,
    callback=_pairs,
    metavar="METHOD=WEIGHTS",
    help="Published name, path, or random[:SEED] (tests only). Default: the method's published weights.",
)
@option_option
@click.option("--decoder", help="auto (PyAV, then decord), pyav or decord. Default: auto.")
@click.option(
    "--retry", help="Try these failures again: classes separated by commas, e.g. timeout,io, or all; quarantined, too."
)
@pool_options
@click.option("--stall-s", type=float, help="Kill a decoder that makes no progress for this long. Default: 30.")
@click.option("--memory-gb", type=float, help="Kill a decoder that needs more. Default: 4.")
@click.option(
    "--plan", "estimate", type=click.Path(exists=True, dir_okay=False), help="Compare with `ndvr plan --save`."
)
@address_option
@quiet_option
@json_option
def extract(videos: str, library: str, **settings: Any) -> None:
    """Extract features of VIDEOS into LIBRARY, streaming; running again continues.

    VIDEOS is a folder, a text list ("id path" a line), a CSV or Parquet table (video_id, uri), or one video; LIBRARY
    is a folder of Parquet shards; both may be s3://bucket/path. Exit code 0: all done; 1: some videos failed, or the
    run was stopped; 2: wrong usage.
    """
    from ndvr.operators.errors import ERROR_CLASSES
    from ndvr.operators.video.decode import Limits
    from ndvr.pipeline.estimate.result import compare
    from ndvr.pipeline.extraction import extract as run
    from ndvr.pipeline.extraction.pools import Pools
    from ndvr.pipeline.runs.record import summary_text

    as_json, quiet = settings.pop("as_json"), settings.pop("quiet")
    retry, estimate = settings.pop("retry"), settings.pop("estimate")
    classes = ERROR_CLASSES if retry == "all" else tuple(filter(None, (retry or "").split(",")))
    limits = Limits(**given(stall_s=settings.pop("stall_s"), memory_gb=settings.pop("memory_gb")))
    settings |= {"limits": limits, "pools": Pools(**{name: settings.pop(name) for name in POOLS})}
    summary = run.extract(videos, library, **given(retry=classes, **settings), progress=not quiet)
    click.echo(json.dumps(summary.to_json(), ensure_ascii=False) if as_json else summary_text(summary))
    if estimate and not as_json:
        with open(estimate, encoding="utf-8") as file:
            click.echo(compare(json.load(file), summary.to_json()))
    if summary.failed:
        raise SystemExit(1)


@click.command()
@click.argument("a")
@click.argument("b")
@method_option
@weights_option
@option_option
@click.option("--plot", metavar="PNG", help="Draw the frame-to-frame similarities.")
@json_option
def compare(a: str, b: str, as_json: bool, **settings: Any) -> None:
    """Compare two videos, A and B, without Ray: the score, and a picture of where they agree."""
    from ndvr.pipeline.comparison import pair as run

    result = run.compare(a, b, **given(**settings))
    click.echo(json.dumps(result.to_json(), ensure_ascii=False) if as_json else result.text())


@click.command()
@click.argument("name", required=False)
@json_option
def methods(name: str | None, as_json: bool) -> None:
    """List the methods, or everything about one NAME: paper, view, feature, weights, options."""
    from ndvr.pipeline.commands import methods as listing

    click.echo(json.dumps(listing.as_json(name)) if as_json else listing.as_text(name))


@click.command()
@click.argument("library")
@click.option("--failures", is_flag=True, help="List failed and skipped videos with the reason.")
@click.option("--list", "as_list", is_flag=True, help='Only the videos with features, as a list: "id path" a line.')
@click.option("--runs", is_flag=True, help="The extractions that wrote into it, and what bounded the last of them.")
@json_option
def show(library: str, failures: bool, as_list: bool, runs: bool, as_json: bool) -> None:
    """Say what LIBRARY holds: configurations, videos, windows, bytes, failures."""
    from ndvr.pipeline.upkeep import show as run

    if runs:
        from ndvr.operators.library.library import Library
        from ndvr.pipeline.runs import record as run_record

        records = run_record.runs(Library(library).store)
        every = [record.to_json() for record in records]
        click.echo(json.dumps(every, ensure_ascii=False) if as_json else run_record.runs_text(records))
        return
    view = run.show(library)
    if as_list:
        click.echo(view.listed())
    elif as_json:
        click.echo(json.dumps(view.to_json(failures=failures), ensure_ascii=False))
    else:
        click.echo(view.text(failures=failures))


@click.command("import")
@click.argument("files")
@click.argument("library")
@click.option("--method", required=True, help=f"Whose features they are. {METHOD_HELP}")
@option_option
@click.option("--dtype", type=click.Choice(["float16", "float32"]), help="How to keep them. Default: as extract does.")
@click.option("--label", metavar="TEXT", help="Features of one label are comparable. Default: as published.")
@click.option("--like", metavar="LIBRARY", help="On your word: made with the weights and view of this library's.")
@click.option("--config", help="Configuration of --like, when it holds several of the method.")
@click.option("--untrained", is_flag=True, help="They come from random weights: mark all scores made of them.")
@click.option("--retry", help="Try these failures again: classes separated by commas, e.g. corrupt,io, or all.")
@quiet_option
@json_option
def import_(files: str, library: str, **settings: Any) -> None:
    """Import features that others extracted from FILES into LIBRARY; running again continues.

    FILES is an HDF5 file with a dataset per video (S2VS, DnS, TCA), a folder of ID/wlaf.npz (AuSiL), ID.npz or
    ID.npy, a list ("id path" a line; path may be FILE.hdf5::DATASET), or one .npy or .npz. Afterwards LIBRARY
    serves as if `ndvr extract` had made it. Exit code 0: all done; 1: some videos failed; 2: wrong usage.
    """
    from ndvr.operators.errors import ERROR_CLASSES
    from ndvr.pipeline.extraction import import_features as run
    from ndvr.pipeline.runs.record import import_text

    as_json, quiet, retry = settings.pop("as_json"), settings.pop("quiet"), settings.pop("retry")
    classes = ERROR_CLASSES if retry == "all" else tuple(filter(None, (retry or "").split(",")))
    summary = run.import_features(files, library, **given(retry=classes, **settings), progress=not quiet)
    click.echo(json.dumps(summary.to_json(), ensure_ascii=False) if as_json else import_text(summary))
    if summary.failed:
        raise SystemExit(1)


@click.command("fit-pca")
@click.argument("library")
@click.argument("out", metavar="OUT.npz")
@click.option("--dims", type=click.IntRange(1), help="Directions to keep. Default: 1024.")
@click.option("--frames-per-video", type=click.IntRange(0), help="Drawn with replacement; 0: all, once. Default: 10.")
@click.option("--seed", type=click.IntRange(0), help="Of the draw. Default: 0.")
@click.option("--config", help="Configuration, when LIBRARY holds several of raw vectors.")
@quiet_option
@json_option
def fit_pca(library: str, out: str, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Learn the PCA that TCA needs from LIBRARY, which holds raw features of your videos.

    \b
      ndvr extract VIDEOS LIBRARY --method tca --option pca=none
      ndvr fit-pca LIBRARY OUT.npz
      ndvr extract VIDEOS FEATURES --method tca --option pca=OUT.npz
    """
    from ndvr.pipeline.upkeep import fit_pca as run

    done = run.fit_pca(library, out, **given(**settings), progress=not quiet)
    if as_json:
        click.echo(json.dumps(done.to_json(), ensure_ascii=False))
        return
    if not done.trained:
        click.echo("WARNING: the features are of untrained (random) weights; so is this PCA.", err=True)
    click.echo(done.text())
