"""Distances between many images, a tile at a time: memory does not grow with their product."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gancomp.metrics.base import ImageSet

TILE = 2048  # images a side: 32 MB of distances
KEPT = 5  # neighbors that are found at once: what all scores look at by default
# of the squares of two vectors: a squared distance below that is rounding
ROUNDING = 1e-12

Array = NDArray[np.float64]
Features = NDArray[np.float32]


def tiles(count: int) -> Iterator[slice]:
    """`count` rows in parts that are computed together."""
    for first in range(0, count, TILE):
        yield slice(first, min(first + TILE, count))


def squared_distances(a: Features, b: Features) -> Array:
    """`(N, M)` squared Euclidean distances, in float64: as products they would cancel in float32.

    Args:
        a: `(N, D)`.
        b: `(M, D)`.
    """
    left, right = a.astype(np.float64), b.astype(np.float64)
    squares = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)
    distances: Array = left @ right.T
    distances *= -2
    distances += squares
    distances[distances < ROUNDING * squares] = 0  # equal images, and none below zero
    return distances


def reaches(images: ImageSet, k: int) -> Array:
    """`(N,)` squared distances of each image to the `k`-th nearest other one of the same set.

    Args:
        images: with features, more than `k`; remembers what was found.
        k: from 1 on.
    """
    assert images.features is not None
    wanted = max(k, min(KEPT, len(images.features) - 1))
    nearest: Array | None = images.memo.get("nearest")
    if nearest is None or nearest.shape[1] < k:
        nearest = images.memo["nearest"] = _nearest(images.features, wanted)
    found: Array = nearest[:, k - 1]
    return found


def _nearest(features: Features, k: int) -> Array:
    """`(N, k)` squared distances to the nearest other images, ascending."""
    nearest = np.full((len(features), k), np.inf)
    parts = list(tiles(len(features)))
    for index, rows in enumerate(parts):
        for columns in parts[index:]:
            distances = squared_distances(features[rows], features[columns])
            if rows == columns:
                np.fill_diagonal(distances, np.inf)
            else:  # a distance counts for both of its images
                nearest[columns] = _least(nearest[columns], distances.T, k)
            nearest[rows] = _least(nearest[rows], distances, k)
    return np.sort(nearest, axis=1)


def _least(known: Array, distances: Array, k: int) -> Array:
    """The `k` smallest of each row of both."""
    if distances.shape[1] > k:
        distances = np.partition(distances, k - 1, axis=1)[:, :k]
    joined = np.concatenate([known, distances], axis=1)
    least: Array = np.partition(joined, k - 1, axis=1)[:, :k]
    return least
