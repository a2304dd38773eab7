"""The graph on several nodes: each stage where it belongs, the same library as on one, also when a node is lost."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from clip_library import extract
from clips import numbered_clip
from places import SUPPORT, python_path

from ndvr.operators.library.library import Library
from ndvr.operators.library.shards import CommitOrStop
from ndvr.operators.sandbox.walls import on_this_machine
from ndvr.operators.video.decode import this_host
from ndvr.pipeline.extraction.graph import DecodeActor, EmbedActor

pytestmark = [pytest.mark.ray, pytest.mark.nodes]
N_VIDEOS = 24


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(N_VIDEOS):
        numbered_clip(folder / f"{number:02}.mp4", n_frames=60 + number, fps=25)
    return folder


@pytest.fixture(scope="module")
def several(videos, tmp_path_factory):
    """Head, two CPU nodes, one that says it has a GPU; one of the CPU nodes is killed in the middle."""
    library = tmp_path_factory.mktemp("several") / "library"
    # A folder of its own: in the usual one, Ray of other processes would find this cluster and join it.
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as ray_folder:  # the paths of sockets must be short
        done = subprocess.run(
            [sys.executable, str(SUPPORT / "several_nodes.py"), str(videos), str(library)],
            capture_output=True,
            text=True,
            env=os.environ | {"RAY_TMPDIR": ray_folder, "PYTHONPATH": python_path()},
            timeout=900,
        )
    assert done.returncode == 0, done.stderr
    return library, done


def test_decoders_run_on_cpu_nodes_and_models_on_the_gpu_node_and_nothing_on_the_head(several):
    workers = json.loads(several[1].stdout)["workers"]
    assert workers[DecodeActor.__name__] == ["spot", "steady"]
    assert workers[EmbedActor.__name__] == ["gpu"]
    assert "head" not in workers[CommitOrStop.__name__]


def test_a_node_lost_in_the_middle_costs_no_video(several):
    found = json.loads(several[1].stdout)
    assert found["alive"] == ["gpu", "steady"]
    assert found["committed_before"] < N_VIDEOS, "it was over before the node was killed"
    assert (found["summary"]["done"], found["summary"]["failed"]) == (N_VIDEOS, {})


def test_no_worker_outlives_the_pass_it_worked_for(several):
    """It would hold the GPU, or the last CPUs, that the next pass waits for."""
    assert json.loads(several[1].stdout)["left"] == []


def test_the_record_has_the_walls_of_every_host_that_decoded(several):
    record = json.loads(several[1].stdout)["summary"]["run"]
    assert record["walls_by_host"] == {this_host(): list(on_this_machine())}
    assert record["walls"] == list(on_this_machine())


def test_a_search_on_several_nodes_answers_as_one_machine_and_says_what_a_lost_node_costs(several):
    searches = json.loads(several[1].stdout)["search"]
    assert (searches["segments"], searches["holders"]) == (3, ["gpu", "gpu", "steady"])
    assert [answer["status"] for answer in searches["alone"]] == ["searched", "searched"]
    assert any(answer["matches"] for answer in searches["alone"])
    assert searches["together"] == searches["alone"]
    assert searches["after"][0]["videos"] < N_VIDEOS, "two of the three parts were on the machine that is lost"
    for answer in searches["after"]:  # the machine that is left takes their place, sooner or later
        unsearched = N_VIDEOS - answer["videos"]
        sentence = f"{unsearched} videos were not searched, as the machine that held their part of the index is gone"
        assert answer["status"] == ("partial" if unsearched else "searched")
        assert sentence in answer["message"] or not unsearched


def test_several_nodes_make_the_same_library_as_one_process(several, videos, tmp_path):
    one = rows(extract(tmp_path / "one", {path.name: path for path in sorted(videos.iterdir())}))
    many = rows(several[0])
    assert len(one) == N_VIDEOS and one.keys() == many.keys()
    for video_id, (start_s, features) in one.items():
        np.testing.assert_array_equal(start_s, many[video_id][0])
        assert features.tobytes() == many[video_id][1].tobytes(), video_id


def test_what_ray_says_about_lost_workers_stays_out_of_our_output(several):
    assert len(several[1].stdout.splitlines()) == 1
    assert several[1].stderr == ""


def rows(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Video -> when its windows start, and their features."""
    library = Library(path)
    (config,) = library.configs
    return {video_id: rest for video_id, *rest in library.read(library.entries(config).values())}
