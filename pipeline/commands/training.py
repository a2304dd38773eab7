"""The command that trains what compares features."""

from __future__ import annotations

import json
from typing import Any

import click

from ndvr.pipeline.commands.option_types import LIBRARY, METHOD, PATH, KeyValue
from ndvr.pipeline.commands.options import (
    address_option,
    check_method,
    config_option,
    given,
    json_option,
    option_option,
    quiet_option,
    strict_option,
    tell_left_out,
    weights_option,
)


@click.command()
@click.argument("method", type=METHOD)
@click.argument("library", type=LIBRARY, metavar="LIBRARY|VIDEOS")
@click.argument("out", type=PATH)
@click.option("--related", type=PATH, metavar="FILE", help="CSV: query_id,video_id, or video_id,class. Default: none.")
@click.option("--teacher", type=PATH, metavar="SCORES", help="dns: whose scores are learnt, of `ndvr similarity`.")
@click.option("--coarse", type=PATH, metavar="SCORES", help="dns: coarse scores; the selector learns to doubt them.")
@click.option("--truth", type=PATH, metavar="FILE", help="The same, of videos held out, to be judged by.")
@click.option("--test", type=LIBRARY, help="Where the videos of --truth are. Default: in LIBRARY.")
@click.option("--steps", type=click.IntRange(1), help="How many. Default: 1000.")
@click.option("--every", type=click.IntRange(1), metavar="N", help="Judge and save every N steps. Default: ten times.")
@click.option("--patience", type=click.IntRange(1), metavar="N", help="Stop after N times without a better mAP.")
@click.option("--seed", type=click.IntRange(0), help="Of all that is drawn. Default: 0.")
@click.option(
    "--set", "settings", type=KeyValue(), multiple=True, metavar="KEY=VALUE",
    help="Setting of the training, such as rate, margin; repeatable. A wrong one is answered with all.",
)  # fmt: skip
@click.option("--augmentations", metavar="GT,FT,TT,ViV", help="s2vs: of views. Default: all; of a library TT.")
@click.option("--frames", type=PATH, metavar="FOLDER", help="Where frames of VIDEOS are kept. Default: OUT/frames.")
@option_option
@weights_option
@config_option
@click.option("--workers", type=click.IntRange(0), metavar="N", help="On Ray, sharing each step. Default: 0, no Ray.")
@click.option("--parts", type=click.IntRange(1), help="Batches of a step. Default: one for each worker.")
@address_option
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), help="Default: auto, a GPU where there is one.")
@click.option(
    "--precision", type=click.Choice(("float32", "mixed")), help="mixed: bfloat16, on a GPU. Default: float32."
)
@click.option("--memory-gb", type=float, help="Of features, all of which are kept in memory. Default: 4.")
@click.option("--resume", is_flag=True, help="Go on with the training that OUT holds, as if it had never stopped.")
@strict_option
@quiet_option
@json_option
def train(method: str, library: str, out: str, quiet: bool, as_json: bool, **settings: Any) -> None:
    """Train what compares features, from LIBRARY; s2vs also from VIDEOS.

    OUT is what --weights takes afterwards; here --weights are to start from, by default drawn with --seed. Without
    --related, parts of one video that were changed in time are alike. From VIDEOS, a folder, list or bucket, S2VS
    learns without labels, by views of pictures; frames are decoded once.

    \b
      ndvr train tca LIBRARY OUT --related copies.csv --truth others.csv
      ndvr similarity LIBRARY LIBRARY SCORES --method tca --weights OUT
      ndvr train s2vs VIDEOS OUT --option backbone=lite0 --truth others.csv --test OTHERS
      ndvr train dns LIBRARY OUT --option student=coarse --teacher SCORES --truth others.csv
    """
    settings = check_method(settings | {"method": method, "settings": dict(settings["settings"])})

    from ndvr.pipeline.training.train import train as run

    done = run(settings.pop("method"), library, out, **given(**settings), progress=not quiet)
    if not done.trained_features:
        click.echo("WARNING: the features are of untrained (random) weights; what was learnt holds for them.", err=True)
    click.echo(json.dumps(done.to_json(), ensure_ascii=False) if as_json else done.text())
    tell_left_out(done)
