"""From coarse to fine: who is looked at closely, where the others rank, what running again costs, what a check says."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from score_libraries import drifting, library, scores_in

from ndvr import models
from ndvr.benchmarks.evaluate import evaluate
from ndvr.models.methods.dns import search as dns_search
from ndvr.operators.metrics.agreement import agreement
from ndvr.operators.scores.shortlist import Highest, count_of, nearest
from ndvr.pipeline.cluster.workers import Workers
from ndvr.pipeline.commands.comparison import similarity as command
from ndvr.pipeline.comparison.inputs import MethodSpec
from ndvr.pipeline.comparison.rerank import rerank, spot_check
from ndvr.pipeline.comparison.selection import parse_selection

pytestmark = pytest.mark.slow

QUERIES = {"q1": 5, "q11": 7, "q21": 4}
DATABASE = {"v1": 6, "v2": 9, "v3": 4, "v11": 8, "v12": 5, "v21": 12, "v22": 4, "v31": 7, "v41": 5, "v51": 6}
FAST = "c3dhash:bits=64,weights=random:2"
DNS = "dns:student=coarse,weights=random:2"
HERE = Workers(workers=0, progress=False)


@pytest.fixture
def sides(tmp_path):
    """Codes and clip vectors of the same videos."""
    return tuple(both(tmp_path / name, lengths) for name, lengths in (("queries", QUERIES), ("database", DATABASE)))


def both(folder, lengths):
    library(folder, dict.fromkeys(lengths, 1), method="c3dhash")
    return library(folder, lengths, method="csl3d", dtype="float32")


def reranked(sides, out, **settings):
    method = MethodSpec(method=settings.pop("method", "csl3d"), weights=settings.pop("weights", "random"))
    proposer = MethodSpec.parse(settings.pop("propose", FAST))
    chosen_by = {name: settings.pop(name) for name in ("best", "doubtful", "selector") if name in settings}
    selection = parse_selection(**chosen_by)
    return rerank(*sides, out, method=method, proposer=proposer, selection=selection, workers=HERE, **settings)


def by_hand(method: str, **settings) -> dict[tuple[str, str], float]:
    """Scores one pair at a time."""
    model = models.load(method, parts=("similarity",), **settings)
    features = {
        video_id: drifting(1 if method == "c3dhash" else n, int(video_id[1:]), method)
        for video_id, n in (QUERIES | DATABASE).items()
    }
    made = {video_id: model.signature(array) for video_id, array in features.items()}
    return {(q, v): model.similarity(made[q], made[v]) for q in QUERIES for v in sorted(DATABASE)}


@pytest.fixture(scope="module")
def coarse():
    return by_hand("c3dhash", weights="random:2", bits=64)


@pytest.fixture(scope="module")
def fine():
    return by_hand("csl3d", weights="random")


def best_of(scores, query: str, n: int) -> set[tuple[str, str]]:
    """Pairs of the query with the highest scores; equals by id, in which order they come."""
    return set(sorted((pair for pair in scores if pair[0] == query), key=scores.get, reverse=True)[:n])


def test_the_best_are_compared_and_all_others_rank_behind_them_in_their_own_order(sides, tmp_path, coarse, fine):
    done = reranked(sides, tmp_path / "s", best=3)
    assert (done.pairs, done.pairs_compared, done.pairs_computed) == (30, 9, 9)
    chosen = {pair for query in QUERIES for pair in best_of(coarse, query, 3)}
    wanted = {pair: fine[pair] if pair in chosen else -2 - (1 - coarse[pair]) for pair in coarse}
    found = scores_in(tmp_path / "s")
    assert found == pytest.approx(wanted, abs=1e-5)
    assert max(found[pair] for pair in found if pair not in chosen) < -1.99 < min(found[pair] for pair in chosen)


def test_a_share_of_the_database_is_that_many_videos(sides, tmp_path, coarse):
    assert reranked(sides, tmp_path / "s", best="25%").pairs_compared == 3 * 2
    assert reranked(sides, tmp_path / "all", best="100%").pairs_compared == 30


@pytest.mark.parametrize("wanted", ["0", "0%", "101%", "five", "2.5", "-1"])
def test_a_number_that_is_no_number_of_videos_is_named(wanted):
    with pytest.raises(ValueError, match=f"{wanted!r}: give a number of videos, as 250, or a share"):
        count_of(wanted, 10)


def test_the_selector_chooses_whom_it_doubts_and_scores_are_merged_as_its_authors_do(tmp_path):
    made_as = {"method": "dns", "dtype": "float32"}
    sides = library(tmp_path / "queries", QUERIES, **made_as), library(tmp_path / "database", DATABASE, **made_as)
    settings = {"method": "dns", "weights": "random:5", "propose": DNS, "doubtful": "30%", "selector": "random:3"}
    done = reranked(sides, tmp_path / "s", **settings)
    assert done.pairs_compared == 9
    search = dns_search.Search("fine_attention", fine="random:5", coarse="random:2", selector="random:3")
    made = {
        video_id: search.signature(drifting(n, int(video_id[1:]), "dns"))
        for video_id, n in (QUERIES | DATABASE).items()
    }
    ids = sorted(DATABASE)
    wanted = {}
    for query in QUERIES:
        scores = search.scores(made[query], [made[video_id] for video_id in ids], percentage=0.3)
        wanted |= {(query, video_id): score for video_id, score in zip(ids, scores)}
    assert scores_in(tmp_path / "s") == pytest.approx(wanted, abs=1e-5)
    assert reranked(sides, tmp_path / "s", **settings).pairs_computed == 0


def test_running_again_compares_only_pairs_that_were_not_chosen_before(sides, tmp_path):
    reranked(sides, tmp_path / "s", best=3)
    before = scores_in(tmp_path / "s")
    assert reranked(sides, tmp_path / "s", best=3).pairs_computed == 0
    assert scores_in(tmp_path / "s") == before
    both(sides[1], {"v13": 6, "v61": 5})
    grown = reranked(sides, tmp_path / "s", best=3)
    assert (grown.pairs, grown.pairs_compared) == (36, 9)
    assert grown.pairs_computed < 9
    reranked(sides, tmp_path / "fresh", best=3)
    assert scores_in(tmp_path / "s") == pytest.approx(scores_in(tmp_path / "fresh"), abs=1e-6)


def test_a_part_that_was_lost_is_made_again(sides, tmp_path):
    reranked(sides, tmp_path / "s", best=3)
    before = scores_in(tmp_path / "s")
    for part in list((tmp_path / "s" / "parts").iterdir())[::2]:
        part.unlink()
    assert reranked(sides, tmp_path / "s", best=3).pairs_computed <= 9
    assert scores_in(tmp_path / "s") == before


@pytest.mark.parametrize("index", ["flat", "ivf"])
def test_with_an_index_only_what_is_proposed_has_a_score(sides, tmp_path, coarse, fine, index):
    # Of ten videos there are no lists to leave out, so both are exact; equal codes may be taken in another order.
    done = reranked(sides, tmp_path / "s", best=4, index=index)
    assert spot_check(done, 1, workers=HERE).agreement.queries == 1
    assert (done.pairs, done.pairs_scored, done.pairs_compared) == (30, 12, 12)
    found = scores_in(tmp_path / "s")
    assert found == pytest.approx({pair: fine[pair] for pair in found}, abs=1e-5)
    for query in QUERIES:
        mine = sorted((coarse[pair] for pair in found if pair[0] == query), reverse=True)
        assert mine == sorted((coarse[pair] for pair in best_of(coarse, query, 4)), reverse=True)
    assert reranked(sides, tmp_path / "s", best=4, index=index).pairs_computed == 0
    assert "12 scores of 3 queries" in done.text() and "the others left out by" in done.text()
    both(sides[1], {"v13": 6, "v61": 5})
    assert reranked(sides, tmp_path / "s", best=4, index=index).pairs_computed < 12


@pytest.mark.parametrize("kind", ["vectors", "codes"])
def test_inverted_lists_find_most_of_the_nearest_and_always_the_same(kind):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((60, 32), np.float32)
    videos = centres[rng.integers(0, 60, 3000)] + 0.3 * rng.standard_normal((3000, 32), np.float32)
    videos /= np.linalg.norm(videos, axis=1, keepdims=True)
    close = videos[:20] @ videos.T
    if kind == "codes":
        videos = np.packbits(videos > 0, axis=1)
        close = -np.unpackbits(videos[:20, None] ^ videos, axis=-1).sum(-1).astype(float)
    found = nearest(videos[:20], videos, 25)
    np.testing.assert_array_equal(found, nearest(videos[:20], videos, 25))
    worst = -np.sort(-close, axis=1)[:, 24]
    assert np.mean([np.mean(close[k, found[k]] >= worst[k]) for k in range(20)]) > 0.9


def test_videos_that_only_the_fast_method_has_seen_keep_its_score(tmp_path):
    path = both(tmp_path / "some", {"v1": 5, "v11": 5})
    library(path, {"v2": 1}, method="c3dhash")
    done = reranked((path, path), tmp_path / "s", best="100%", query_ids=["v1"])
    assert (done.pairs, done.pairs_compared) == (3, 2)
    rows = scores_in(tmp_path / "s")
    assert -3 <= rows["v1", "v2"] <= -2 < rows["v1", "v11"]


def test_a_check_says_what_was_lost_and_what_it_would_have_taken(sides, tmp_path, fine, coarse):
    done = reranked(sides, tmp_path / "s", best=3)
    check = spot_check(done, 2, workers=HERE)
    assert check.agreement.queries == 2
    assert check.all_pairs_s > 0 and check.spent_s > 0
    whole = spot_check(reranked(sides, tmp_path / "all", best="100%"), 3, workers=HERE)
    assert whole.agreement.recall == {10: 1.0, 100: 1.0} and whole.agreement.ap == {10: 1.0, 100: 1.0}
    checked = [query for query in QUERIES if any(pair[0] == query for pair in scores_in(tmp_path / "s" / "check"))]
    shares = [len(best_of(coarse, query, 3) & best_of(fine, query, 10)) / 10 for query in checked]
    assert check.agreement.recall[10] == pytest.approx(np.mean(shares))


def test_agreement_by_hand():
    whole = {"q": {"a": 0.9, "b": 0.8, "c": 0.7, "q": 1.0}}
    some = {"q": {"a": 0.9, "c": -2.0, "b": -2.5, "q": 1.0}}
    found = agreement(whole, some, {"q": {"a", "q"}})
    assert found.recall[10] == pytest.approx(1 / 3) and found.ap[10] == 1.0
    assert math.isclose(agreement(whole, {"q": {}}, {"q": set()}).ap[10], 0.0)


def test_the_highest_are_exact_whatever_the_parts_and_equals_go_by_place():
    rng = np.random.default_rng(0)
    scores = rng.integers(-3, 4, (4, 50)).astype(np.float32) / 2
    scores[0, :2] = [-0.0, 0.0]
    order = np.lexsort((np.broadcast_to(np.arange(50), (4, 50)), -scores), axis=1)[:, :7]
    for cut in (1, 20, 50):
        highest = Highest(4, 7)
        places = rng.permutation(50)
        for start in range(0, 50, cut):
            some = places[start : start + cut]
            highest.add(scores[:, some], some)
        np.testing.assert_array_equal(highest.places(), order)


def test_scores_from_coarse_to_fine_are_evaluated_like_any(sides, tmp_path):
    reranked(sides, tmp_path / "s", best=3)
    (tmp_path / "truth.csv").write_text("query_id,video_id,relation\nq1,v1,copy\nq1,v2,copy\nq11,v12,copy\n")
    result = evaluate(tmp_path / "s", truth=tmp_path / "truth.csv")
    assert result.tasks["copy"].queries == 2


def test_the_command_tells_what_was_compared_and_what_it_cost(sides, tmp_path):
    settings = ["--method", "csl3d", "--weights", "random", "--propose", FAST, "--workers", "0", "--quiet"]
    done = CliRunner().invoke(
        command, [*map(str, sides), str(tmp_path / "s"), *settings, "--best", "3", "--check", "2"]
    )
    assert done.exit_code == 0, done.output
    assert f"9 pairs (30.0%) compared by csl3d, the others scored by {FAST}" in done.stdout
    assert "the 10 best were among those compared here in" in done.stdout and "times less" in done.stdout
    searched = [*map(str, sides), str(tmp_path / "i"), *settings, "--best", "3", "--index", "ivf", "--json"]
    assert json.loads(CliRunner().invoke(command, searched).stdout)["pairs_scored"] == 9
    again = CliRunner().invoke(command, [*map(str, sides), str(tmp_path / "s"), *settings, "--best", "3", "--json"])
    assert json.loads(again.stdout)["pairs_computed"] == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "say how many videos to compare with each query: --best N or P%"),
        ({"best": 3, "doubtful": "3%"}, "say how many videos to compare with each query"),
        ({"best": 3, "propose": "nonesuch"}, "unknown method 'nonesuch'"),
        ({"best": 3, "propose": "dns:coarse"}, "expected METHOD or METHOD:KEY=VALUE,..., found 'coarse'"),
        ({"best": 3, "propose": "tca:similarity=cosine"}, "holds features of c3dhash, csl3d, not of tca"),
        (
            {"best": 3, "propose": "csl3d:weights=random", "index": "flat"},
            "--index searches one vector or code a video",
        ),
        ({"doubtful": 3}, "--doubtful needs --method dns --propose dns:student=coarse"),
    ],
)
def test_wrong_settings_are_one_sentence(sides, tmp_path, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        reranked(sides, tmp_path / "s", **settings)
    assert not (tmp_path / "s").exists()


def test_a_proposer_is_written_in_one_word():
    text = "dns:student=coarse,weights=random:1,config=dns-1"
    proposer = MethodSpec.parse(text)
    assert proposer == MethodSpec(method="dns", weights="random:1", config="dns-1", options={"student": "coarse"})
    assert str(proposer) == text
