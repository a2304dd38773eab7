"""Inputs behind the reference numbers of segments.json, drawn again from their seeds; see tests/golden/segments.md.

RandomState's stream is frozen, and every number is one product and one sum in float64: the same bits everywhere.
"""

from __future__ import annotations

import json

import numpy as np
from places import GOLDEN_FOLDER

from ndvr.operators.metrics.segments import Match, Segment

GOLDEN = GOLDEN_FOLDER
N_QUERIES, N_VIDEOS = 8000, 40000


def numbers() -> dict:
    """What the official evaluators say."""
    return json.loads((GOLDEN / "segments.json").read_text())


def match(query_id, video_id, query_start, query_end, start, end, score=1.0) -> Match:
    """A row of the challenge's CSV, in the order of its columns."""
    query, video = Segment(start_s=query_start, end_s=query_end), Segment(start_s=start, end_s=end)
    return Match(query_id=query_id, video_id=video_id, query=query, video=video, score=score)


def pairs(*, ties: bool = False):
    """Scores (200000,) of candidate pairs, which are among the 6,000 true pairs, and which are of every fifth query.

    The recipe chooses pairs by a permutation of 8,000 x 40,000 numbers, which takes a minute: its outcome is stored.
    """
    state = np.random.RandomState()
    with np.load(GOLDEN / "segments.npz") as arrays:
        state.set_state(("MT19937", arrays["pairs_state"], int(arrays["pairs_position"])))
        fifth = np.unpackbits(arrays["pairs_lost"], count=200000).astype(bool)
    scores = np.concatenate([0.3 + 0.6 * state.random_sample(4800), 0.6 * state.random_sample(195200)])
    order = state.permutation(200000)
    return np.round(scores[order], 2) if ties else scores[order], order < 4800, fifth[order]


def matches(*, ties: bool = False) -> tuple[list[Match], list[Match]]:
    """4,000 true matches and 11,000 found ones: three of four true ones, moved by up to 2 s, and 8,000 false ones."""
    state = np.random.RandomState(20240508)
    truth, found = [], []

    def drawn():
        ids = f"Q{state.randint(N_QUERIES):06d}", f"R{state.randint(N_VIDEOS):06d}"
        start, length, offset = 40 * state.random_sample(), 2 + 18 * state.random_sample(), 40 * state.random_sample()
        return (*ids, start, start + length, offset, offset + length)

    for i in range(4000):
        truth.append(drawn())
        if i % 4:
            times = truth[-1][2:]
            jitter = state.random_sample(4) * 4 - 2
            moved = [time + jitter[n] for n, time in enumerate(times)]
            query, video = sorted([max(0.0, moved[0]), moved[1]]), sorted([max(0.0, moved[2]), moved[3]])
            found.append((*truth[-1][:2], *query, *video, 0.3 + 0.7 * state.random_sample()))
    for _ in range(8000):
        # The official recipe draws times before ids here, and ids before times above.
        start, length, offset = 40 * state.random_sample(), 2 + 18 * state.random_sample(), 40 * state.random_sample()
        ids = f"Q{state.randint(N_QUERIES):06d}", f"R{state.randint(N_VIDEOS):06d}"
        found.append((*ids, start, start + length, offset, offset + length, 0.7 * state.random_sample()))
    if ties:
        found = [(*row[:6], round(row[6], 1)) for row in found]
    return [match(*row) for row in truth], [match(*row) for row in found]


def descriptors():
    """(query counts, vectors, video counts, vectors, true pairs): every fourth query holds a copy, with noise."""
    state = np.random.RandomState(20240509)

    def unit(x):
        return x / np.sqrt((x * x).sum(axis=1, keepdims=True))

    video_counts, query_counts = state.randint(5, 40, 1600), state.randint(5, 40, 400)
    videos = unit(state.random_sample((int(video_counts.sum()), 64)) - 0.5)
    queries = unit(state.random_sample((int(query_counts.sum()), 64)) - 0.5)
    video_start, query_start = np.cumsum(video_counts) - video_counts, np.cumsum(query_counts) - query_counts
    truth = []
    for i in range(0, 400, 4):
        j = int(state.randint(1600))
        length = int(min(query_counts[i], video_counts[j], 5 + state.randint(10)))
        a, b = int(query_start[i]), int(video_start[j])
        noise = unit(state.random_sample((length, 64)) - 0.5)
        queries[a : a + length] = unit(videos[b : b + length] + 2.0 * noise)
        truth.append((i, j))
    return query_counts, queries.astype(np.float32), video_counts, videos.astype(np.float32), truth


def vcsl_boxes(labels: dict, names: list[str], seed: int) -> dict[str, list[list[float]]]:
    """Found boxes of every pair: three of four labels, moved by up to a fifth of their length, and false ones."""
    state = np.random.RandomState(seed)
    out = {}
    for name in names:
        boxes = []
        if name in labels:
            for box in labels[name]:
                u = state.random_sample(5)
                if u[4] < 0.75:
                    span = [box[2] - box[0], box[3] - box[1]] * 2
                    boxes.append([float(round(box[n] + (u[n] - 0.5) * 0.4 * span[n])) for n in range(4)])
        elif state.random_sample() < 0.1:
            u = state.random_sample(4)
            boxes.append([float(round(x)) for x in (100 * u[0], 100 * u[1], 100 * u[0] + 30, 100 * u[1] + 30)])
        out[name] = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
    return out
