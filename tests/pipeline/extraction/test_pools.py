"""Pools fitted to clusters: who gets how much of which nodes, and what no cluster can give is said before any work."""

import math
import socket
import threading

import pytest
from click.testing import CliRunner

from ndvr.operators.errors import RunStopped
from ndvr.pipeline.cli import main
from ndvr.pipeline.cluster import cluster
from ndvr.pipeline.cluster.cluster import Node, Resources
from ndvr.pipeline.extraction.pools import Pools, workers_of

A10G = {"ray.io/accelerator-type": "A10G"}
HEAD = Node(cpus=0)
LAPTOP = Resources(nodes=(Node(cpus=8),))


def nodes(count: int, **of_each) -> tuple[Node, ...]:
    return tuple(Node(**of_each) for _ in range(count))


def farm(**later) -> Resources:
    """A head without work, three nodes for decoding, two with a GPU."""
    return Resources(nodes=(HEAD, *nodes(3, cpus=32), *nodes(2, cpus=8, gpus=1, labels=A10G)), **later)


def fitted(have: Resources, n_videos: int = 10_000, n_bytes: float = math.inf, **asked):
    return Pools(**asked).fitted(have, n_videos=n_videos, n_bytes=n_bytes)


def test_one_machine_is_shared_one_decoder_per_cpu_and_everything_fits_at_once():
    stages = fitted(LAPTOP)
    assert (stages.decode.most, stages.embed.most, stages.write.most) == (8, 2, 1)
    assert stages.embed.threads == 4
    assert sum(stage.most * stage.cpus for stage in stages) <= 8
    assert stages.decode.labels == {}


def test_no_more_decoders_than_videos():
    assert fitted(LAPTOP, n_videos=3).decode.most == 3
    assert fitted(LAPTOP, n_videos=1, decode_workers=(4, 8)).decode.fewest == 1


def test_no_more_decoders_than_it_takes_to_decode_so_few_bytes_unless_they_are_asked_for():
    assert [fitted(LAPTOP, n_bytes=mb << 20).decode.most for mb in (0, 3, 4, 9, 1000)] == [1, 1, 2, 3, 8]
    assert fitted(LAPTOP, n_bytes=1, decode_workers=4).decode.most == 4


def test_decoders_have_all_cpus_of_nodes_without_a_gpu_and_stay_off_the_others():
    decode, embed, _ = fitted(farm())
    assert (decode.fewest, decode.most) == (96, 96)
    assert decode.labels == {"ray.io/accelerator-type": "!in(A10G)"}
    assert (embed.most, embed.gpus, embed.cpus, embed.threads) == (2, 1, 0, 8)


def test_gpu_nodes_that_do_not_say_of_what_kind_are_known_by_name():
    plain = Node(cpus=8, gpus=1, labels={"ray.io/node-id": "f00d"})
    decode = fitted(Resources(nodes=(Node(cpus=4), plain))).decode
    assert decode.labels == {"ray.io/node-id": "!in(f00d)"}


def test_half_a_gpu_makes_two_workers_of_one_and_more_workers_than_gpus_share_them():
    assert (fitted(farm(), embed_gpus=0.5).embed.most, fitted(farm(), embed_workers=3).embed.gpus) == (4, 0.5)
    assert fitted(farm(), embed_workers=1).embed.gpus == 1


def test_without_gpus_on_demand_decoding_and_embedding_share_all_nodes():
    decode, embed, _ = fitted(farm(), embed_gpus=0)
    assert (decode.most, decode.labels, embed.gpus) == (112, {}, 0)
    assert embed.most == 28


def test_pools_of_a_cluster_that_grows_start_with_what_is_there_and_grow_to_what_may_come():
    more = nodes(17, cpus=32) + nodes(2, cpus=8, gpus=1, labels=A10G)
    decode, embed, _ = fitted(farm(more=more))
    assert (decode.fewest, decode.start, decode.most) == (1, 96, 640)
    assert (embed.fewest, embed.start, embed.most) == (1, 2, 4)
    asleep = Resources(nodes=(HEAD,), more=more)
    decode, embed, _ = fitted(asleep)
    assert (decode.start, decode.most, decode.labels) == (1, 544, {"ray.io/accelerator-type": "!in(A10G)"})
    assert (embed.start, embed.most, embed.gpus) == (1, 2, 1)


def test_decoders_of_half_a_cpu_are_twice_as_many_and_a_range_is_kept():
    assert fitted(farm(), decode_cpus=0.5).decode.most == 192
    decode = fitted(farm(), decode_cpus=2, decode_workers=(4, 1000)).decode
    assert (decode.fewest, decode.most) == (4, 48)


def test_a_model_on_cpus_fits_on_a_node_however_small_the_nodes_are():
    decode, embed, _ = fitted(Resources(nodes=nodes(4, cpus=1)))
    assert decode.cpus + embed.cpus + 0.05 <= 1


@pytest.mark.parametrize(
    ("asked", "have", "sentence"),
    [
        (
            {"embed_gpus": 1},
            LAPTOP,
            "--embed-gpus 1: no node has so many; the cluster has 1 node with 8 CPUs and no GPU and no autoscaler",
        ),
        (
            {"embed_workers": 3, "embed_gpus": 1},
            farm(),
            "--embed-workers 3 of 1 GPUs each: there is room for 2 in 5 nodes with 112 CPUs and 2 GPUs",
        ),
        (
            {"decode_workers": 20, "decode_cpus": 1},
            LAPTOP,
            "--decode-workers 20 of 1 CPUs each: there is room for 8 in 1 node",
        ),
        ({"decode_cpus": 16}, LAPTOP, "--decode-workers 1 of 16 CPUs each: there is room for 0 in 1 node with 8 CPUs"),
        (
            {"decode_workers": 8, "decode_cpus": 1, "embed_cpus": 1},
            LAPTOP,
            r"decoders \(8 of 1 CPUs each\) and embedding workers \(2 of 1 CPUs each\) find no place side by side",
        ),
        ({"decode_workers": (8, 2)}, LAPTOP, "--decode-workers: at least 1, and a range must rise, got 8-2"),
        ({"embed_gpus": 1.5}, farm(), "--embed-gpus: a part of one GPU, or whole ones, got 1.5"),
        ({"decode_cpus": 0}, LAPTOP, "--decode-cpus: must be positive, got 0"),
    ],
)
def test_what_the_cluster_cannot_give_is_one_sentence_that_says_what_there_is(asked, have, sentence):
    with pytest.raises(ValueError, match=sentence):
        fitted(have, **asked)


def test_a_gpu_that_an_autoscaler_may_add_can_be_asked_for():
    grows = Resources(nodes=(Node(cpus=8),), more=nodes(2, cpus=8, gpus=1))
    assert fitted(grows, embed_gpus=1, embed_workers=2).embed.most == 2


@pytest.mark.parametrize(("text", "workers"), [("4", 4), ("2-16", (2, 16))])
def test_workers_are_a_number_or_a_range(text, workers):
    assert workers_of(text) == workers


@pytest.mark.parametrize("text", ["", "many", "-3", "2-", "1.5"])
def test_other_words_for_workers_are_refused(text):
    with pytest.raises(ValueError, match="expected a number of workers or a range such as 2-16"):
        workers_of(text)


def test_a_run_that_breaks_down_says_what_broke_without_ray_datas_empty_mark():
    from ray.data.exceptions import SystemException
    from ray.exceptions import RaySystemError

    with pytest.raises(RunStopped, match="extraction stopped: RaySystemError: .*no space left"):
        with cluster.explained("extraction"):
            raise RaySystemError("no space left") from SystemException()


class TestAddress:
    """Of clusters that are not there; Ray's own answer takes a minute and ends the process."""

    @pytest.mark.parametrize(
        ("address", "sentence"),
        [
            ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 .*refused.*; is its head up"),
            ("no-such-host.invalid:6379", "no Ray cluster answers at no-such-host.invalid:6379"),
            ("somewhere", "--address somewhere: expected HOST:PORT, such as 10.0.0.1:6379, or auto"),
            ("ray://10.0.0.1:10001", "Ray Client does not carry Ray Data"),
        ],
    )
    def test_is_told_at_once(self, address, sentence):
        with pytest.raises(ValueError, match=sentence):
            cluster.check_reachable(address)

    @pytest.mark.slow
    def test_something_else_that_listens_is_no_cluster(self, monkeypatch):
        monkeypatch.setattr(cluster, "ANSWER_S", 6.0)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            threading.Thread(target=mute.accept, daemon=True).start()
            with pytest.raises(ValueError, match="within 6 s, although something listens"):
                cluster.check_reachable(f"127.0.0.1:{mute.getsockname()[1]}")

    def test_is_one_line_of_the_command(self, tmp_path):
        (tmp_path / "a.mp4").write_bytes(b"no video")
        done = CliRunner().invoke(main, ["extract", str(tmp_path), str(tmp_path / "lib"), "--decode-workers", "4-2"])
        assert done.exit_code == 2 and "a range must rise" in done.stderr
        assert not (tmp_path / "lib").exists()
