"""The benchmark of FIVR-200K's size, on a few hundred videos: every stage is measured and nothing is missing."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ndvr.benchmarks.speed.fivr_200k import growth, main, measure
from ndvr.benchmarks.speed.fivr_200k_data import (
    LABELS,
    QUERIES,
    VIDEOS,
    bytes_per_video,
    read_collection,
    write_library,
    write_made_up,
)
from ndvr.benchmarks.speed.fivr_200k_stages import Job, evaluate, similarity, write
from ndvr.benchmarks.speed.process_cost import measured
from ndvr.operators.library.library import Library
from ndvr.pipeline.settings import choose_one


@pytest.fixture(scope="module")
def annotations(tmp_path_factory) -> Path:
    return write_made_up(tmp_path_factory.mktemp("annotation"), queries=4, videos=1200)


def job(annotations, folder, *, method="c3dhash", fraction=1.0, frames=3) -> Job:
    return Job(
        method=method, fraction=fraction, frames=frames, annotations=str(annotations), folder=str(folder), workers=0
    )


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def planted(folder, collection, videos, *, method="tca", n_windows=1) -> dict[str, np.ndarray]:
    library = write_library(folder, collection, videos, setting=choose_one(method, "random"), n_windows=n_windows)
    entries = library.entries(library.config_of(method))
    return {video: found.astype(np.float32) for video, _, found in library.read(entries.values())}


@pytest.mark.slow
def test_every_stage_of_a_frame_method_is_measured_and_projected(annotations, tmp_path):
    given = ["--annotations", annotations, "--folder", tmp_path / "work", "--out", tmp_path / "out.json"]
    done = run(*given, "--method", "csl3d", "--fractions", 0.25, "--frames", 4, "--workers", 0)
    assert done.exit_code == 0, done.output
    assert "these numbers say nothing about the methods" in done.output and "PROJECTED" in done.output
    assert not list((tmp_path / "work").iterdir()), "what was written is removed"
    found = json.loads((tmp_path / "out.json").read_text())["results"]
    (measurement,) = found["runs"]
    assert (measurement["videos"], measurement["windows"], measurement["pairs"]) == (303, 4, 4 * 303)
    for name in ("write", "similarity", "evaluate"):
        cost = measurement["stages"][name]["cost"]
        assert cost["wall_s"] > 0 and cost["cpu_s"] > 0 and cost["private_mb"] > 20 and cost["read_bytes"] > 0
    assert measurement["stages"]["write"]["bytes"] > 303 * 4 * 768 * 2
    projection = measurement["projection"]
    assert projection["mean_frames"] == 112 and projection["times_a_pair"] > 1
    assert projection["hours_at_mean_frames"] > projection["hours"] > 0


@pytest.mark.slow
def test_a_code_method_goes_from_features_to_map_with_nothing_missing(annotations, tmp_path):
    mine = job(annotations, tmp_path)
    assert (mine.compact, mine.windows) == (True, 1)
    assert write(mine)["videos"] == 1200
    config = next(iter(Library(mine.library).configs.values()))
    assert (config.trained, config.weights) == (False, "planted noise")
    compared = similarity(mine)
    assert (compared["pairs"], compared["missing_videos"]) == (4800, 0)
    found = evaluate(mine)
    assert found["complete"] and found["pairs"] == 4800
    assert {"DSVR", "CSVR", "ISVR", "DAVR"} == set(found["tasks"])
    assert all(0.02 < task["map"] < 0.98 for task in found["tasks"].values())


def test_a_share_is_judged_on_its_own_videos(annotations, tmp_path):
    mine = job(annotations, tmp_path, fraction=0.1)
    write(mine)
    similarity(mine)
    found = evaluate(mine)
    assert found["complete"] and found["pairs"] == 4 * (4 + 120)


def test_shares_hold_all_queries_and_contain_each_other(annotations):
    collection = read_collection(annotations)
    tenth, half = collection.share(0.1), collection.share(0.5)
    assert set(collection.queries) < set(tenth) < set(half) < set(collection.share(1))
    assert len(tenth) == 4 + 120 and len(collection.share(1)) == 1200
    right = [sum(video in collection.labels for video in share) for share in (half, collection.share(1))]
    assert right[0] / right[1] == pytest.approx(0.5, abs=0.2)  # thinned like the others: 70 are few


def test_the_same_video_has_the_same_features_in_every_share(annotations, tmp_path):
    collection = read_collection(annotations)
    few = planted(tmp_path / "few", collection, collection.share(0.1))
    all_of_them = planted(tmp_path / "all", collection, collection.share(0.5))
    assert set(few) < set(all_of_them)
    for video, features in few.items():
        np.testing.assert_array_equal(features, all_of_them[video])


@pytest.mark.slow
def test_right_videos_lie_nearer_the_stronger_their_label(annotations, tmp_path):
    collection = read_collection(annotations)
    found = planted(tmp_path / "lib", collection, collection.videos, n_windows=2)
    shown: dict[str, list[float]] = {}
    for video, labels in collection.labels.items():
        label, query = next((label, query) for label, query in labels if label != "DA")
        shown.setdefault(label, []).append(float((found[video] * found[query]).sum(-1).mean()))
    other = collection.videos[-1]
    assert other not in collection.labels
    means = [np.mean(shown[label]) for label in ("ND", "DS", "CS", "IS")]
    assert means == sorted(means, reverse=True) and means[0] > 0.6
    lengths = np.linalg.norm(np.concatenate([found[other], found[collection.queries[0]]]), axis=-1)
    np.testing.assert_allclose(lengths, 1, atol=2e-3)  # half floats


@pytest.mark.slow
def test_the_made_up_annotation_has_the_numbers_of_the_real_one(tmp_path, annotations):
    made_up = read_collection(write_made_up(tmp_path))
    assert (len(made_up.queries), len(made_up.videos)) == (QUERIES, VIDEOS)
    counts = dict.fromkeys(LABELS, 0)
    for labels in made_up.labels.values():
        for label, _ in labels:
            counts[label] += 1
    assert {label: counts[label] for label in ("ND", "DS", "CS", "IS")} == {k: LABELS[k] for k in LABELS if k != "DA"}
    assert counts["DA"] == pytest.approx(LABELS["DA"], rel=0.05)  # drawn
    assert not set(made_up.labels) & set(made_up.queries)


def test_the_real_annotation_is_read_with_its_published_numbers(shared):
    real = read_collection(shared / "data" / "annotations" / "fivr")
    assert (len(real.queries), len(real.videos)) == (QUERIES, VIDEOS)
    labels = [label for said in real.labels.values() for label, _ in said]
    assert {label: labels.count(label) for label in LABELS} == LABELS
    assert all({label for label, _ in said} != {"DA"} for said in real.labels.values())


def test_growth_is_the_exponent_of_the_number_of_videos():
    def at(videos, work_s, private_mb):
        stage = {"work_s": work_s, "cost": {"cpu_s": 1.0, "private_mb": private_mb}}
        stages = dict.fromkeys(("write", "similarity", "evaluate"), stage)
        return {"method": "tca", "fraction": videos / 1000, "videos": videos, "stages": stages}

    (step,) = growth([at(100, 2.0, 500), at(1000, 20.0, 500)])
    assert step["evaluate"] == pytest.approx({"work_s": 1.0, "cpu_s": 0.0, "private_mb": 0.0})
    assert growth([at(100, 2.0, 500), at(1000, 20.0, 500) | {"method": "dns"}]) == []


def test_too_small_a_disk_is_said_before_anything_is_written(annotations, tmp_path):
    given = {"annotations": annotations, "folder": tmp_path, "fractions": [1.0]}
    with pytest.raises(ValueError, match=r"takes about .* GB in .*, where .* GB are free: give another --folder"):
        measure(methods=["csl3d"], frames=10**10, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "given, said",
    [
        (("--method", "nosuch"), "nosuch"),
        (("--method", "thumbprint"), "thumbprint keeps codes of uint8"),
        (("--fractions", "0"), "a fraction of 0 cannot be taken"),
        (("--fractions", "half"), "'half'"),
        (("--annotations", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_sentence(given, said, annotations, tmp_path):
    place = () if "--annotations" in given else ("--annotations", annotations)
    done = run(*given, *place, "--folder", tmp_path / "work", "--out", tmp_path / "out.json")
    assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.output
    assert not (tmp_path / "out.json").exists()


def test_a_video_of_many_windows_is_counted_with_all_of_them():
    assert bytes_per_video(choose_one("s2vs"), 10) == 10 * 9 * 512 * 2
    assert bytes_per_video(choose_one("c3dhash"), 1) == 512 * 4


@pytest.mark.slow
def test_the_cost_of_a_command_counts_the_processes_it_starts():
    child = "import time; held = bytearray(150 << 20); time.sleep(0.6)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{child}']); print('done')"
    printed, cost = measured([sys.executable, "-c", parent])
    assert printed == "done\n"
    assert cost.private_mb > 140 and cost.wall_s > 0.6 and len(cost.cpu_by_process) == 2
    with pytest.raises(RuntimeError, match="exit code 3"):
        measured([sys.executable, "-c", "raise SystemExit(3)"])
