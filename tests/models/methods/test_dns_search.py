"""DnS's selector and search give the numbers of the authors' code."""

import golden_dns
import golden_inputs
import numpy as np
import pytest
import torch
from places import GOLDEN_FOLDER

from ndvr import models
from ndvr.models.methods.dns import _networks as networks
from ndvr.models.methods.dns import search as dns_search

GOLDEN = np.load(GOLDEN_FOLDER / "dns.npz")
ATOL = 1e-6  # what separates two float32 implementations of the same small network


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    return golden_inputs.region_features()


@pytest.fixture(scope="module")
def selector():
    _, network = networks.load(golden_dns.state("selector"), "selector", models.card("dns"), cache=None)
    return network.eval()


def test_the_selectors_numbers_are_the_authors(selector, clips):
    with torch.inference_mode():
        for clip, features in clips.items():
            own = selector.signature(torch.from_numpy(features))
            np.testing.assert_allclose(own, GOLDEN[f"selector/index/{clip}"][0], atol=ATOL)
        matrix = selector.own_matrix(torch.from_numpy(clips["g"]))
        np.testing.assert_allclose(matrix, GOLDEN["selector/g/f2f"], atol=ATOL)
        for row, expected in zip(torch.from_numpy(GOLDEN["selector/mlp/in"]), GOLDEN["selector/mlp/out"]):
            np.testing.assert_allclose(selector(*row[:, None]), expected, atol=ATOL)


def test_the_selectors_tiles_are_worth_the_whole(selector, monkeypatch):
    features = torch.from_numpy(golden_dns.walk(131))
    monkeypatch.setattr(networks, "TILE_FRAMES", 48)
    with torch.inference_mode():
        whole = selector.visil_head(selector.own_matrix(features)[None, None]).mean()
        assert selector.signature(features).item() == pytest.approx(whole.item(), abs=ATOL)


@pytest.mark.parametrize("percentage", [0.0, 0.05, 0.3, 0.5, 1.0])
def test_merged_scores_are_the_authors(percentage):
    mask = GOLDEN["selector/merge/mask"]
    for query in ("q0", "q1"):
        coarse, fine, order = (GOLDEN[f"selector/merge/{name}/{query}"] for name in ("coarse", "fine", "order"))
        doubts = np.empty(len(order))
        doubts[order] = np.arange(len(order))[::-1]
        chosen = dns_search.doubtful(doubts, percentage)
        fine = 2 * fine[mask] - 1  # theirs are in [0, 1] already
        merged = coarse.copy()
        merged[mask] = dns_search.merged(coarse[mask], chosen, fine[chosen])
        np.testing.assert_allclose(merged, GOLDEN[f"selector/merge/out_{percentage}/{query}"], atol=1e-12)


def test_of_equal_doubts_the_first_are_chosen_and_a_share_over_one_is_refused():
    assert dns_search.doubtful(np.array([0.2, 0.7, 0.7, 0.7, 0.1]), 0.4).tolist() == [1, 2]
    with pytest.raises(ValueError, match="percentage 5: give a share between 0 and 1, as 0.05 for 5 %"):
        dns_search.doubtful(np.zeros(3), 5)


@pytest.fixture(scope="module")
def search():
    return dns_search.Search(
        "fine_binary",
        fine=golden_dns.state("fg_bin"),
        coarse=golden_dns.state("cg_trf_novlad"),
        selector=golden_dns.state("selector"),
    )


@pytest.mark.slow
def test_a_search_scores_all_and_looks_again_where_the_selector_says(search, clips):
    query, *targets = [search.signature(features) for features in clips.values()]
    coarse = search.scores(query, targets, percentage=0)
    fine = search.scores(query, targets, percentage=1)
    np.testing.assert_array_equal(coarse, search.coarse.similarities(query.coarse, [t.coarse for t in targets]))
    rated = search.fine.similarities(query.fine, [t.fine for t in targets])
    np.testing.assert_allclose(fine, rated / 2 + 0.5, atol=1e-6)  # targets in another order lie elsewhere in a strip
    mixed = search.scores(query, targets, percentage=0.5)
    again = np.argsort(-search.doubts(query, targets, coarse), kind="stable")[:3]  # int(0.5 * 7)
    expected = coarse.copy()
    expected[again] = fine[again]
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    assert search.scores(query, [], percentage=0.5).shape == (0,)


def test_a_search_with_seeded_noise_says_that_it_is_untrained(search):
    assert search.trained
    noise = dns_search.Search(fine="random:1", coarse=golden_dns.state("cg_trf_novlad"), selector="random:2")
    assert not noise.trained
    with pytest.raises(ValueError, match="student 'coarse': choose one of fine_attention, fine_binary"):
        dns_search.Search("coarse")


@pytest.mark.slow
def test_a_selector_is_loaded_by_the_name_of_its_method_and_tells_whom_to_compare(search, clips):
    selector = models.load_selector("dns", golden_dns.state("selector"), student="fine_binary")
    assert (selector.name, selector.trained, selector.compact) == ("dns_selector", True, True)
    query, *targets = [search.signature(features) for features in clips.values()]
    coarse = search.coarse.similarities(query.coarse, [target.coarse for target in targets])
    stacked = selector.stack([selector.signature(features) for features in clips.values()])
    (doubts,) = selector.urgency(*(selector.unstack(part) for part in (stacked[:1], stacked[1:])), coarse[None])
    np.testing.assert_array_equal(doubts, search.doubts(query, targets, coarse))
    assert ((doubts > 0) & (doubts < 1)).all()


def test_a_method_without_a_selector_is_told_who_has_one():
    with pytest.raises(ValueError, match="s2vs has no selector; methods that have one: dns"):
        models.load_selector("s2vs")
