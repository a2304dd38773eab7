"""The commands that fill a library: `ndvr extract`, `ndvr import`.

Each command is a Python function with the same arguments and defaults; imports inside the commands keep
`ndvr --help` instant.
"""

from __future__ import annotations

import json
from typing import Any

import click

from ndvr.pipeline.commands.option_types import LIBRARY, METHOD, PATH, OneOf
from ndvr.pipeline.commands.options import (
    METHOD_HELP,
    POOLS,
    address_option,
    check_methods,
    config_option,
    decoder_option,
    given,
    id_from_option,
    json_option,
    methods_option,
    option_option,
    pool_options,
    prefix_option,
    quiet_option,
    renamed,
    retry_option,
    warn_of_unlisted,
    weights_option,
)


@click.command()
@click.argument("videos", type=PATH)
@click.argument("library", type=LIBRARY)
@methods_option
@weights_option
@option_option
@prefix_option
@id_from_option
@decoder_option
@click.option(
    "--gone",
    type=OneOf("gone", ("keep", "mark")),
    help="Videos that the folder has no more: mark keeps them out of new pairs. Default: keep.",
)
@retry_option
@pool_options
@click.option("--stall-s", type=float, help="Kill a decoder that makes no progress for this long. Default: 30.")
@click.option("--decode-memory-gb", type=float, help="Kill a decoder that needs more. Default: 4.")
@renamed("--memory-gb", "--decode-memory-gb")
@click.option(
    "--plan", "estimate", type=click.Path(exists=True, dir_okay=False), help="Compare with `ndvr plan --save`."
)
@address_option
@quiet_option
@json_option
def extract(videos: str, library: str, **settings: Any) -> None:
    """Extract features of VIDEOS into LIBRARY, streaming. Running it again continues.

    VIDEOS is a folder, a text list ("id path" a line), a CSV or Parquet table (video_id, uri), or one video; LIBRARY
    is a folder of Parquet shards; both may be s3://bucket/path. Exit code 0: all done; 1: some videos failed, a folder
    could not be listed, or the run was stopped; 2: wrong usage; 75: a store did not answer, try
    later.
    """
    settings["weights"] = check_methods(settings["methods"], settings["weights"], settings["options"])

    from ndvr.operators.sandbox.walls import missing_text
    from ndvr.operators.video.decode import Limits
    from ndvr.pipeline.estimate.result import compare, read_estimate
    from ndvr.pipeline.extraction import extract as run
    from ndvr.pipeline.extraction.pools import Pools
    from ndvr.pipeline.runs.record import summary_text

    as_json, quiet = settings.pop("as_json"), settings.pop("quiet")
    estimate = read_estimate(path) if (path := settings.pop("estimate")) else None
    limits = Limits(**given(stall_s=settings.pop("stall_s"), memory_gb=settings.pop("decode_memory_gb")))
    settings |= {"limits": limits, "pools": Pools(**{name: settings.pop(name) for name in POOLS})}
    summary = run.extract(videos, library, **given(**settings), progress=not quiet)
    warn_of_unlisted(summary.unlisted)
    click.echo(json.dumps(summary.to_json(), ensure_ascii=False) if as_json else summary_text(summary))
    if estimate and not as_json:
        click.echo(compare(estimate, summary.to_json()))
    if summary.record and (text := missing_text(summary.record.walls)):
        click.echo(f"WARNING: {text}", err=True)
    if summary.failed or summary.unlisted:
        raise SystemExit(1)


@click.command("import")
@click.argument("files", type=PATH)
@click.argument("library", type=LIBRARY)
@click.option("--method", type=METHOD, required=True, help=f"Whose features they are. {METHOD_HELP}")
@option_option
@click.option(
    "--dtype", type=OneOf("dtype", ("float16", "float32")), help="How to keep them. Default: as extract does."
)
@click.option("--label", metavar="TEXT", help="Features of one label are comparable. Default: as published.")
@click.option(
    "--like", type=LIBRARY, metavar="LIBRARY", help="On your word: made with the weights and view of this library's."
)
@config_option
@prefix_option
@click.option("--untrained", is_flag=True, help="They come from random weights: mark all scores made of them.")
@retry_option
@quiet_option
@json_option
def import_(files: str, library: str, **settings: Any) -> None:
    """Import features that others extracted into LIBRARY. Running it again continues.

    FILES is an HDF5 file with a dataset per video (S2VS, DnS, TCA), a folder of ID/wlaf.npz (AuSiL), ID.npz or
    ID.npy, a list ("id path" a line; path may be FILE.hdf5::DATASET), or one .npy or .npz. Afterwards LIBRARY
    serves as if `ndvr extract` had made it. Exit code 0: all done; 1: some videos failed; 2: wrong usage; 75: a store
    did not answer, try later.
    """
    check_methods((settings["method"],), (), settings["options"])

    from ndvr.pipeline.extraction import import_features as run
    from ndvr.pipeline.runs.record import import_text

    as_json, quiet = settings.pop("as_json"), settings.pop("quiet")
    summary = run.import_features(files, library, **given(**settings), progress=not quiet)
    click.echo(json.dumps(summary.to_json(), ensure_ascii=False) if as_json else import_text(summary))
    if summary.failed:
        raise SystemExit(1)
