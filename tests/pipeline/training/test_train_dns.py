"""DnS's students learn from a table of scores, and its selector from two; what comes out serves on videos held out."""

import csv

import numpy as np
import pytest
from published_features import hdf5, imported, run

from ndvr import models
from ndvr.pipeline.training.train import train

FAST = {"anchors": "6", "rate": "2e-3"}


def videos() -> dict[str, np.ndarray]:
    """Eleven families of two; videos of the last six stand still, those of the others change from frame to frame."""
    rng = np.random.default_rng(3)
    made = {}
    for family in range(11):
        own = rng.standard_normal((6, 9, 512)) if family < 5 else rng.standard_normal((1, 9, 512)).repeat(6, 0)
        for copy in range(2):
            frames = own + 0.7 * rng.standard_normal(own.shape)
            made[f"f{family}_{copy}"] = (frames / np.linalg.norm(frames, axis=-1, keepdims=True)).astype(np.float32)
    return made


def write_scores(path, ids, score):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query_id", "video_id", "score"])
        rows.writerows([query, video, score(query, video)] for query in ids for video in ids)
    return path


def same(query: str, video: str) -> bool:
    return query.split("_")[0] == video.split("_")[0]


def still(video_id: str) -> bool:
    return int(video_id[1:].split("_")[0]) >= 5


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A library of dns, the scores of a teacher that is always right, coarse ones that are wrong of still videos."""
    folder = tmp_path_factory.mktemp("dns")
    made = videos()
    imported(hdf5(folder / "videos.hdf5", made), folder / "library", method="dns")
    write_scores(folder / "fine.csv", made, lambda a, b: 0.8 if same(a, b) else -0.6)
    write_scores(folder / "coarse.csv", made, lambda a, b: 0.9 if same(a, b) != (still(a) and still(b)) else 0.2)
    held = [f"f{family}" for family in (0, 1, 5, 6, 7)]
    (folder / "held.csv").write_text("query_id,video_id\n" + "".join(f"{each}_0,{each}_1\n" for each in held))
    return folder


@pytest.mark.slow
def test_a_student_learns_from_its_teachers_scores_what_holds_for_other_videos(place, tmp_path):
    given = {"teacher": place / "fine.csv", "truth": place / "held.csv", "options": {"student": "fine_plain"},
             "settings": FAST, "every": 8, "progress": False}  # fmt: skip
    done = train("dns", place / "library", tmp_path / "out", steps=24, **given)
    assert done.best.map > 0.95 > done.curve[0].map and done.videos == 12
    assert f"scores of {place / 'fine.csv'}" in done.text()
    model = models.load("dns", tmp_path / "out", parts=("similarity",))
    assert model.options["student"] == "fine_plain" and model.training["teacher"] == str(place / "fine.csv")
    before = (tmp_path / "out" / "weights.pth").read_bytes()
    assert train("dns", place / "library", tmp_path / "out", steps=24, resume=True, **given).curve == done.curve
    assert (tmp_path / "out" / "weights.pth").read_bytes() == before
    other = write_scores(tmp_path / "other.csv", videos(), lambda a, b: 0.7 if same(a, b) else -0.6)
    with pytest.raises(ValueError, match="was begun with other scores_digest"):
        train("dns", place / "library", tmp_path / "out", steps=24, resume=True, **given | {"teacher": other})


@pytest.mark.slow
def test_the_selector_learns_where_coarse_scores_are_wrong_and_is_judged_by_what_becomes_of_them(place, tmp_path):
    done = train("dns", place / "library", tmp_path / "out", teacher=place / "fine.csv", coarse=place / "coarse.csv",
                 truth=place / "held.csv", settings={"batch": "24", "rate": "1e-2", "share": "0.6"}, steps=30, every=10,
                 progress=False)  # fmt: skip
    assert done.best.map > done.curve[0].map
    selector = models.load_selector("dns", tmp_path / "out")
    assert selector.training["coarse"] == str(place / "coarse.csv")
    signatures = {video_id: selector.signature(each) for video_id, each in videos().items()}
    targets = [signatures["f9_0"], signatures["f2_0"]]
    doubts = selector.urgency([signatures["f8_0"]], targets, np.array([[0.9, 0.2]], np.float32))
    assert doubts[0, 0] > doubts[0, 1]
    with pytest.raises(ValueError, match="holds the selector, which picks pairs and scores none"):
        models.load("dns", tmp_path / "out", parts=("similarity",))


def table(*rows: str) -> str:
    return "\n".join(["query_id,video_id,score", *rows]) + "\n"


BAD = {
    "no teacher": (None, [], "dns learns from the scores of a teacher: give --teacher SCORES"),
    "strangers": (table("a,b,0.5"), [], "has no scores of two of the videos to train on, such as 'f0_0' and 'f0_1'"),
    "not a number": (table("f0_0,f0_1,nan"), [], "has a score of nan: a teacher's scores lie between -1 and 1"),
    "too large": (table("f0_0,f0_1,3"), [], "has a score of 3: a teacher's scores lie between -1 and 1"),
    "one kind": (table("f0_0,f0_1,0.5"), [], "no video has a positive and a negative among the teacher's scores"),
    "student": (table("f0_0,f0_1,0.5"), ["--option", "student=best"], "student"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_teacher_is_a_sentence_before_the_first_step(place, tmp_path, case):
    text, options, sentence = BAD[case]
    if text is not None:
        (tmp_path / "bad.csv").write_text(text)
        options = ["--teacher", tmp_path / "bad.csv", *options]
    said = run("train", "dns", place / "library", tmp_path / "out", *options)
    assert said.exit_code == 2 and sentence in said.stderr, said.stderr
    assert not (tmp_path / "out").exists()


def test_coarse_scores_that_are_always_right_teach_no_selector(place, tmp_path):
    write_scores(tmp_path / "right.csv", videos(), lambda a, b: 0.9 if same(a, b) else 0.2)
    with pytest.raises(ValueError, match="differ by 0 to .*: a selector needs pairs above and below wrong=0.2"):
        train("dns", place / "library", tmp_path / "out", teacher=place / "fine.csv", coarse=tmp_path / "right.csv",
              progress=False)  # fmt: skip


def test_a_method_without_a_teacher_takes_none(place, tmp_path):
    with pytest.raises(ValueError, match="s2vs has no teacher: leave out --teacher and --coarse"):
        train("s2vs", place / "library", tmp_path / "out", teacher=place / "fine.csv", progress=False)
