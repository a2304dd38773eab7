"""A small library of films with its index, made once."""

from __future__ import annotations

import clip_library as clips
import pytest

from ndvr.pipeline.search.search import Index


@pytest.fixture(scope="session")
def films():
    """Frames of five films of eight seconds."""
    return {f"film{number}": clips.scene(number, 8) for number in range(5)}


@pytest.fixture(scope="session")
def library(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    videos = {name: clips.clip(folder / "videos" / f"{name}.mp4", frames) for name, frames in films.items()}
    clips.extract(folder / "library", videos)
    return folder / "library"


@pytest.fixture(scope="session")
def index(library):
    return Index.open(library).update()
