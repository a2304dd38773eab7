"""What tests of methods share."""

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """For many small operations: threads only wait for each other, badly so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
