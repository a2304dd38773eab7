"""One byte of any file is damaged: it is told, refused, or changes nothing."""

import pytest

from ndvr.benchmarks.chaos.flip import flip_bytes


@pytest.mark.slow
def test_no_damaged_byte_changes_a_result_in_silence():
    verdicts = flip_bytes(38, seed=1)
    assert len(verdicts) == 38, "every kind of file"
    assert sum(counts["silent"] for counts in verdicts.values()) == 0, verdicts
    assert sum(counts["told"] for counts in verdicts.values()) > 15
