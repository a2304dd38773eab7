"""Extract, then search, on a Ray cluster of several nodes on this machine, losing one each time; say what happened.

python several_nodes.py VIDEOS LIBRARY -> a library, and one JSON object
"""

import gc
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

GPU_KIND = {"ray.io/accelerator-type": "test-gpu"}
WORKER = "MapWorker(MapBatches("  # before the name of a stage's class, as Ray names its workers
SMALL = {"object_store_memory": 80 << 20, "include_log_monitor": False}


def main(videos: str, library: str) -> None:
    gc.disable()  # what a pass leaves behind must not depend on when Python happens to collect its garbage
    import ray
    from ray.cluster_utils import Cluster

    from ndvr.pipeline.extraction.extract import extract
    from ndvr.pipeline.extraction.pools import Pools

    head = {"num_cpus": 0, "include_dashboard": False, "no_monitor": True} | SMALL  # without an autoscaler
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = {
            "steady": cluster.add_node(num_cpus=1, **SMALL),
            "spot": cluster.add_node(num_cpus=1, **SMALL),
            "gpu": cluster.add_node(num_cpus=2, num_gpus=1, labels=GPU_KIND, **SMALL),
        }
        names = {node.node_id: name for name, node in nodes.items()}
        found: dict = {}
        killer = threading.Thread(target=take_away, args=(cluster, nodes["spot"], Path(library), names, found))
        killer.start()
        pools = Pools(decode_workers=2)  # of so few bytes one would do
        found["summary"] = extract(videos, library, address=cluster.address, pools=pools, progress=False).to_json()
        killer.join()
        found["left"] = left_after(20)
        found["alive"] = sorted(
            names[node["NodeID"]] for node in ray.nodes() if node["Alive"] and node["NodeID"] in names
        )
        found["search"] = search_and_lose(library, cluster, nodes["gpu"], names)
        print(json.dumps(found))
    finally:
        ray.shutdown()
        cluster.shutdown()


def take_away(cluster, node, library: Path, names: dict[str, str], found: dict) -> None:
    """Once something is committed: SIGKILL to all that runs on the node, as when a spot machine goes."""
    deadline = time.monotonic() + 240
    while not list(library.glob("commits/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    found["committed_before"] = len(list(library.glob("commits/*.parquet")))
    found["workers"] = workers(names)
    cluster.remove_node(node, allow_graceful=False)


def search_and_lose(library: str, cluster, node, names: dict[str, str]) -> dict:
    """Search for two videos of the library alone, on all nodes that are left, and when one more has gone."""
    from ndvr.pipeline.cluster.workers import Workers
    from ndvr.pipeline.search import build, on_ray
    from ndvr.pipeline.search.matcher import Matcher, Wanted
    from ndvr.pipeline.search.queries import Queries
    from ndvr.pipeline.search.search import Index

    build.SEGMENT_VIDEOS, on_ray.PATIENCE_S = 8, 2.0
    opened = replace(Index.open(library).update().library_index, keys=False)
    ids = sorted(opened.library.entries(opened.config))[:2]
    queries = Queries(library, dict.fromkeys(ids, ""), dict.fromkeys(ids), opened.library)
    found = {"segments": len(opened.segments)}
    found["alone"] = told(Index(replace(opened, keys=True)).search(queries, n_candidates=6).answers)
    matcher = Matcher(opened, Wanted(n_candidates=6))
    hired = Workers(workers=3, address=cluster.address, progress=False)
    with on_ray.OnRay(opened, hired, false_per_million=matcher.wanted.false_per_million) as crew:
        crew.ahead = 0
        found["together"] = told(matcher.answers(queries.read(ids, opened), crew))
        found["holders"] = workers(names).get("Holder")
        cluster.remove_node(node, allow_graceful=False)
        found["after"] = told(matcher.answers(queries.read(ids, opened), crew))
    return found


def told(answers) -> list[dict]:
    """Answers without the time they took."""
    return [replace(answer, seconds=0.0).to_json() for answer in answers]


def workers(names: dict[str, str]) -> dict[str, list[str]]:
    """Stage -> names of the nodes its actors run on."""
    from ray._private.state import actors

    stages: dict[str, list[str]] = {}
    for actor in actors().values():
        stages.setdefault(stage_of(actor), []).append(names.get(actor["Address"]["NodeID"], "head"))
    return {stage: sorted(found) for stage, found in stages.items()}


def left_after(seconds: float) -> list[str]:
    """List the stages whose workers are still there, up to so long after the run."""
    from ray._private.state import actors

    deadline = time.monotonic() + seconds
    while left := [
        stage_of(actor)
        for actor in actors().values()
        if actor["ActorClassName"].startswith(WORKER) and actor["State"] != "DEAD"
    ]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    return left


def stage_of(actor: dict) -> str:
    """Name the stage an actor works for."""
    return actor["ActorClassName"].removeprefix(WORKER).removesuffix("))")


if __name__ == "__main__":
    main(*sys.argv[1:])
