"""3D-CSL gives the numbers of the authors' code, from their files as they are."""

import golden_csl3d
import numpy as np
import pytest
import torch
from golden_csl3d import GOLDEN

from ndvr import models
from ndvr.models import weights as files
from ndvr.models.card import File
from ndvr.models.methods import csl3d
from ndvr.models.methods.csl3d import ClipNetwork

FEATURE_ATOL = 5e-5  # features are of size 1 to 4; float32 and float64 differ by 1.5e-5
SCORE_ATOL = 1e-6
PARAMETERS = {"small": 30_548_352, "base": 121_258_752}
WIDTHS = {"small": 384, "base": 768}


def seeded_weights(size: str) -> dict[str, np.ndarray]:
    with torch.device("meta"):
        state = ClipNetwork(WIDTHS[size]).state_dict()
    return golden_csl3d.weights(size, {key: tuple(value.shape) for key, value in state.items()})


@pytest.fixture(scope="module")
def small_weights():
    return seeded_weights("small")


@pytest.fixture(scope="module")
def small(small_weights):
    return models.load("csl3d", small_weights, size="small")


def comparing(similarity: str, size: str = "base"):
    """Needs no weights."""
    return models.load("csl3d", parts=("similarity",), size=size, similarity=similarity)


def tiny_clips(count: int, seed: int = 0, times: int = 8) -> np.ndarray:
    """Four patches a picture: cheap."""
    return golden_csl3d.blocks_u8(seed, (count, times), 32, 32)


def check_weights(size: str, weights: dict[str, np.ndarray]) -> None:
    assert sorted(weights) == GOLDEN["keys"].tolist()
    assert sum(value.size for value in weights.values()) == PARAMETERS[size]
    for k, key in enumerate(sorted(weights)):
        assert weights[key].sum(dtype=np.float64) == pytest.approx(GOLDEN[f"{size}/weight_sums"][k], abs=1e-6)
        np.testing.assert_array_equal(weights[key].ravel()[:3], GOLDEN[f"{size}/weight_first"][k])


def check_trace(size: str, name: str, model) -> None:
    found = golden_csl3d.traced(model, golden_csl3d.clips(name))
    for what, value in found.items():
        # Tokens grow from size 4 to 40 along the blocks.
        wanted, atol = GOLDEN[f"{size}/{name}_{what}"], FEATURE_ATOL if what == "features" else 3e-4
        np.testing.assert_allclose(value, wanted, atol=atol, err_msg=what)


@pytest.mark.slow
def test_parameters_have_the_authors_names_and_shapes(small_weights):
    check_weights("small", small_weights)


@pytest.mark.slow
def test_tokens_and_features_of_the_small_network_are_the_authors(small):
    check_trace("small", "one_clip", small)


@pytest.mark.slow
def test_tokens_and_features_of_the_base_network_are_the_authors():
    weights = seeded_weights("base")
    check_weights("base", weights)
    model = models.load("csl3d", weights, parts=("embed",))
    assert model.feature_shape == (768,) and model.weights == "mapping"
    check_trace("base", "two_clips", model)


@pytest.mark.slow
def test_many_clips_give_the_authors_features_and_signatures(small):
    found = small.embed(golden_csl3d.clips("five_clips"))
    np.testing.assert_allclose(found, GOLDEN["small/five_clips_features"], atol=FEATURE_ATOL)
    np.testing.assert_allclose(small.signature(found), GOLDEN["small/five_clips_normed"], atol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t4", "t16", "hw160", "h160w224"])
def test_clips_of_other_lengths_and_sizes_give_the_authors_features(name, small):
    found = golden_csl3d.features(small, golden_csl3d.clips(name))
    np.testing.assert_allclose(found, GOLDEN[f"small/{name}_features"], atol=FEATURE_ATOL)


@pytest.mark.slow
def test_any_number_of_clips_at_a_time_gives_the_same(small, monkeypatch):
    clips = tiny_clips(5)
    before, alone = clips.copy(), golden_csl3d.features(small, clips)
    for chunk in (2, 5):
        monkeypatch.setitem(csl3d.CHUNK_CLIPS, "cpu", chunk)
        np.testing.assert_allclose(golden_csl3d.features(small, clips), alone, atol=FEATURE_ATOL)
    np.testing.assert_array_equal(clips, before)


def test_what_the_last_block_leaves_out_changes_nothing(small):
    network = small.network("embed").feature_extractor["model"]
    with torch.inference_mode():
        tokens = network.tokens(torch.from_numpy(tiny_clips(2)))
        short = network.blocks[-1].class_token(tokens.clone())
        np.testing.assert_allclose(short, network.blocks[-1](tokens)[:, 0, 0], atol=FEATURE_ATOL)


# ---- comparing


@pytest.mark.parametrize(("row", "similarity"), [(0, "chamfer"), (1, "topk")])
def test_scores_are_the_authors_in_both_directions(row, similarity):
    model = comparing(similarity)
    # The reference has 64 numbers a clip; zeros behind them change no cosine.
    queries, database = (
        [model.signature(np.pad(GOLDEN[f"similarity/{side}{k}"], ((0, 0), (0, 704)))) for k in range(5)]
        for side in "qd"
    )
    forward = [model.similarities(query, database) for query in queries]
    backward = [model.similarities(video, queries) for video in database]
    np.testing.assert_allclose(forward, GOLDEN["similarity/sim_q_to_d"][row], atol=SCORE_ATOL)
    np.testing.assert_allclose(np.transpose(backward), GOLDEN["similarity/sim_d_to_q"][row], atol=SCORE_ATOL)


@pytest.mark.parametrize("similarity", ["chamfer", "topk"])
def test_scores_of_real_files_are_the_authors(similarity):
    model = comparing(similarity, "small")
    ids = [GOLDEN[f"videos/{side}"].tolist() for side in ("queries", "database")]
    queries, database = ([model.signature(GOLDEN[f"videos/features/{i}"]) for i in side] for side in ids)
    found = np.stack([model.similarities(query, database) for query in queries])
    np.testing.assert_allclose(found, GOLDEN[f"videos/scores/{similarity}"], atol=SCORE_ATOL)


def features(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 768)).astype(np.float32)


def test_symmetric_scores_are_the_mean_of_both_directions():
    one_way, both_ways = comparing("chamfer"), comparing("symmetric")
    a, b = (one_way.signature(features(count, count)) for count in (3, 8))
    forward, backward = one_way.similarity(a, b), one_way.similarity(b, a)
    assert abs(forward - backward) > 0.01
    assert both_ways.similarity(a, b) == pytest.approx((forward + backward) / 2, abs=SCORE_ATOL)
    assert both_ways.symmetric and not one_way.symmetric and not comparing("topk").symmetric


def test_three_clips_of_the_query_are_enough_for_topk():
    model, query = comparing("topk"), features(9, 1)
    target = np.concatenate([features(5, 2), query[[1, 4, 6]]])
    assert model.similarity(model.signature(query), model.signature(target)) == pytest.approx(1, abs=SCORE_ATOL)


def test_a_clip_without_features_is_like_nothing():
    model = comparing("chamfer")
    query = features(2)
    query[1] = 0
    signature = model.signature(query)
    assert model.similarity(signature, signature) == pytest.approx(0.5, abs=SCORE_ATOL)


def test_the_picture_of_a_pair_shows_cosines():
    model = comparing("chamfer")
    a, b = features(3, 1), features(4, 2)
    cosines = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(model.matrix(model.signature(a), model.signature(b)), cosines, atol=SCORE_ATOL)


# ---- weights


@pytest.mark.slow
def test_files_in_every_wrapping_load(small, small_weights, tmp_path):
    tensors = {key: torch.from_numpy(value) for key, value in small_weights.items()}
    parallel = {"module." + key: value for key, value in tensors.items()}
    training = {"state_dict": parallel, "epoch": 3, "optimizer": {"state": {0: {"step": 1}}, "param_groups": []}}
    for content in (tensors, training):
        torch.save(content, tmp_path / "best_model_small.pth")
        model = models.load("csl3d", tmp_path / "best_model_small.pth", size="small")
        assert model.trained and model.digest("embed") == small.digest("embed")
    torch.save(training, tmp_path / models.card("csl3d").weights["csl3d_base"].name)
    with pytest.raises(files.WeightsError, match="best_model_base.* holds the small network"):
        models.load("csl3d", cache=tmp_path)


@pytest.mark.slow
def test_a_network_of_another_size_is_refused_naming_both(small_weights):
    with pytest.raises(files.WeightsError) as failure:
        models.load("csl3d", small_weights)
    assert str(failure.value) == (
        "the given mapping holds the small network (384 numbers a clip), "
        "but size='base' (768) was asked for; pass size='small'"
    )


@pytest.mark.slow
def test_what_the_loaded_network_holds_loads_again(small):
    again = models.load("csl3d", small.network("embed").state_dict(), size="small")
    assert again.digest("embed") == small.digest("embed")


def test_weights_of_another_method_are_refused():
    with pytest.raises(files.WeightsError, match="is of another method: it has visil_head.fconv.weight"):
        models.load("csl3d", {"visil_head.fconv.weight": torch.zeros(1)})


def test_no_file_of_the_small_network_is_published():
    with pytest.raises(files.WeightsError, match="the authors name no file of size='small'"):
        models.load("csl3d", size="small")


def test_a_file_that_cannot_be_fetched_is_named_with_its_folder_and_place(monkeypatch, tmp_path):
    file = models.card("csl3d").weights["csl3d_base"]
    assert file.name == "best_model_base_224_16x16_rgb.pth" and file.url.startswith("https://drive.google.com/drive/")
    # Nothing listens on port 9 of this machine: refused at once, as without a network.
    nowhere = File(name=file.name, url="http://127.0.0.1:9/folder")
    monkeypatch.setitem(models.get("csl3d").card.weights, "csl3d_base", nowhere)
    with pytest.raises(files.WeightsError, match=f"cannot get {file.name} from .* put it at {tmp_path}/{file.name}"):
        models.load("csl3d", cache=str(tmp_path))


def test_comparing_needs_no_weights():
    assert comparing("chamfer").similarity(*[comparing("chamfer").signature(features(2))] * 2) == pytest.approx(1)


@pytest.mark.slow
def test_random_networks_tell_clips_apart():
    model = models.load("csl3d", "random:1", size="small")
    found = golden_csl3d.features(model, tiny_clips(6))
    signature = model.signature(found)
    cosines = model.matrix(signature, signature)[~np.eye(6, dtype=bool)]
    assert not model.trained and np.isfinite(found).all()
    assert cosines.max() < 0.95 and cosines.std() > 0.01
