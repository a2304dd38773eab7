"""cluster.yaml: what Ray accepts, and node types on which an extraction with its defaults finds its places."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from places import ROOT

from ndvr.pipeline.cluster import cluster
from ndvr.pipeline.extraction.pools import ACCELERATOR, Pools

PATH = ROOT / "cluster.yaml"


@pytest.fixture(scope="module")
def config():
    return yaml.safe_load(PATH.read_text())


@pytest.fixture(scope="module")
def grown(config):
    """As an extraction finds it right after `ray up`: a head, and all that may come."""
    return cluster.Resources(nodes=(cluster.Node(cpus=0),), more=cluster.more_nodes(config, Counter(head=1)))


def test_ray_accepts_it_with_its_own_defaults(config):
    from ray.autoscaler._private.util import fillout_defaults, validate_config

    validate_config(fillout_defaults(config))


def test_the_head_has_no_work_and_is_not_spot_and_both_kinds_of_workers_may_be(config):
    kinds = config["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0
    spot = {name for name, kind in kinds.items() if "InstanceMarketOptions" in kind["node_config"]}
    assert spot == {"decode", "embed"}
    assert all(kinds[name]["max_workers"] > 0 for name in spot)


def test_every_default_worker_of_extract_fits_a_node_that_its_labels_allow(grown):
    decode, embed, write = Pools().fitted(grown, n_videos=10**6)
    (selected,) = decode.labels.values()
    kinds = re.fullmatch(r"!in\((.*)\)", selected)[1].split(", ")
    assert list(decode.labels) == [ACCELERATOR]
    for_decoding = [node for node in grown.all if node.cpus and node.labels.get(ACCELERATOR) not in kinds]
    with_gpu = [node for node in grown.all if node.gpus]
    assert for_decoding and with_gpu
    assert not set(for_decoding) & set(with_gpu), "decoders would be sent to nodes with a GPU"
    assert decode.most == sum(int(node.cpus) for node in for_decoding)
    assert all(node.cpus - int(node.cpus) * decode.cpus >= write.cpus for node in for_decoding), "no room to write"
    assert embed.most == sum(int(node.gpus / embed.gpus) for node in with_gpu)
    assert (decode.fewest, embed.fewest) == (1, 1)  # nothing runs, and costs, before it is needed


def test_all_nodes_get_one_version_of_ray_that_this_was_tested_on(config):
    (version,) = re.findall(r"ray\[[a-z,]+\]==(\d+)\.(\d+)\.\d+", " ".join(config["setup_commands"]))
    assert cluster.TESTED[0] <= tuple(map(int, version)) < cluster.TESTED[1]


def test_the_project_travels_to_every_node_and_is_installed_there(config):
    (target,) = config["file_mounts"]
    assert config["file_mounts"][target] == "."
    assert any("pip install" in command and f"./{Path(target).name}" in command for command in config["setup_commands"])
