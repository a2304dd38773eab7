"""`ndvr plan`: what headers and a small sample tell of a run, against the run."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from clips import numbered_clip

from ndvr.models.card import Clips, Frames, Mel, Overview
from ndvr.operators.storage.store import Store
from ndvr.operators.video.headers import read_headers, windows_of
from ndvr.operators.video.windows import End, cut
from ndvr.pipeline.cli import main
from ndvr.pipeline.estimate.estimate import make_estimate
from ndvr.pipeline.estimate.result import compare
from ndvr.pipeline.estimate.trial import bytes_under
from ndvr.pipeline.estimate.wall_time import Target, stages, wall_s
from ndvr.pipeline.extraction.extract import extract

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """24 clips of 2 to 6 s in four codecs and three sizes, one of them with sound, and a web page."""
    folder = tmp_path_factory.mktemp("videos")
    kinds = [("libx264", ".mp4"), ("libvpx", ".webm"), ("mpeg4", ".avi"), ("mpeg2video", ".mpg")]
    for number in range(24):
        codec, suffix = kinds[number % 4]
        numbered_clip(
            folder / f"{number:02d}{suffix}",
            n_frames=50 + 4 * number,
            size=((64, 48), (96, 72), (128, 96))[number % 3],
            codec=codec,
            audio_s=2.0 if number == 0 else 0.0,
        )
    (folder / "page.mp4").write_bytes(b"<html>not found</html>" * 20)
    return folder


@pytest.fixture(scope="module")
def estimate(videos):
    return make_estimate(videos, progress=False)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class TestHeaders:
    def test_a_header_tells_what_decoding_finds(self, videos):
        (header,) = read_headers([str(videos / "00.mp4")])
        assert (header.codec, header.width, header.height, header.frames) == ("h264", 64, 48, 50)
        assert header.rate == 25 and header.duration_s == pytest.approx(2.0) and header.sound == "aac"

    def test_a_cover_is_one_frame(self, shared):
        (header,) = read_headers([str(shared / "media" / "odd" / "cover_art.mp3")])
        assert (header.frames, header.sound) == (1, "mp3float")

    def test_the_header_of_an_object_is_read_without_the_rest(self, s3, tmp_path):
        path = numbered_clip(tmp_path / "a.mp4", n_frames=100, options={"qp": "0"})
        Store("s3://bucket/plan").write("a.mp4", path.read_bytes())
        found, missing = read_headers(["s3://bucket/plan/a.mp4", "s3://bucket/plan/none.mp4"], workers=1)
        assert (found.codec, found.frames, found.bytes) == ("h264", 100, path.stat().st_size)
        assert missing.error_class == "io"

    @pytest.mark.parametrize("kind", ["page", "missing", "empty", "folder"])
    def test_what_is_no_video_has_a_class_and_the_next_one_is_read(self, videos, tmp_path, kind):
        (tmp_path / "empty").touch()
        (tmp_path / "folder").mkdir()
        path = videos / "page.mp4" if kind == "page" else tmp_path / kind
        bad, good = read_headers([str(path), str(videos / "01.webm")], workers=1)
        classes = {"page": "corrupt", "missing": "io", "empty": "empty", "folder": "io"}
        assert (bad.error_class, bad.codec) == (classes[kind], None)
        assert good.codec == "vp8"

    def test_a_claim_of_more_frames_than_bytes_is_not_believed(self, tmp_path):
        path = numbered_clip(tmp_path / "a.mp4", n_frames=20)
        data = bytearray(path.read_bytes())
        at = data.index(b"stts") + 8  # entry count, then number and duration of samples
        data[at + 4 : at + 8] = (1 << 30).to_bytes(4, "big")
        path.write_bytes(data)
        (header,) = read_headers([str(path)])
        assert header.frames <= len(data)

    @pytest.mark.parametrize(
        "view",
        [
            Frames(),
            Frames(fps=2, rule="opencv"),
            Frames(rule="tca"),
            Clips(fps=5, length=4),
            Overview(count=4),
        ],
        ids=["ffmpeg", "opencv", "tca", "clips", "overview"],
    )
    def test_windows_are_told_to_within_one(self, videos, view):
        names = ["03.mpg", "08.mp4", "13.webm", "22.avi"]
        for name, header in zip(names, read_headers([str(videos / name) for name in names])):
            pieces = [item for item in cut(str(videos / name), {"v": view}) if not isinstance(item, End)]
            assert abs(windows_of(header, view) - sum(len(piece.windows) for piece in pieces)) <= 1

    def test_sound_gives_windows_only_where_there_is_any(self, videos):
        headers = list(read_headers([str(videos / "00.mp4"), str(videos / "04.mp4")]))
        pieces = [item for item in cut(str(videos / "00.mp4"), {"v": Mel()}) if not isinstance(item, End)]
        assert abs(windows_of(headers[0], Mel()) - sum(len(piece.windows) for piece in pieces)) <= 1
        assert windows_of(headers[1], Mel()) == 0


def machines_of(cpus, gpus):
    return Target(cpus=cpus, gpus=gpus).machines()


class TestWallTime:
    def test_stages_that_share_cores_add_up(self):
        machines = machines_of(2, 0)
        table = stages({"decode": 100.0, "embed": 90.0}, machines, n_videos=50)
        seconds, bounds = wall_s(table, machines, start_s=10.0, longest_s=5.0)
        assert max(bounds, key=bounds.get) == "cores"
        assert 105 <= seconds <= 115  # 190 / 2 and 10 to start, and not every second of a core is used

    def test_on_gpus_the_slowest_stage_bounds(self):
        machines = machines_of(100, 2)
        table = stages({"decode": 100.0, "embed": 90.0}, machines, n_videos=500)
        seconds, bounds = wall_s(table, machines, start_s=10.0, longest_s=5.0)
        assert max(bounds, key=bounds.get) == "embed"
        assert seconds == 10 + 45

    def test_no_number_of_cores_decodes_one_video_faster(self):
        machines = machines_of(1000, 0)
        table = stages({"decode": 1000.0}, machines, n_videos=5000)
        seconds, bounds = wall_s(table, machines, start_s=0.0, longest_s=300.0)
        assert (seconds, max(bounds, key=bounds.get)) == (300, "longest video")

    def test_possible_numbers_give_possible_times(self):
        machines = machines_of(1, 1)
        table = stages({"embed": np.array([1.0, 9.0])}, machines, n_videos=5)
        seconds, _ = wall_s(table, machines, start_s=np.array([1.0, 1.0]), longest_s=4.0)
        assert seconds.tolist() == [5, 10]


class TestPlan:
    def test_bytes_and_windows_of_the_run_are_foretold(self, estimate, videos, tmp_path, ray_cluster):
        summary = extract(videos, tmp_path / "lib", progress=False)
        assert summary.done == 24
        written = bytes_under(tmp_path / "lib")
        assert sum(estimate.projection.windows.values()) == pytest.approx(summary.windows, rel=0.25)
        assert estimate.projection.bytes == pytest.approx(written, rel=0.25)
        assert estimate.headers.frames == pytest.approx(summary.frames, rel=0.25)
        assert estimate.projection.failures == 1 and summary.failed == {"corrupt": 1}
        text = compare(estimate.to_json(), summary.to_json() | {"bytes": written, "failed": summary.failed})
        assert [line.split()[0] for line in text.splitlines()[1:]] == [
            "seconds",
            "bytes",
            "windows",
            "frames",
            "failed",
        ]
        again = make_estimate(videos, tmp_path / "lib", progress=False)
        assert (again.scope.todo, again.scope.already, again.projection.bytes, again.projection.seconds) == (
            0,
            25,
            0,
            0.0,
        )
        assert "nothing to do" in again.text()

    def test_the_estimate_adds_up(self, estimate):
        assert (estimate.scope.videos, estimate.scope.todo, estimate.headers.headers, estimate.trial.sampled) == (
            25,
            25,
            25,
            8,
        )
        assert estimate.headers.unreadable == {"corrupt": 1} and estimate.headers.no_picture == 0
        assert sum(estimate.headers.codecs.values()) == 24
        for name, value in (("seconds", estimate.projection.seconds), ("bytes", estimate.projection.bytes)):
            low, high = estimate.projection.interval[name]
            assert 0 < low <= value * 1.001 and value * 0.999 <= high < 10 * value
        low, high = estimate.projection.interval["seconds"]
        assert low <= estimate.projection.seconds <= high and low < high
        assert set(estimate.projection.busy_s) == {"decode", "embed", "write", "ray", "driver"}
        assert estimate.projection.seconds >= max(load.wall_s for load in estimate.projection.stages)

    def test_the_same_seed_draws_the_same_sample(self, videos, estimate):
        assert make_estimate(videos, progress=False).projection.windows == estimate.projection.windows

    def test_a_larger_cluster_takes_no_longer_and_the_same_work(self, videos, estimate):
        large = make_estimate(videos, target=Target(cpus=320, gpus=4), progress=False)
        assert large.projection.seconds <= estimate.projection.seconds
        assert large.projection.windows == estimate.projection.windows
        assert any("no GPU here to measure" in said for said in large.warnings)

    def test_the_text_says_what_it_costs_and_what_bounds_it(self, estimate):
        text = estimate.text()
        assert "25 videos; 25 to do" in text
        assert "WARNING: 1 of 25 videos (4.0%) cannot be opened: corrupt 1" in text
        assert "core-hours" in text and "80 %:" in text and "windows: thumbprint" in text
        assert max(map(len, text.splitlines())) <= 140

    def test_the_command_prints_json_and_saves_it(self, estimate, videos, tmp_path):
        done = run("plan", videos, "--json", "--quiet", "--save", tmp_path / "plan.json", "--sample", "3", "--cpus", 8)
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert found == json.loads((tmp_path / "plan.json").read_text())
        assert found.keys() == estimate.to_json().keys()
        assert found["sampled"] == 3 and found["machines"]["cpus"] == 8

    def test_seeded_weights_are_pointed_out(self, videos):
        found = make_estimate(videos / "03.mpg", methods=["c3dhash"], weights={"c3dhash": "random"}, progress=False)
        assert found.scope.untrained == ["c3dhash"] and found.projection.windows == {"c3dhash": 1}
        assert "WARNING: c3dhash: untrained (random) weights" in found.text()

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["nowhere"], "VIDEOS does not exist: nowhere"),
            (["VIDEOS", "--sample", "lots"], "sample 'lots': give a share such as 1% or a number of videos such as 40"),
            (["VIDEOS", "--method", "nonesuch"], "unknown method 'nonesuch'"),
        ],
    )
    def test_wrong_settings_are_one_sentence_and_exit_code_2(self, videos, arguments, sentence):
        done = run("plan", *(videos if argument == "VIDEOS" else argument for argument in arguments))
        assert done.exit_code == 2 and sentence in done.stderr


def test_compare_says_how_far_off_an_estimate_was():
    told = {
        "seconds": 110.0,
        "bytes": 1000,
        "windows": {"a": 40, "b": 60},
        "frames": 500,
        "failures": 2,
        "interval": {"seconds": [90.0, 130.0], "bytes": [990.0, 1010.0], "windows": [90.0, 110.0]},
    }
    lines = compare(told, {"seconds": 100.0, "windows": 125, "frames": 500, "failed": {"io": 1}}).splitlines()
    assert lines[1].split() == ["seconds", "110", "100", "+10%", "90", "to", "130:", "inside"]
    assert lines[2].split()[:4] == ["windows", "100", "125", "-20%"] and lines[2].endswith("outside")
    assert lines[4].split() == ["failed", "2", "1", "+100%"]
