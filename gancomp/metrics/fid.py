"""The Frechet Inception distance from features or statistics, exact and fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gancomp.declare import NoOptions
from gancomp.errors import DataError

if TYPE_CHECKING:
    from gancomp.metrics.base import ImageSet
    from gancomp.metrics.resampling import Resamples

ENOUGH_IMAGES = 2048
LEAST_IMAGES = 2

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a set of features, as FID compares them.

    Attributes:
        mean: `(D,)`.
        covariance: `(D, D)`, symmetric, normalized by N - 1.
        num_images: N, or None for a file that does not say.
        protocol: how the images were prepared, free text; empty if unknown.
    """

    mean: Array
    covariance: Array
    num_images: int | None = None
    protocol: str = ""


class Fid:
    """The Frechet Inception distance."""

    needs: ClassVar[Literal["features", "fake features", "statistics"]] = "statistics"
    limits: ClassVar[tuple[float, float]] = (0.0, math.inf)
    Options: ClassVar[type] = NoOptions

    def __init__(self, options: NoOptions) -> None:
        self.options = options

    def scores(self, fakes: ImageSet, reals: ImageSet) -> dict[str, float]:
        """`fid`, the faster way where there are features of the fakes."""
        if fakes.features is not None:
            return {"fid": fid_from_features(fakes.features, reals.statistics)}
        return {"fid": fid_from_statistics(fakes.statistics, reals.statistics)}

    def warning(self, num_images: int) -> str | None:
        """That FID of few images is biased."""
        return bias_warning(num_images)

    def resampled(self, fakes: ImageSet, reals: ImageSet, resamples: Resamples) -> dict[str, Array]:
        """`fid` of each resample, in the space of the images where these are fewer than features.

        `tr sqrt(S_a S_b)` is the sum of the singular values of the centered `X_a X_b^T`, divided by
        `sqrt((N - 1) (M - 1))`: products of images with each other, which a resample only repeats.
        """
        rows, others = fakes.features, reals.features
        assert rows is not None
        if others is None or min(len(rows), len(others)) >= rows.shape[1]:
            chosen = (resamples.chosen(index) for index in range(len(resamples)))
            return {"fid": np.array([_fid_of(rows, reals, *pair) for pair in chosen])}
        x, y = _rows(rows), _rows(others)
        products = x @ y.T
        found = []
        for index in range(len(resamples)):
            i, j = resamples.chosen(index)
            assert j is not None
            found.append(_fid_by_products(x[i], y[j], products[np.ix_(i, j)]))
        return {"fid": np.array(found)}


def statistics_of(features: ArrayLike, *, protocol: str = "") -> Statistics:
    """Mean and covariance of features, in float64.

    Args:
        features: `(N, D)`.
        protocol: kept with the result.

    Raises:
        DataError: if there are fewer than two images, or values that are not finite.

    Source: pytorch-fid 0.3.0, `calculate_activation_statistics`.
    """
    rows = _rows(features)
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    return Statistics(rows.mean(axis=0), covariance, len(rows), protocol)


def statistics_of_parts(parts: Iterable[ArrayLike], *, protocol: str = "") -> Statistics:
    """`statistics_of` all features at once, of which only one part is in memory at a time.

    Args:
        parts: `(N_i, D)` each.
        protocol: kept with the result.

    Raises:
        DataError: as `statistics_of`.

    Source: Chan, Golub and LeVeque 1979, on joining the sums of squares of two samples.
    """
    count, mean, squares = 0, np.zeros(0), np.zeros((0, 0))
    for part in parts:
        rows = _rows(part, least=0, first=count)
        if not len(rows):
            continue
        center = rows.mean(axis=0)
        centered = rows - center
        own = centered.T @ centered
        if not count:
            count, mean, squares = len(rows), center, own
            continue
        total, shift = count + len(rows), center - mean
        squares += own + np.outer(shift, shift) * (count * len(rows) / total)
        mean += shift * (len(rows) / total)
        count = total
    if count < LEAST_IMAGES:
        raise DataError(f"features of {count} images: FID needs at least {LEAST_IMAGES}")
    return Statistics(mean, squares / (count - 1), count, protocol)


def fid_from_statistics(a: Statistics, b: Statistics) -> float:
    """The squared Frechet distance of two Gaussians; symmetric, 0 for equal ones.

    `|m_a - m_b|^2 + tr(S_a) + tr(S_b) - 2 tr sqrt(S_a S_b)`, where the last trace is the sum of
    the square roots of the eigenvalues of the symmetric `R^T S_b R` with `R R^T = S_a`. No matrix
    root of an unsymmetric product, hence no imaginary parts and no offset on the diagonal, however
    few images there were.

    Raises:
        DataError: if their numbers of features differ, or the distance overflows.

    Source: Heusel et al. 2017, eq. 6.
    """

    def product() -> Array:
        root = _root(a.covariance)
        return root.T @ b.covariance @ root

    return _distance(
        (a.mean, float(np.trace(a.covariance))), (b.mean, float(np.trace(b.covariance))), product
    )


def fid_from_features(fake_features: ArrayLike, real: Statistics | ArrayLike) -> float:
    """FID between generated and real images.

    With fewer images than features, the trace comes from an `(N, N)` instead of a `(D, D)` matrix:
    `X S_real X^T / (N - 1)`, `X` the centered features, has the same non-zero eigenvalues. For 120
    images that is a fraction of a second, so a score during training costs the features only.

    Args:
        fake_features: `(N, D)`.
        real: statistics, or `(M, D)` features.

    Raises:
        DataError: if a side has fewer than two images, values that are not finite, or another
            number of features.

    Source: Heusel et al. 2017, eq. 6; equal to `fid_from_statistics`.
    """
    rows = _rows(fake_features)
    other = real if isinstance(real, Statistics) else statistics_of(real)
    if len(rows) >= rows.shape[1]:
        return fid_from_statistics(statistics_of(rows), other)
    mean = rows.mean(axis=0)
    centered = (rows - mean) / np.sqrt(len(rows) - 1)
    # tr X^T X is the sum of the squares of X: no (D, D) covariance of the fakes is needed at all
    return _distance(
        (mean, float(np.square(centered).sum())),
        (other.mean, float(np.trace(other.covariance))),
        lambda: centered @ other.covariance @ centered.T,
    )


def _fid_of(
    rows: NDArray[np.float32],
    reals: ImageSet,
    i: NDArray[np.intp],
    j: NDArray[np.intp] | None,
) -> float:
    """FID of some rows, repeated, of either side; of the same reals where there is no `j`."""
    if j is None or reals.features is None:
        return fid_from_features(rows[i], reals.statistics)
    return fid_from_features(rows[i], reals.features[j])


def _fid_by_products(x: Array, y: Array, products: Array) -> float:
    """FID of features `(N, D)` and `(M, D)` whose products are the `(N, M)` given."""
    down, across = products.mean(axis=0), products.mean(axis=1)
    centered = (products - down - across[:, None] + products.mean()) / np.sqrt(
        (len(x) - 1) * (len(y) - 1)
    )
    if len(x) > len(y):
        centered = centered.T
    sides = [(part.mean(axis=0), float(part.var(axis=0, ddof=1).sum())) for part in (x, y)]
    return _distance(sides[0], sides[1], lambda: centered @ centered.T)


def bias_warning(num_images: int) -> str | None:
    """One line for the user if `num_images` is too small for FIDs to be compared freely."""
    if num_images >= ENOUGH_IMAGES:
        return None
    return (
        f"FID of {num_images} images: below {ENOUGH_IMAGES} it is biased upwards, the more the "
        "fewer images; compare it only with scores from the same number of images"
    )


def _distance(
    a: tuple[Array, float], b: tuple[Array, float], product: Callable[[], Array]
) -> float:
    """The distance, given how to make a symmetric matrix with the eigenvalues of `S_a S_b`.

    Args:
        a: mean, and trace of the covariance.
        b: the same of the other side.
        product: only called if the two fit each other.
    """
    (mean_a, trace_a), (mean_b, trace_b) = a, b
    if mean_a.shape != mean_b.shape:
        raise DataError(
            f"FID between {mean_a.size} and {mean_b.size} features: both sides need the same "
            "network's (pool3 has 2048)"
        )
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
            # rounding makes tiny negative ones
            eigenvalues = np.linalg.eigvalsh(product()).clip(min=0)
            spread = trace_a + trace_b - 2 * np.sqrt(eigenvalues).sum()
            distance = float(np.square(mean_a - mean_b).sum() + spread)
    except np.linalg.LinAlgError:  # of values that are not finite
        distance = math.nan
    if not math.isfinite(distance):
        raise DataError(
            "FID is not a finite number: features or statistics of a side are too large; compute "
            "them again, with the network that FID is defined with"
        )
    return max(distance, 0.0)


def _root(covariance: Array) -> Array:
    """A matrix `R` with `R R^T = covariance`."""
    root: Array
    try:
        root = np.linalg.cholesky(covariance).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:  # singular: fewer images than features
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(values.clip(min=0))
    return root


def _rows(features: ArrayLike, *, least: int = LEAST_IMAGES, first: int = 0) -> Array:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < least:
        raise DataError(
            f"features of shape {rows.shape}: FID needs (images, features) with at least "
            f"{LEAST_IMAGES} images"
        )
    if not np.isfinite(rows).all():
        bad = first + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise DataError(f"features of image {bad} are not finite: FID is undefined")
    return rows
