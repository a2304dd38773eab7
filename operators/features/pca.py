"""Principal components of vectors that need not fit into memory: blocks of rows in, TCA's four arrays out.

N points of D numbers, of which K directions are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ndvr.operators.storage.store import write_whole

LEAST_VARIANCE = 1e-9  # what varies less does not vary: its direction is rounding noise
BLOCK_ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class Components:
    """Directions of largest variance, the strongest first."""

    mean: np.ndarray = field(repr=False)  # (D,) float64
    directions: np.ndarray = field(repr=False)  # (D, K) float64, columns of length one
    variances: np.ndarray = field(repr=False)  # (K,) float64, divisor N - 1
    explained: float  # share of the total variance in the K directions

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrange the arrays as TCA's authors keep them, float32: U (D, K), lams (K,), mu (D, 1), Utmu (K, 1)."""
        mean = self.mean[:, None]
        arrays = {"U": self.directions, "lams": self.variances, "mu": mean, "Utmu": self.directions.T @ mean}
        return {key: value.astype(np.float32) for key, value in arrays.items()}

    def write(self, path: str | Path) -> None:
        """Write the arrays as an .npz file, whole or not at all."""

        arrays = self.arrays()

        def save(name: str) -> None:
            with open(name, "wb") as file:  # given a name, numpy would add a suffix to it
                np.savez(file, U=arrays["U"], lams=arrays["lams"], mu=arrays["mu"], Utmu=arrays["Utmu"])

        write_whole(Path(path), save)


def pick(video_id: str, n_windows: int, count: int, *, seed: int) -> np.ndarray:
    """Choose the windows of a video to learn from: `count` with replacement, as the authors did; 0 is all, in order.

    Depends on the seed, the id and the length only, not on what else is in the collection or where it lies.
    """
    if count == 0:
        return np.arange(n_windows)
    words = np.frombuffer(hashlib.sha256(video_id.encode()).digest()[:16], np.uint32)
    return np.random.default_rng([seed, *words.tolist()]).integers(0, n_windows, count)


def fit(rows: Iterable[np.ndarray], *, points: int, dims: int) -> Components:
    """Find the components of `points` vectors, handed over as arrays (n, D) of any lengths.

    The covariance is added up block by block in float64. With fewer points than numbers the points are kept, and the
    smaller problem of their products is solved: X X' / (N - 1) = V L V' gives U = X' V L^(-1/2) / sqrt(N - 1).
    ValueError when the points do not vary in `dims` directions.
    """
    blocks = _blocks(rows)
    first = next(blocks, None)
    if first is None or points <= dims:
        raise ValueError(f"{points} points span at most {max(0, points - 1)} directions, fewer than dims={dims}")
    size = first.shape[1]
    if dims > size:
        raise ValueError(f"vectors of {size} numbers have no {dims} directions")
    solve = _dual if points < size else _primal
    count, mean, values, vectors, total = solve(_chain(first, blocks), dims)
    if count != points:
        raise ValueError(f"{count} points came where {points} were announced")
    if values[-1] < LEAST_VARIANCE:
        raise ValueError(
            f"the {points} points vary in only {int((values >= LEAST_VARIANCE).sum())} directions, "
            f"fewer than dims={dims}"
        )
    return Components(mean=mean, directions=vectors, variances=values, explained=float(values.sum() / total))


Solution = tuple[int, np.ndarray, np.ndarray, np.ndarray, float]


def _primal(blocks: Iterator[np.ndarray], dims: int) -> Solution:
    """Compute (points, mean, variances, directions, total variance) by the D x D covariance."""
    count, total, moments = 0, np.zeros(()), np.zeros(())
    for block in blocks:
        count += len(block)
        total = total + block.sum(0)
        moments = moments + block.T @ block
    mean = total / count
    covariance = (moments - count * np.outer(mean, mean)) / (count - 1)
    values, vectors = np.linalg.eigh(covariance)
    return count, mean, values[::-1][:dims], vectors[:, ::-1][:, :dims], float(np.trace(covariance))


def _dual(blocks: Iterator[np.ndarray], dims: int) -> Solution:
    """Compute the same by the N x N products of the points."""
    points = np.concatenate(list(blocks))
    mean = points.mean(0)
    centred = points - mean
    products = centred @ centred.T / (len(points) - 1)
    values, vectors = np.linalg.eigh(products)
    values, vectors = values[::-1][:dims], vectors[:, ::-1][:, :dims]
    directions = centred.T @ (vectors / np.sqrt(np.maximum(values, LEAST_VARIANCE) * (len(points) - 1)))
    return len(points), mean, values, directions, float(np.trace(products))


def _blocks(rows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Cut the rows into float64 arrays of BLOCK_ROWS, the last one shorter."""
    waiting: list[np.ndarray] = []
    n = 0
    for chunk in rows:
        for start in range(0, len(chunk), BLOCK_ROWS):
            part = chunk[start : start + BLOCK_ROWS]
            if n + len(part) > BLOCK_ROWS:
                yield np.concatenate(waiting).astype(np.float64)
                waiting, n = [], 0
            waiting.append(part)
            n += len(part)
    if waiting:
        yield np.concatenate(waiting).astype(np.float64)


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
