"""The commands that need no cluster, struck at random."""

import pytest

from ndvr.benchmarks.chaos.offline import strike_all

pytestmark = pytest.mark.slow


def test_whatever_strikes_them_they_end_as_undisturbed_and_nobody_reads_what_is_half_done():
    counts = strike_all(9, seed=4)
    assert counts.wrong == []
    assert counts.strikes.total() >= 9 and len({name for (name, _), n in counts.strikes.items() if n}) >= 3
