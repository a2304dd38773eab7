"""A Ray cluster of several nodes on this machine, in which a node that dies is replaced:

    python -m ndvr.benchmarks.chaos.chaos_nodes [WORKERS]

Prints the address to join. Runs until it is ended. Only tests need it: `ray start` is how users make clusters.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from ray.cluster_utils import Cluster

_NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 256 << 20, "include_dashboard": False}


def main(workers: int) -> None:
    """One head and `workers` more nodes of one CPU each, so that actors live on all of them."""
    cluster = Cluster(initialize_head=True, head_node_args=_NODE)
    _fill(cluster, workers)
    print(cluster.address, flush=True)
    while True:
        for node in list(cluster.worker_nodes):
            if node.dead_processes():
                cluster.remove_node(node, allow_graceful=False)
        _fill(cluster, workers)
        time.sleep(0.2)


def _fill(cluster: Cluster, workers: int) -> None:
    while len(cluster.worker_nodes) < workers:
        try:
            cluster.add_node(wait=False, **_NODE)
        except Exception as error:  # Ray's own words for a node that was killed while it started
            print(error, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
