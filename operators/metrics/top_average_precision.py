"""Average precision of the k best only, divided by the right videos among them: class retrieval's top-k mAP.

From counts, as in metrics: `wrong_before` (n,) belongs to the n right videos of a query, best first. A query without a
right video among its k best has 0. Where k exceeds what was ranked, the whole ranking counts.
"""

from __future__ import annotations

import numpy as np


def top_average_precision(wrong_before: np.ndarray, k: int) -> float:
    """Sum over right videos at rank <= k of (right so far / rank), divided by how many there are."""
    right = np.arange(1, len(wrong_before) + 1)
    rank = right + wrong_before
    inside = rank <= k
    return float(np.mean(right[inside] / rank[inside])) if inside.any() else 0.0


def top_average_precision_ends(above: np.ndarray, at_least: np.ndarray, k: int) -> tuple[float, float]:
    """(lowest, highest) over all orders of equal scores.

    above     (n,) wrong videos with a higher score than the right one
    at_least  (n,) and those with the same

    The ends are not the worst and the best order: a right video more inside the k best is a term more in the sum, and
    one more to divide by. So the group of equals across rank k is tried with each possible number of right videos
    inside; where the right ones stand is then worst last and best first, in this group as in all before it.
    """
    n = np.arange(1, len(above) + 1)
    # Groups of equals. Neighbours with no wrong video between or beside them may pass for one: the sums are the same.
    new = np.append(True, (np.diff(above) > 0) | (np.diff(at_least) > 0))[: len(n)]
    start = np.flatnonzero(new)
    size = np.diff(np.append(start, len(n)))
    whole = np.repeat(start + size + at_least[start] <= k, size)
    late, soon = (float(np.sum(n[whole] / (n + wrong)[whole])) for wrong in (at_least, above))
    n_whole = int(whole.sum())
    across = np.flatnonzero((start + size + at_least[start] > k) & (start + above[start] < k))
    if not len(across):
        return (late / n_whole, soon / n_whole) if n_whole else (0.0, 0.0)
    first, n_right = int(start[across[0]]), int(size[across[0]])
    before, n_wrong = first + int(above[first]), int(at_least[first] - above[first])
    ends = []
    for inside in range(max(0, k - before - n_wrong), min(k - before, n_right) + 1):
        i = np.arange(1, inside + 1)
        sums = (late + np.sum((first + i) / (k - inside + i)), soon + np.sum((first + i) / (before + i)))
        ends.append([x / (first + inside) if first + inside else 0.0 for x in sums])
    return float(np.min(ends)), float(np.max(ends))
