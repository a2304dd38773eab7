"""The commands that need no cluster, struck at random."""

import pytest

from ndvr.benchmarks.chaos.offline import COMMANDS, strike_all

pytestmark = pytest.mark.slow


def test_whatever_strikes_them_they_end_as_undisturbed_and_nobody_reads_what_is_half_done():
    counts = strike_all(12, seed=4)
    assert counts.wrong == []
    assert {name for name, _ in counts.strikes} == set(COMMANDS)
