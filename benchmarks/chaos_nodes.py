"""A Ray cluster of several nodes on this machine, in which a node that dies is replaced:

    python -m ndvr.benchmarks.chaos_nodes [WORKERS]

Prints the address to join. Runs until it is ended. Only tests need it: `ray start` is how users make clusters.
"""

from __future__ import annotations

import sys
import time

from ray.cluster_utils import Cluster

_NODE = {"num_cpus": 1, "object_store_memory": 256 << 20, "include_dashboard": False}


def main(workers: int) -> None:
    """One head and `workers` more nodes of one CPU each, so that actors live on all of them."""
    cluster = Cluster(initialize_head=True, head_node_args=_NODE)
    for _ in range(workers):
        cluster.add_node(**_NODE)
    print(cluster.address, flush=True)
    while True:
        for node in list(cluster.worker_nodes):
            if node.dead_processes():
                cluster.remove_node(node, allow_graceful=False)
                cluster.add_node(wait=False, **_NODE)
        time.sleep(0.2)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
