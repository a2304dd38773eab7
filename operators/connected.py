"""What belongs together when pairs connect it: connected(4, [0, 2], [1, 3]) is [0, 0, 2, 2]."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Name = TypeVar("Name", str, tuple[str, str])


def connected(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Label things that pairs (P,), (P,) of their places connect: (count,), the first place that each reaches."""
    label = np.arange(count)
    while True:
        before = label.copy()
        low = np.minimum(label[a], label[b])
        np.minimum.at(label, before[a], low)
        np.minimum.at(label, before[b], low)
        label = label[label]
        if np.array_equal(label, before):
            return label


def families(pairs: Sequence[tuple[Name, Name]]) -> list[list[Name]]:
    """Find what a chain of pairs connects: sorted names; the largest family first, equals by their first name."""
    names = sorted({name for pair in pairs for name in pair})
    place = {name: number for number, name in enumerate(names)}
    ends = np.array([(place[a], place[b]) for a, b in pairs], np.int64).reshape(-1, 2)
    members: dict[int, list[Name]] = {}
    for name, label in zip(names, connected(len(names), *ends.T).tolist()):
        members.setdefault(label, []).append(name)
    return sorted(members.values(), key=lambda family: (-len(family), family[0]))


def needed(pairs: Sequence[tuple[Name, Name]]) -> int:
    """Count how many pairs, from the first on, connect all that the pairs of one family connect."""
    size = len({name for pair in pairs for name in pair})

    def connects(count: int) -> bool:
        return len(families(pairs[:count])[0]) == size

    return bisect.bisect_left(range(1, len(pairs) + 1), True, key=connects) + 1
