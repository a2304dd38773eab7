"""The command `ndvr plan`: what an extraction would cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ndvr.pipeline.commands.option_types import LIBRARY, PATH
from ndvr.pipeline.commands.options import (
    POOLS,
    address_option,
    check_methods,
    decoder_option,
    given,
    id_from_option,
    json_option,
    methods_option,
    option_option,
    pool_options,
    prefix_option,
    quiet_option,
    warn_of_unlisted,
    weights_option,
)


@click.command()
@click.argument("videos", type=PATH)
@click.argument("library", type=LIBRARY, required=False)
@methods_option
@weights_option
@option_option
@prefix_option
@id_from_option
@decoder_option
@click.option("--sample", help="Videos to extract: a share or a number. Default: 1%, at least 8, at most 100.")
@click.option("--seed", type=click.IntRange(0), help="Of the draw. Default: 0.")
@click.option("--cpus", type=click.IntRange(1), help="Of the cluster to plan for. Default: this machine's.")
@click.option("--gpus", type=click.IntRange(0), help="Of the cluster to plan for.")
@click.option("--gpu-cores", type=float, help="Cores that a GPU stands for, where none is here. Default: 40.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Keep the estimate as JSON, to be compared with the run.",
)
@pool_options
@address_option
@quiet_option
@json_option
def plan(videos: str, library: str | None, save: str | None, **settings: Any) -> None:
    """Say what extracting VIDEOS would cost, before it is done.

    Time, core-hours, GPU-hours, bytes, and what bounds it. Reads headers and really extracts about 1 % of the videos,
    spread over codecs and sizes; writes nothing. With LIBRARY, what is done already is left out. Ranges hold 80 of 100
    runs. Exit code 1: a folder could not be listed.

    \b
      ndvr plan ./videos --method s2vs
      ndvr plan videos.csv library/ --method s2vs --cpus 320 --gpus 4
    """
    settings["weights"] = check_methods(settings["methods"], settings["weights"], settings["options"])

    from ndvr.pipeline.estimate.estimate import Sampling, make_estimate
    from ndvr.pipeline.estimate.wall_time import Target
    from ndvr.pipeline.extraction.pools import Pools

    as_json, quiet = settings.pop("as_json"), settings.pop("quiet")
    pools = Pools(**{name: settings.pop(name) for name in POOLS})
    gpus = settings.pop("gpus")  # 0 is a setting, too
    target = given(**{name: settings.pop(name) for name in ("cpus", "gpu_cores", "address")})
    sampling = Sampling(**given(sample=settings.pop("sample"), seed=settings.pop("seed")))
    estimate = make_estimate(
        videos,
        library,
        **given(**settings),
        sampling=sampling,
        target=Target(**target, gpus=gpus, pools=pools),
        progress=not quiet,
    )
    report = estimate.to_json()
    if save:
        Path(save).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    warn_of_unlisted(estimate.scope.unlisted)
    click.echo(json.dumps(report, ensure_ascii=False) if as_json else estimate.text())
    if estimate.scope.unlisted:
        raise SystemExit(1)
