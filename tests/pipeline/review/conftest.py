"""A small collection to review, made once."""

from __future__ import annotations

import pytest
from review_site import make_collection


@pytest.fixture(scope="session")
def collection(tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("review"))
