"""The kernel Inception distance, unbiased, over subsets of the images or over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gancomp.errors import ConfigError
from gancomp.metrics.base import ImageSet
from gancomp.metrics.options import KidOptions
from gancomp.metrics.tiles import Features, tiles

if TYPE_CHECKING:
    from gancomp.metrics.resampling import Resamples

SUBSET_SIZE = 1000
DEGREE = 3
LEAST_IMAGES = 2  # of an image there is no pair

Array = NDArray[np.float64]
Weights = NDArray[np.floating[Any]]


class Kid:
    """The squared maximum mean discrepancy with the kernel `(x.y / D + 1)^3`, unbiased.

    Around 0 for sets of one kind, and then as often below as above it.

    Source: Binkowski et al. 2018, section 4; equal to `kid_features_to_metric` of torch-fidelity
    0.4.0, whose subsets and seed these are. Where a side has fewer images than a subset, which is
    an error there, subsets are as large as that side.
    """

    needs: ClassVar[Literal["features", "fake features", "statistics"]] = "features"
    Options = KidOptions

    def __init__(self, options: KidOptions) -> None:
        self.options = options

    def check(self, num_fakes: int, num_reals: int) -> None:
        """Refuses too few images.

        Raises:
            ConfigError: naming the way out.
        """
        fewest, wanted = min(num_fakes, num_reals), self.options.kid_subset_size
        side = "generated" if num_fakes <= num_reals else "real"
        if fewest < LEAST_IMAGES:
            raise ConfigError(
                f"`metrics` kid: needs at least {LEAST_IMAGES} images of each side, there is "
                f"{fewest} {side} one; give more"
            )
        if wanted is not None and wanted > fewest:
            raise ConfigError(
                f"`kid_subset_size` {wanted}: there are {fewest} {side} images; use at most "
                f"{fewest}, or remove it"
            )

    def warning(self, num_images: int) -> str | None:
        """Nothing: it is unbiased, however few images there are."""
        return None

    def protocol(self, fakes: ImageSet, reals: ImageSet) -> dict[str, Any]:
        """The subsets as they were."""
        return {
            "subsets": self.options.kid_subsets,
            "subset_size": self._size(fakes, reals),
            "seed": self.options.kid_seed,
            "kernel": "polynomial, (x.y / D + 1)^3, unbiased",
        }

    def scores(self, fakes: ImageSet, reals: ImageSet) -> dict[str, float]:
        """`kid`, the mean over the subsets."""
        return {"kid": float(self._subsets(fakes, reals).mean())}

    def resampled(self, fakes: ImageSet, reals: ImageSet, resamples: Resamples) -> dict[str, Array]:
        """`kid` of each resample, of all images; a pair of an image with itself never counts.

        Other subsets would have had another mean: that, too, is in it.
        """
        assert fakes.features is not None
        assert reals.features is not None
        assert resamples.reals is not None
        whole = kernel_distances(fakes.features, reals.features, resamples.fakes, resamples.reals)
        subsets = self._subsets(fakes, reals)
        redrawn = np.random.default_rng(self.options.kid_seed).integers(
            len(subsets), size=(len(resamples), len(subsets))
        )
        return {"kid": whole + subsets[redrawn].mean(axis=1)}

    def _size(self, fakes: ImageSet, reals: ImageSet) -> int:
        assert fakes.features is not None
        assert reals.features is not None
        fewest = min(len(fakes.features), len(reals.features))
        return self.options.kid_subset_size or min(SUBSET_SIZE, fewest)

    def _subsets(self, fakes: ImageSet, reals: ImageSet) -> Array:
        """The distance within each subset, drawn as torch-fidelity draws them."""
        key = ("kid", reals, self.options)
        if key not in fakes.memo:
            assert fakes.features is not None
            assert reals.features is not None
            self.check(len(fakes.features), len(reals.features))
            random = np.random.RandomState(self.options.kid_seed)
            size = self._size(fakes, reals)
            drawn = [
                tuple(
                    random.choice(len(side), size, replace=False)
                    for side in (fakes.features, reals.features)
                )
                for _ in range(self.options.kid_subsets)
            ]
            fakes.memo[key] = subset_distances(fakes.features, reals.features, drawn)
        found: Array = fakes.memo[key]
        return found


def subset_distances(
    fakes: Features, reals: Features, drawn: list[tuple[NDArray[np.intp], ...]]
) -> Array:
    """`(S,)` distances within subsets.

    Args:
        fakes: `(N, D)`.
        reals: `(M, D)`.
        drawn: for each subset the rows of either side.
    """
    size = len(drawn[0][0])
    if len(fakes) ** 2 + len(reals) ** 2 + len(fakes) * len(reals) > 3 * len(drawn) * size**2:
        ones = np.ones((size, 1))  # fewer products of two images one subset at a time
        each = [kernel_distances(fakes[i], reals[j], ones, ones) for i, j in drawn]
        return np.concatenate(each)
    in_fakes, in_reals = (np.zeros((len(side), len(drawn))) for side in (fakes, reals))
    for index, (i, j) in enumerate(drawn):
        in_fakes[i, index] = in_reals[j, index] = 1
    return kernel_distances(fakes, reals, in_fakes, in_reals)


def kernel_distances(
    fakes: Features, reals: Features, fake_weights: Weights, real_weights: Weights
) -> Array:
    """`(C,)` unbiased squared discrepancies, one for each column of weights.

    A pair of images counts by the product of their weights, a pair of an image with itself never.

    Args:
        fakes: `(N, D)`.
        reals: `(M, D)`.
        fake_weights: `(N, C)`, how often each counts.
        real_weights: `(M, C)`.

    Source: Gretton et al. 2012, eq. 3.
    """
    within = _pairs_within(fakes, fake_weights) + _pairs_within(reals, real_weights)
    across = _kernel_sums(fakes, reals, fake_weights, real_weights)
    counts = fake_weights.sum(axis=0, dtype=np.float64) * real_weights.sum(axis=0, dtype=np.float64)
    distances: Array = within - 2 * across / counts
    return distances


def _pairs_within(features: Features, weights: Weights) -> Array:
    """The kernel's mean over the pairs of different images of one side."""
    squares = np.square(features, dtype=np.float64).sum(axis=1)
    own = (squares / features.shape[1] + 1) ** DEGREE
    repeats = np.square(weights, dtype=np.float64)
    pairs = weights.sum(axis=0, dtype=np.float64) ** 2 - repeats.sum(axis=0)
    sums = _kernel_sums(features, features, weights, weights) - own @ repeats
    mean: Array = sums / pairs
    return mean


def _kernel_sums(a: Features, b: Features, a_weights: Weights, b_weights: Weights) -> Array:
    """Sums of `v_i w_j k(a_i, b_j)` over all pairs, for each column of weights."""
    sums = np.zeros(a_weights.shape[1])
    same = a is b  # then the kernel is symmetric
    for rows in tiles(len(a)):
        for columns in tiles(len(b)):
            if same and columns.start < rows.start:
                continue
            kernel = a[rows].astype(np.float64) @ b[columns].astype(np.float64).T
            kernel = (kernel / a.shape[1] + 1) ** DEGREE
            part = (a_weights[rows] * (kernel @ b_weights[columns])).sum(axis=0)
            sums += 2 * part if same and columns.start > rows.start else part
    return sums
