"""Decoders that go down: whose fault it was, how often it is tried again, and when a file is quarantined."""

import os
import signal

import pyarrow as pa
import pytest
from bad_decoders import BOTH, misbehaving, rows_of  # noqa: F401 (a fixture)
from clips import numbered_clip

from ndvr.models.card import Frames
from ndvr.operators.video import decode as decode_module
from ndvr.operators.video.decode import Decode, Job

FAULT = "def {name}(path):\n    os.kill(os.getpid(), signal.{signal})\nd.DECODERS['{name}'] = {name}\n"


def story(rows: list[dict]) -> list[tuple]:
    return [(row["kind"], row["attempt"], row["status"], row["error_class"]) for row in rows if row["kind"] != "piece"]


@pytest.fixture
def clip(tmp_path):
    return numbered_clip(tmp_path / "a.mp4", n_frames=80, audio_s=3.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_file_that_kills_its_only_decoder_twice_is_quarantined(misbehaving, clip, name):  # noqa: F811
    rows = rows_of(misbehaving(FAULT.format(name="pyav", signal=name), "pyav"), clip)
    assert story(rows) == [("attempt", 1, "failed", "crash"), ("end", 2, "failed", "crash")]
    assert (rows[-1]["deaths"], rows[-1]["quarantined"]) == (2, True)
    assert name in rows[-1]["message"] and rows[-1]["decoder"] == "pyav"


@pytest.mark.slow
def test_the_next_decoder_takes_over_after_a_death(misbehaving, clip):  # noqa: F811
    rows = rows_of(misbehaving(FAULT.format(name="pyav", signal="SIGSEGV")), clip)
    assert story(rows) == [("attempt", 1, "failed", "crash"), ("end", 2, "done", None)]
    assert (rows[-1]["deaths"], rows[-1]["quarantined"]) == (1, False)
    assert rows[0]["decoder"] == "pyav" and rows[-1]["decoder"].startswith("decord ")


@pytest.mark.slow
def test_a_file_that_kills_both_decoders_is_quarantined(misbehaving, clip):  # noqa: F811
    code = FAULT.format(name="pyav", signal="SIGSEGV") + FAULT.format(name="decord", signal="SIGABRT")
    rows = rows_of(misbehaving(code), clip)
    assert story(rows) == [("attempt", 1, "failed", "crash"), ("end", 2, "failed", "crash")]
    assert (rows[-1]["deaths"], rows[-1]["quarantined"]) == (2, True)
    assert "SIGSEGV" in rows[-1]["message"] and "then decord" in rows[-1]["message"]


@pytest.mark.slow
def test_an_exit_is_a_death_and_bad_luck_is_forgiven(misbehaving, clip):  # noqa: F811
    code = """
    def pyav(path):
        if first_time("exit"):
            os._exit(3)
        return open_pyav(path)
    d.DECODERS["pyav"] = pyav
    """
    rows = rows_of(misbehaving(code, "pyav"), clip)
    assert story(rows) == [("attempt", 1, "failed", "crash"), ("end", 2, "done", None)]
    assert (rows[-1]["deaths"], rows[-1]["quarantined"]) == (1, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "kind"), [("time.sleep(600)", "timeout"), ("bytearray(4 << 30)", "oom"), ("1 / 0", "crash")]
)
def test_hangs_memory_bombs_and_our_own_mistakes_are_no_deaths(misbehaving, clip, code, kind):  # noqa: F811
    decode = misbehaving(f"def pyav(path):\n    {code}\nd.DECODERS['pyav'] = pyav\n", "pyav", stall_s=2, memory_gb=2)
    (end,) = rows_of(decode, clip)
    assert (end["status"], end["error_class"]) == ("failed", kind)
    assert (end["deaths"], end["quarantined"]) == (0, False)


@pytest.mark.slow
def test_a_killer_of_pictures_does_not_cost_the_sound(misbehaving, clip):  # noqa: F811
    decode = misbehaving(FAULT.format(name="pyav", signal="SIGSEGV"), "pyav", views=BOTH)
    ends = {row["method"]: row for row in rows_of(decode, clip) if row["kind"] == "end"}
    assert (ends["sound"]["status"], ends["sound"]["deaths"], ends["sound"]["quarantined"]) == ("done", 1, False)
    assert (ends["picture"]["status"], ends["picture"]["deaths"]) == ("failed", 2)
    assert ends["picture"]["quarantined"]


@pytest.mark.slow
def test_sound_that_kills_is_tried_twice_and_does_not_cost_the_picture(misbehaving, clip):  # noqa: F811
    code = """
    def hear(*args):
        os.kill(os.getpid(), signal.SIGSEGV)
    w.listen = w._SoundViews.push = hear
    """
    ends = {row["method"]: row for row in rows_of(misbehaving(code, views=BOTH), clip) if row["kind"] == "end"}
    assert (ends["picture"]["status"], ends["picture"]["deaths"]) == ("done", 1)
    assert (ends["sound"]["status"], ends["sound"]["deaths"], ends["sound"]["quarantined"]) == ("failed", 2, True)


def features(rows: list[dict]) -> list[tuple]:
    last = rows[-1]["attempt"]
    return [(row["piece"], row["start_s"], row["data"]) for row in rows if row["attempt"] == last]


@pytest.mark.slow
def test_a_child_killed_from_outside_costs_nothing(tmp_path):
    clip = numbered_clip(tmp_path / "a.mp4", n_frames=300)
    # Every frame is a window and a piece holds 55, so that the child is still at work when the first one is here.
    decode = Decode(jobs={"m": Job(view=Frames(fps=25), config="m-1")}, run="r")
    undisturbed, rows = rows_of(decode, clip), []
    for table in decode(pa.table({"video_id": ["v"], "uri": [str(clip)], "methods": [["m"]]})):
        if not rows:
            os.kill(decode.sandbox.pid, signal.SIGKILL)
        rows += table.to_pylist()
    decode.close()
    assert story(rows) == [("attempt", 1, "failed", "crash"), ("end", 2, "done", None)]
    assert (rows[-1]["deaths"], rows[-1]["quarantined"]) == (0, False)
    assert features(rows) == features(undisturbed)


@pytest.mark.slow
def test_a_child_killed_again_and_again_is_given_up_without_blaming_the_file(
    misbehaving,  # noqa: F811
    clip,
    monkeypatch,
):
    monkeypatch.setattr(decode_module, "FIRST_PAUSE_S", 0.01)
    rows = rows_of(misbehaving(FAULT.format(name="pyav", signal="SIGKILL")), clip)
    assert story(rows) == [("attempt", n, "failed", "crash") for n in range(1, 6)] + [("end", 6, "failed", "crash")]
    assert (rows[-1]["deaths"], rows[-1]["quarantined"]) == (0, False)
    assert "SIGKILL" in rows[-1]["message"] and "out-of-memory killer; 6 times" in rows[-1]["message"]
