"""A decoder that was taken over reaches nothing but the file it was handed, and no answer is trusted blindly."""

import os
import resource
import socket
import subprocess
import tempfile
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from clips import numbered_clip
from places import python_path

from ndvr.operators.errors import DecodeError
from ndvr.operators.rows import FileFacts
from ndvr.operators.sandbox import _wire as wire
from ndvr.operators.sandbox.handed_file import HandedFile, open_container
from ndvr.operators.sandbox.sandbox import Sandbox
from ndvr.operators.sandbox.walls import WALLS


def tries_everything(beat, file, port, elsewhere):
    """Runs in the child: what a taken-over decoder would try, and what came of it."""

    def tried(work):
        try:
            return str(work() or "done")
        except OSError as error:
            return type(error).__name__

    def temporary():
        with tempfile.TemporaryFile() as own:
            own.write(b"x")

    yield {
        "handed": file.again().read(4).hex(),
        "reads another file": tried(lambda: Path(elsewhere).read_text()),
        "writes": tried(lambda: Path(elsewhere + ".new").touch()),
        "lists": tried(lambda: os.listdir(os.path.dirname(elsewhere))),
        "connects": tried(lambda: socket.socket().connect(("127.0.0.1", port))),
        "executes": tried(lambda: subprocess.run(["/bin/true"], check=True) and None),
        "forks": tried(os.fork),
        "signals its parent": tried(lambda: os.kill(os.getppid(), 0)),
        "limits its parent": tried(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))),
        "sets times": tried(lambda: os.utime(elsewhere, (1, 1))),
        "sets times of what it was handed": tried(lambda: os.utime(file.fileno(), (1, 1))),
        "removes an attribute": tried(lambda: os.removexattr(elsewhere, "user.x")),
        "reads its parent": tried(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes()),
        "its environment": ",".join(sorted(set(os.environ) & {"AWS_SECRET_ACCESS_KEY", "HOME"})),
        "a temporary file": tried(temporary),
    }


def reads_of_its_packages(beat, elsewhere):
    """Runs in the child: what packages do that open more of themselves while they work."""
    import far_away

    from_package = Path(far_away.__path__[0], "table.txt").read_text()
    try:
        Path(elsewhere).read_text()
    except OSError as error:
        yield from_package, type(error).__name__


class Boom:
    """Unpickled, it would leave a mark."""

    def __reduce__(self):
        return (os.system, ("touch mark",))


def answers_with_a_pickle(beat):
    yield Boom()


@pytest.fixture
def child_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", python_path(Path(__file__).parent))


def test_a_decoder_reaches_its_file_and_nothing_else(tmp_path, child_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "private.txt").write_text("private")
    video = numbered_clip(tmp_path / "a.mp4", n_frames=3)
    with socket.create_server(("127.0.0.1", 0)) as server, Sandbox(tries_everything) as box:
        (came,) = box.stream(server.getsockname()[1], str(tmp_path / "private.txt"), file=str(video))
        assert {wall.split()[0] for wall in box.walls} >= {"no", "limits", "landlock", "seccomp"}, box.walls
    assert came.pop("handed") == Path(video).read_bytes()[:4].hex()
    assert came.pop("a temporary file") == "done" and came.pop("its environment") == ""
    assert set(came.values()) == {"PermissionError"}, came
    assert not (tmp_path / "private.txt.new").exists()


def test_a_package_may_be_installed_anywhere_and_read_more_of_itself(child_path, monkeypatch):
    """As by `pip install --user` or `--target`, outside of the environment of Python."""
    with tempfile.TemporaryDirectory() as folder:  # where another user may look, as the child may be one
        os.chmod(folder, 0o755)
        package, secret = Path(folder, "far_away"), Path(folder, "secret.txt")
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "table.txt").write_text("known")
        secret.write_text("secret")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, os.environ["PYTHONPATH"]]))
        with Sandbox(reads_of_its_packages, needs=("far_away",)) as box:
            (answer,) = box.stream(str(secret))
    assert tuple(answer) == ("known", "PermissionError")


def test_every_wall_that_is_raised_has_a_name_that_is_listed(child_path):
    with Sandbox(answers_with_a_pickle) as box, pytest.raises(DecodeError):
        list(box.stream())
    assert all(any(wall.startswith(name) for name in WALLS) for wall in box.walls)


def test_an_answer_is_never_code(tmp_path, child_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Sandbox(answers_with_a_pickle) as box, pytest.raises(DecodeError, match="no layout for Boom"):
        list(box.stream())
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["list.m3u8", "holiday.mp4", "beach.avi"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{film}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{film}'\n",
        "\ufeff\n ffconcat version 1.0\nfile '{film}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{film}</BaseURL></MPD>\n',
    ],
    ids=["hls", "ffconcat", "behind a mark", "sdp", "dash"],
)
def test_a_playlist_is_unsupported_whatever_its_name(tmp_path, name, text):
    film = numbered_clip(tmp_path / "film.mp4", n_frames=3)
    (tmp_path / name).write_text(text.format(film=film), encoding="utf-8")
    with pytest.raises(DecodeError) as error:
        open_container(HandedFile.of(tmp_path / name))
    assert error.value.kind == "unsupported"


def sent(value, **limits):
    ours, theirs = Pipe()
    wire.write(theirs, value)
    return wire.read(ours, **({"records": (FileFacts,), "most_bytes": 1 << 20} | limits))


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -1.5, "ü\n", b"\0\xff", (1, "a", None), [1, [2.5]], {"a": (b"x", np.float32(2).item())}],
    ids=repr,
)
def test_plain_values_arrive_as_they_were_sent(value):
    assert sent(value) == value and type(sent(value)) is type(value)


def test_arrays_and_records_arrive_as_they_were_sent():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)[:, ::2]
    arrived = sent({"windows": array, "empty": np.zeros((0, 5), np.float64)})
    assert np.array_equal(arrived["windows"], array) and arrived["empty"].shape == (0, 5)
    assert sent(FileFacts(bytes=3, sha256="ab")) == FileFacts(bytes=3, sha256="ab")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b'{"record": ["FileFacts", ["three", null, null]]}', b""),
        (b'{"record": ["FileFacts", [3, null]]}', b""),
        (b'{"record": ["Popen", ["id"]]}', b""),
        (b'{"array": ["uint8", [1000000]]}', b"short"),
        (b'{"array": ["object", [1]]}', b"12345678"),
        (b'{"array": ["uint8", [-1]]}', b""),
        (b'{"bytes": 2}', b"more than two"),
        (b"[1, 2]", b""),
        (b'{"array": ["uint8", [1]], "bytes": 1}', b"1"),
        (b"[" * 100_000, b""),
        (b"not json", b""),
    ],
)
def test_an_answer_of_another_layout_is_refused(head, body):
    ours, theirs = Pipe()
    theirs.send_bytes(len(head).to_bytes(4, "little") + head + body)
    with pytest.raises(wire.Malformed):
        wire.read(ours, records=(FileFacts,), most_bytes=1 << 20)


def test_a_pipe_in_place_of_a_video_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DecodeError, match="not a regular file"):
        HandedFile.of(tmp_path / "pipe.mp4")
