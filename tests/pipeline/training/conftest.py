"""Libraries to train on, made once."""

import pytest
from training_library import make_libraries


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with a library to train on, another that is held out, and the pairs of each."""
    folder = tmp_path_factory.mktemp("training")
    make_libraries(folder)
    return folder
