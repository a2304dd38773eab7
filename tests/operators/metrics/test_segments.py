"""Segments, matches and the metrics of VSC2022 and VCSL on them: cases that fit on a sheet of paper, definitions."""

import itertools

import numpy as np
import pytest
from golden_segments import match, numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from ndvr.operators.metrics.segments import (
    Segment,
    length_s,
    precision_recall,
    segment_ap,
    segment_overlap,
    shared_s,
    union,
)

EXACT = 1e-12  # the same sums in another order


def found(query, video, score=1.0, *, of=("q", "v")):
    """A match of one pair: its stretch of the query and of the video."""
    return match(*of, *query, *video, score)


def ap(truth, matches):
    return segment_ap(matches, truth).ap


# Segments and matches


def test_a_segment_may_be_empty_but_not_backwards():
    assert Segment(start_s=3, end_s=3).end_s == 3
    with pytest.raises(ValueError, match="a segment from 5 to 3 s ends before it starts"):
        Segment(start_s=5, end_s=3)


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_a_segment_has_finite_times(time):
    with pytest.raises(ValueError, match="both times must be finite"):
        Segment(start_s=0, end_s=time)


def test_a_match_without_a_finite_score_is_named():
    with pytest.raises(ValueError, match="the match of query 'q' and video 'v' has the score nan"):
        found((0, 1), (0, 1), float("nan"))


def test_matches_that_touch_or_share_one_axis_only_do_not_overlap():
    one = found((0, 10), (0, 10))
    assert one.overlaps(found((9, 20), (9, 20)))
    assert not one.overlaps(found((10, 20), (0, 10)))
    assert not one.overlaps(found((0, 10), (50, 60)))


def test_unions_and_what_they_share():
    assert union([(7, 8), (2, 4), (4, 5)]) == [(2, 5), (7, 8)]
    assert length_s(union([(0, 4), (2, 6)])) == 6
    assert shared_s([(2, 5), (7, 8)], [(1, 3), (4, 7)]) == 2  # 2 to 3, 4 to 5
    assert shared_s([(2, 5), (7, 8)], [(-1, 0), (3.5, 12)]) == 2.5
    assert shared_s([], [(0, 1)]) == 0


# Segment AP, VSC2022

TRUTH = [found((4, 14), (10, 18))]


def test_perfect():
    assert ap(TRUTH, TRUTH) == pytest.approx(1.0, abs=EXACT)


def test_split():
    assert ap(TRUTH, [found((4, 8), (10, 14), 1), found((8, 14), (14, 18), 2)]) == pytest.approx(1.0, abs=EXACT)


def test_a_quarter_found_precisely_is_worth_its_share():
    # recall: sqrt(5 / 10 of the query's time * 2 / 8 of the video's), all of it right
    assert ap(TRUTH, [found((4, 9), (10, 12))]) == pytest.approx((0.5 * 0.25) ** 0.5, abs=EXACT)


def test_too_much_found_costs_precision():
    assert ap(TRUTH, [found((4, 24), (10, 26))]) == pytest.approx(0.5, abs=EXACT)


def test_imperfect_calibrated():
    """The imprecise match comes last, when little is left to find."""
    good = [found((4, 8), (10, 14), 1), found((8, 14), (16, 18), 2)]
    assert 0.9 < ap(TRUTH, [*good, found((0, 30), (5, 25), 0)]) < 1.0


def test_imperfect_poorly_calibrated():
    """The imprecise match comes first."""
    good = [found((4, 8), (10, 14), 1), found((8, 14), (16, 18), 2)]
    assert ap(TRUTH, [*good, found((0, 30), (5, 25), 3)]) < 0.5


def test_right_times_in_the_wrong_combination_are_worth_nothing():
    """Figure 4 (f) of VCSL's paper."""
    truth = [*TRUTH, found((20, 28), (21, 29))]
    assert ap(truth, [found((4, 14), (21, 29)), found((20, 28), (10, 18))]) == 0.0


def test_the_same_times_in_another_pair_are_false():
    others = [found((4, 14), (10, 18), 3, of=("p", "v")), found((4, 14), (10, 18), 2, of=("q", "w"))]
    assert ap(TRUTH, [*others, found((4, 14), (10, 18), 1)]) == pytest.approx(1 / 3, abs=EXACT)


def test_equal_scores_are_one_step_whatever_their_order():
    rows = [found((4, 14), (10, 18)), found((0, 9), (0, 9), of=("p", "v")), found((5, 30), (5, 30))]
    values = {segment_ap(order, TRUTH).ap for order in itertools.permutations(rows)}
    assert max(values) - min(values) < EXACT
    assert segment_ap(rows, TRUTH).recall.tolist() == [1.0]


def test_a_match_found_twice_changes_nothing():
    rows = [found((4, 8), (10, 14), 2), found((0, 30), (5, 25), 1)]
    assert ap(TRUTH, rows + rows) == pytest.approx(ap(TRUTH, rows), abs=EXACT)


def test_an_empty_stretch_ranked_first_claims_nothing():
    assert ap(TRUTH, [found((5, 5), (5, 5), 9), *TRUTH]) == pytest.approx(1.0, abs=EXACT)


def test_nothing_found_is_zero_and_nothing_true_is_an_error():
    assert ap(TRUTH, []) == 0.0
    with pytest.raises(ValueError, match="the ground truth covers no time"):
        ap([], TRUTH)
    with pytest.raises(ValueError, match="the ground truth covers no time"):
        ap([found((3, 3), (0, 5))], TRUTH)


def test_the_curve_has_a_point_for_every_score_that_raised_recall():
    curve = segment_ap([found((4, 9), (10, 14), 3), found((4, 9), (10, 14), 2), found((4, 14), (10, 18), 1)], TRUTH)
    assert curve.scores.tolist() == [3, 1]
    assert curve.recall.tolist() == pytest.approx([0.5, 1.0])
    assert curve.precision.tolist() == pytest.approx([1.0, 1.0])


whole_second = st.tuples(st.integers(0, 8), st.integers(0, 4)).map(lambda x: (x[0], x[0] + x[1]))
rows = st.lists(st.tuples(st.sampled_from("ab"), whole_second, whole_second, st.integers(0, 3)), max_size=7)


def seconds(segments):
    return {second for segment in segments for second in range(int(segment.start_s), int(segment.end_s))}


def by_the_definition(truth, matches):
    """Every step from nothing, on sets of whole seconds."""
    pairs = {row.pair for row in [*truth, *matches]}
    last = total = 0.0
    for score in sorted({row.score for row in matches}, reverse=True):
        sums = np.zeros((3, 2))  # shared, covered, true; on both axes
        for pair in pairs:
            taken = [row for row in matches if row.pair == pair and row.score >= score]
            mine = [true for true in truth if true.pair == pair]
            hit = [true for true in mine if any(true.overlaps(row) for row in taken)]
            for axis in (0, 1):
                taken_s, hit_s, true_s = (seconds(m.axes[axis] for m in part) for part in (taken, hit, mine))
                sums[:, axis] += len(taken_s & hit_s), len(taken_s), len(true_s)
        recall = np.sqrt(np.prod(sums[0] / sums[2]))
        if recall > last:
            total += np.sqrt(np.prod(sums[0] / sums[1])) * (recall - last)
            last = recall
    return total


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(rows, rows)
def test_segment_ap_is_its_definition(true_rows, found_rows):
    truth = [found(query, video, of=("q", video_id)) for video_id, query, video, _ in true_rows]
    matches = [found(query, video, score, of=("q", video_id)) for video_id, query, video, score in found_rows]
    if all(seconds(true.axes[axis] for true in truth) for axis in (0, 1)):
        assert ap(truth, matches) == pytest.approx(by_the_definition(truth, matches), abs=EXACT)


# Precision and recall, VCSL


def boxes(*rows):
    return np.array(rows, float).reshape(-1, 4)


@pytest.mark.parametrize("case", numbers()["vcsl"]["literal"])
def test_precision_and_recall_agree_with_vcsl(case):
    expected = case["result"]["precision"], case["result"]["recall"]
    assert precision_recall(boxes(*case["pred"]), boxes(*case["gt"])) == pytest.approx(expected, abs=EXACT)


def test_fractions_of_a_second_are_rounded_to_float32_as_in_vcsl():
    one_third = boxes([0, 0, 1 / 3, 1 / 3])
    share = float(np.float32(1 / 3)) / (1 / 3 + 1e-6)
    assert precision_recall(one_third, one_third)[0] == pytest.approx(share**2, abs=1e-15)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(rows, rows)
def test_precision_is_its_definition_and_recall_its_mirror(first, second):
    a, b = (boxes(*([q[0], v[0], q[1], v[1]] for _, q, v, _ in part)) for part in (first, second))
    assert precision_recall(a, b) == pytest.approx(precision_recall(b, a)[::-1], abs=EXACT)
    if not len(a) or not len(b):
        return
    shared, total = np.zeros(2), a[:, 2:].sum(0) - a[:, :2].sum(0)
    for box in a:
        over = [other for other in b if all(np.minimum(box[2:], other[2:]) > np.maximum(box[:2], other[:2]))]
        for axis in (0, 1):
            mine = set(range(int(box[axis]), int(box[axis + 2])))
            shared[axis] += len(mine & {s for other in over for s in range(int(other[axis]), int(other[axis + 2]))})
    assert precision_recall(a, b)[0] == pytest.approx(np.prod(shared / (total + 1e-6)), abs=EXACT)


def test_means_leave_out_pairs_that_say_nothing():
    one, none = boxes([0, 0, 10, 10]), boxes()
    truth = {("q", "found"): one, ("q", "missed"): one, ("p", "false"): none, ("p", "quiet"): none}
    result = segment_overlap({("q", "found"): one, ("p", "false"): one}, truth)
    assert result.precision == pytest.approx(0.5, abs=1e-6)  # of found and false
    assert result.recall == pytest.approx(0.5, abs=1e-6)  # of found and missed
    assert (result.false_rejection_rate, result.false_alarm_rate) == (0.5, 0.5)
    assert result.by_query() == pytest.approx((1.0, 0.5), abs=1e-6)


def test_nothing_found_has_no_precision_and_f_zero():
    result = segment_overlap({}, {("q", "v"): boxes([0, 0, 10, 10])})
    assert (result.precision, result.recall, result.f1) == (None, 0.0, 0.0)
    assert result.false_alarm_rate is None  # every pair is labelled
