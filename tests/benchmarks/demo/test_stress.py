"""A report card on made videos: what is found, with its times; what is asked for wrongly."""

from __future__ import annotations

import json

import clip_library as clips
import pytest
from click.testing import CliRunner

from ndvr.benchmarks.demo.graded import GRADED
from ndvr.benchmarks.demo.stress import stress
from ndvr.operators.media.clip import read_clip
from ndvr.pipeline.cli import main

pytestmark = pytest.mark.slow

EASY = ("mirrored", "trimmed to", "re-encoded")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stress")
    videos = {f"film{n}": clips.clip(folder / f"film{n}.mp4", clips.scene(n, 8)) for n in range(4)}
    return clips.extract(folder / "library", videos)


def test_easy_edits_are_found_first_with_their_times(library, tmp_path):
    card = stress(library, edited=1, edits=EASY, out=tmp_path / "out", progress=False)
    assert (card.videos, card.edited) == (4, ["film0"])
    assert {(t.rank, t.false_matches) for t in card.tried} == {(1, ())}
    assert len(card.tried) == 7 and max(t.time_error_s for t in card.tried) <= 0.6
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 7
    rows = [line.split() for line in card.text().splitlines()]
    assert ["all", "7", "0", "0"] in [row[:4] for row in rows]


def test_the_command_prints_what_the_function_gives(library):
    done = CliRunner().invoke(
        main, ["stress", str(library), "--edited", "1", "--edit", "mirrored", "--json", "--quiet"]
    )
    assert [each["rank"] for each in json.loads(done.stdout)["tried"]] == [1]
    done = CliRunner().invoke(main, ["stress", str(library), "--edit", "melted"])
    assert done.exit_code == 2 and "no edit 'melted'; choose among re-encoded" in done.output


def test_every_edit_makes_a_video_whose_times_lie_within_it(library):
    sources = [read_clip(library.parent / f"film{n}.mp4") for n in range(4)]
    import numpy as np

    for graded in GRADED:
        made = graded.make(sources[: graded.sources], np.random.default_rng(0))
        assert made.clip.frames.dtype == np.uint8 and made.clip.frames.ndim == 4
        for row in made.relations:
            assert 0 <= row.q[0] < row.q[1] <= made.clip.duration_s + 0.2, graded
            assert 0 <= row.v[0] < row.v[1] <= sources[row.source].duration_s + 0.2, graded
