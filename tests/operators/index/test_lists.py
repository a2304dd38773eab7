"""Keys in two bits a number and in lists: what is alike stays alike, and a probe needs few lists to find it."""

from dataclasses import replace

import numpy as np
import pytest

from ndvr.models.keys import Keys
from ndvr.operators.index import codes, votes
from ndvr.operators.index.lists import coded, into_lists, joined
from ndvr.operators.index.scan import Scan, lists_tried
from ndvr.operators.index.segments import IndexedVideo, IndexFiles, Segment

WHOLE = np.array([[0, 0, 1, 1]], np.float32)


def unit(rng, n, d=55):
    vectors = rng.standard_normal((n, d), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def keys_of(vectors):
    n = len(vectors)
    return Keys(
        vectors=vectors,
        windows=np.arange(n, dtype=np.int32),
        boxes=np.tile(WHOLE, (n, 1)),
        turns=np.zeros(n, np.int8),
        novelty=np.ones(n, np.float32),
    )


@pytest.mark.parametrize("d", [3, 55, 64, 300])
def test_a_turn_keeps_products(d):
    vectors = unit(np.random.default_rng(0), 20, d)
    turned = codes.turned(vectors)
    assert turned.shape == (20, codes.width(d))
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-5)


def test_products_with_coded_vectors_are_right_on_average_and_lengths_are_kept():
    rng = np.random.default_rng(0)
    vectors = codes.turned(unit(rng, 2000) * np.repeat([[1.0], [0.4]], 1000, 0))
    kept = codes.decode(*codes.encode(vectors))
    own = np.einsum("kw,kw->k", kept, vectors)
    assert own == pytest.approx(np.repeat([1.0, 0.16], 1000), abs=0.02)
    error = kept[:1000] @ vectors[:1000].T - vectors[:1000] @ vectors[:1000].T
    assert abs(error.mean()) < 1e-3
    assert error.std() == pytest.approx(0.37 / np.sqrt(64), rel=0.1)


def test_the_signs_of_codes_survive():
    bits = np.sign(np.random.default_rng(0).standard_normal((50, 64))).astype(np.float32) / 8
    kept = codes.decode(*codes.encode(codes.turned(bits)))
    assert ((kept @ codes.turned(bits).T).argmax(1) == np.arange(50)).all()


def test_lists_do_not_depend_on_the_order_of_their_keys():
    rng = np.random.default_rng(0)
    keys = coded(keys_of(unit(rng, 3000)))
    one, lists = into_lists(keys)
    other, same = into_lists(keys.take(rng.permutation(3000)))
    assert len(lists) == 64 and lists.starts[-1] == 3000
    np.testing.assert_array_equal(one.place, other.place)
    np.testing.assert_array_equal(lists.centroids, same.centroids)


def test_a_video_without_keys_takes_its_place():
    rng = np.random.default_rng(0)
    parts = [coded(keys_of(unit(rng, n))) for n in (4, 0, 3)]
    assert joined(parts, [5, 7, 3]).place.tolist() == [0, 1, 2, 3, 12, 13, 14]


@pytest.mark.parametrize("d", [55, 300, 1024])
def test_a_scan_gives_the_products_with_the_keys_that_are_wanted(d):
    rng = np.random.default_rng(0)
    vectors = unit(rng, 3000, d)
    vectors[1::2] *= 0.5  # nearly flat ones
    keys, lists = into_lists(coded(keys_of(vectors)))
    wanted, probes = rng.random(3000) < 0.5, codes.turned(vectors[:20])
    exact = np.where(wanted, probes @ codes.decode(keys.codes, keys.factor).T, 0)
    least = np.linspace(0.3, 0.5, 20, dtype=np.float32)
    probe, key, likeness = Scan(keys, None, wanted).alike(probes, least, 64, among=2000)
    assert likeness == pytest.approx(exact[probe, key], abs=0.01)
    there = np.zeros(exact.shape, bool)
    there[probe, key] = True
    assert not (there & (exact < least[:, None] - 0.01)).any()
    assert not (~there & (exact > 1.3 * least[:, None])).any()  # factors differ by so much
    few = Scan(keys, lists, wanted).alike(probes, np.zeros(20, np.float32), 5, among=2000)
    assert np.bincount(few[0], minlength=20).max() <= 5
    assert set(zip(*few[:2])) >= {(p, k) for p, k in enumerate(exact.argmax(1)) if exact[p, k] > 0.9}


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    """300 videos of 20 keys that wander, and the vectors."""
    rng = np.random.default_rng(1)
    start = unit(rng, 300)[:, None]
    vectors = start + 0.12 * rng.standard_normal((300, 20, 55)).astype(np.float32).cumsum(1)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    files = IndexFiles(str(tmp_path_factory.mktemp("segment")))
    videos = [IndexedVideo(video_id=f"{n}", content=f"{n}", windows=20, sha256="") for n in range(300)]
    name = files.write_segment(videos, joined([coded(keys_of(each)) for each in vectors], [20] * 300), level=0)
    return Segment(files.store, name, gone=[7]), vectors


def first(segment, vectors, **how):
    found = votes.candidates(keys_of(vectors), [segment], **how)
    return found[0].row if found else None


def test_ten_segments_are_looked_up_in_as_large_a_share_of_their_keys_as_one_is():
    one, ten = (lists_tried(n, 1_000_000) / n for n in (1024, 256))
    assert one <= ten <= 1.25 * one
    assert lists_tried(256, 100_000) > 256 * ten  # alone, each would be looked through more closely


@pytest.mark.slow
def test_few_lists_find_what_all_keys_find(segment, monkeypatch):
    opened, vectors = segment
    rng = np.random.default_rng(2)
    assert lists_tried(len(opened.lists), len(opened)) <= len(opened.lists) / 4
    found = []
    for small in (0, 1 << 30):  # lists, everything
        monkeypatch.setattr(votes, "SMALL", small)
        rng = np.random.default_rng(2)
        hits = 0
        for row in range(10, 60):
            probes = vectors[row] + 0.11 * rng.standard_normal((20, 55)).astype(np.float32)  # alike to .8
            hits += first(opened, probes / np.linalg.norm(probes, axis=1, keepdims=True)) == row
        found.append(hits)
    assert found == [50, 50]


def test_what_is_gone_gets_no_votes(segment):
    opened, vectors = segment
    assert first(opened, vectors[7], every=True) is None
    assert first(opened, vectors[8], every=True) == 8


def test_parts_elect_whom_the_whole_index_does_and_break_ties_alike(segment):
    opened, vectors = segment
    probes = keys_of(vectors[10:13].reshape(60, 55))
    turned = codes.turned(probes.vectors)
    whole = votes.elect(probes, [votes.sight(turned, [opened, opened], among=40_000)], top=9)
    parts = [votes.sight(turned, [opened], among=40_000, first=first) for first in (0, 1)]
    assert votes.elect(probes, parts, top=9) == whole
    assert {(each.segment, each.row) for each in whole[:6]} == {(part, row) for part in (0, 1) for row in (10, 11, 12)}


def test_where_all_videos_ask_a_part_is_looked_for_among_whole_pictures_and_the_same_parts(tmp_path):
    rng, middle = np.random.default_rng(0), (0, 0, 0.5, 0.5)
    vectors = unit(rng, 2)
    keys = replace(keys_of(vectors), boxes=np.array([WHOLE[0], middle], np.float32))
    files = IndexFiles(str(tmp_path))
    videos = [IndexedVideo(video_id="v", content="v", windows=2, sha256="")]
    opened = Segment(files.store, files.write_segment(videos, joined([coded(keys)], [2]), level=0))

    def shown(number: int, box: tuple[float, ...], mutual: bool) -> bool:
        probe = replace(keys_of(vectors[number : number + 1]), boxes=np.array([box], np.float32))
        return bool(votes.candidates(probe, [opened], mutual=mutual))

    left = (-0.5, 0, 0.5, 1)
    assert [shown(n, box, False) for n in (0, 1) for box in (WHOLE[0], middle, left)] == [True] * 6
    assert [shown(n, box, True) for n in (0, 1) for box in (WHOLE[0], middle, left)] == [True] * 5 + [False]
