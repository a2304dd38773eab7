"""Memory, object store and open files stay within limits, however slow embedding is and however much there is."""

import pytest

from ndvr.benchmarks.speed.back_pressure import run
from ndvr.pipeline.extraction import graph
from ndvr.pipeline.extraction.pools import Pools

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_with_slow_embedding_neither_decoders_nor_the_object_store_grow_with_the_input(monkeypatch):
    """Without limits 0.5 GB of windows would lie in the object store, as decoding them takes seconds."""
    monkeypatch.setattr(graph, "BLOCK_BYTES", 16 << 20)
    pools = Pools(decode_workers=1, embed_workers=1)
    few, many = (run("videos", count, slower=4, pools=pools) for count in (2, 5))
    assert few["store_mb"] > 50 and few["decoders_mb"] > 50  # something was seen at all
    limit_mb = graph.BLOCK_BYTES * graph.BLOCKS_PER_WORKER * 4 / 2**20  # two workers, and two more
    assert many["windows_gb"] * 1000 > 1.6 * limit_mb
    assert many["store_mb"] < limit_mb
    assert many["decoders_mb"] < 1.3 * few["decoders_mb"]


def test_open_files_and_memory_do_not_grow_with_the_number_of_files():
    few, many = (run("failures", count, slower=1) for count in (5, 150))
    for whose in ("driver", "decoder", "writer"):
        assert 0 < many[f"{whose}_files"] <= few[f"{whose}_files"] + 15  # connections that come and go
    assert many["driver_mb"] < few["driver_mb"] + 50
    assert many["decoders_mb"] < 1.3 * few["decoders_mb"]
