"""A review of a small collection, with pairs that nobody could compare among them, and a server that answers for it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import clip_library as clips
import uvicorn
from sounds import tune

from ndvr.operators.library.library import Library
from ndvr.operators.media.encode import write_video
from ndvr.pipeline.review.found import read_found
from ndvr.pipeline.review.guard import Guard
from ndvr.pipeline.review.pairs import Found, Pair, Video
from ndvr.pipeline.review.server import make_app
from ndvr.pipeline.review.state import State
from ndvr.pipeline.search.duplicates import duplicates

TOKEN = "token-of-the-tests"
HOSTILE = (
    "<script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "../../../etc/passwd",
    "\"'><svg/onload=document.title='run'>",
    "{{7*7}}${7*7}",
    "a\u202egpj.exe",
)


def make_collection(folder: Path) -> Path:
    """A film of nine seconds with sound, the same mirrored with that sound, the same faster and mute, an excerpt
    that no browser plays; library, by picture and by sound, and pairs by picture."""
    film = clips.scene(1, 9, size=(160, 90))
    frames = {"film": film, "faster": clips.EDITS["faster"](film), "mirrored": clips.EDITS["mirror"](film)}
    sounds = dict.fromkeys(("film", "mirrored"), tune(3, 9))
    videos = {
        name: clips.clip(folder / "videos" / f"{name}.mp4", each, crf=24, sound=sounds.get(name))
        for name, each in frames.items()
    }
    videos["old"] = folder / "videos" / "old.avi"
    write_video(videos["old"], iter(film[16:56]), fps=clips.FPS, codec="mpeg4")
    clips.extract(folder / "library", videos)
    clips.extract(folder / "library", videos, method="soundprint", run="r2")
    duplicates(folder / "library", folder / "pairs", progress=False)
    return folder


def made_up(count: int, ids: tuple[str, ...] = ()) -> list[Pair]:
    """Pairs of videos without files: some with given ids, the others numbered."""
    names = [*ids, *(f"video-{number:06d}" for number in range(count - len(ids)))]
    return [
        Pair(
            a=Video(video_id=name, content=f"id:{name}"),
            b=Video(video_id=f"{name} (copy)", content=f"id:{name} (copy)"),
            kind="copy",
            score=0.9,
            false_per_million=0.01 * (number + 1),
            a_covered=1.0,
            b_covered=1.0,
            segments=(),
        )
        for number, name in enumerate(names)
    ]


def found_with(folder: Path, more: list[Pair]) -> Found:
    """The pairs of the collection, and others behind them."""
    found = read_found(folder / "pairs", folder / "library")
    return replace(found, pairs=[*found.pairs, *more])


def app_of(folder: Path, more: list[Pair] | None = None) -> tuple[Guard, State]:
    state = State(Library(folder / "library"), found_with(folder, more or []), "ann")
    return make_app(state, token=TOKEN, hosts={"localhost"}), state


@contextlib.contextmanager
def running(app: Guard) -> Iterator[str]:
    """The app behind a real socket; yields its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
