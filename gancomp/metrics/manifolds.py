"""Precision, recall, density and coverage: which images lie in the neighborhoods of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gancomp.errors import ConfigError
from gancomp.metrics.base import ImageSet
from gancomp.metrics.options import DensityCoverageOptions, PrecisionRecallOptions
from gancomp.metrics.tiles import reaches, squared_distances, tiles

if TYPE_CHECKING:
    from gancomp.metrics.resampling import Resamples

Array = NDArray[np.float64]
Counts = NDArray[np.float32]


@dataclass(frozen=True)
class Manifolds:
    """What share of one side lies in the balls around the images of the other; `(1 + B,)` each.

    The first number is that of all images, one of each resample follows.
    """

    precision: Array
    recall: Array
    density: Array
    coverage: Array


def manifolds(
    fakes: ImageSet,
    reals: ImageSet,
    k: int,
    *,
    closed: bool,
    resamples: Resamples | None = None,
) -> Manifolds:
    """All four, from one pass over the distances of the two sides.

    An image's ball reaches to its `k`-th nearest other image of its side; in a resample, balls are
    those of all images: repeated ones would be at a distance of 0.

    Args:
        fakes: with features; remembers what was found.
        reals: with features.
        k: from 1 on, below the number of images of either side.
        closed: whether the border belongs to a ball.
        resamples: of both sides.
    """
    key = ("manifolds", reals, k, closed, resamples)
    if key not in fakes.memo:
        fakes.memo[key] = _manifolds(fakes, reals, k, closed, resamples)
    found: Manifolds = fakes.memo[key]
    return found


def _manifolds(
    fakes: ImageSet, reals: ImageSet, k: int, closed: bool, resamples: Resamples | None
) -> Manifolds:
    assert fakes.features is not None
    assert reals.features is not None
    inside = np.less_equal if closed else np.less
    fake_reach, real_reach = reaches(fakes, k), reaches(reals, k)
    # how often each image counts: once, and as often as it stands in each resample
    times = _with_all(len(fake_reach), resamples.fakes if resamples is not None else None)
    real_times = _with_all(len(real_reach), resamples.reals if resamples is not None else None)
    precise, dense = (np.zeros(times.shape[1]) for _ in range(2))
    recalled, covered = (np.zeros(real_times.shape, bool) for _ in range(2))
    for rows in tiles(len(fake_reach)):
        balls = np.zeros((rows.stop - rows.start, times.shape[1]), np.float32)
        for columns in tiles(len(real_reach)):
            distances = squared_distances(fakes.features[rows], reals.features[columns])
            near_real = inside(distances, real_reach[columns]).astype(np.float32)
            near_fake = inside(distances, fake_reach[rows, None]).astype(np.float32)
            balls += near_real @ real_times[columns]
            covered[columns] |= near_real.T @ times[rows] > 0
            recalled[columns] |= near_fake.T @ times[rows] > 0
        dense += (times[rows] * balls).sum(axis=0, dtype=np.float64)
        precise += (times[rows] * (balls > 0)).sum(axis=0, dtype=np.float64)
    num_fakes, num_reals = len(fake_reach), len(real_reach)
    return Manifolds(
        precision=precise / num_fakes,
        recall=(real_times * recalled).sum(axis=0, dtype=np.float64) / num_reals,
        density=dense / (k * num_fakes),
        coverage=(real_times * covered).sum(axis=0, dtype=np.float64) / num_reals,
    )


def _with_all(count: int, resampled: Counts | None) -> Counts:
    """A column in which every image stands once, and those of the resamples."""
    ones = np.ones((count, 1), np.float32)
    return ones if resampled is None else np.concatenate([ones, resampled], axis=1)


class _Manifold:
    """What the four have in common."""

    needs: ClassVar[Literal["features", "fake features", "statistics"]] = "features"
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    name: ClassVar[str]
    field: ClassVar[str]
    closed: ClassVar[bool]
    border: ClassVar[str]
    k: int

    def check(self, num_fakes: int, num_reals: int) -> None:
        """Refuses fewer images than there are neighbors to look for.

        Raises:
            ConfigError: naming the way out.
        """
        fewest = min(num_fakes, num_reals)
        side = "generated" if num_fakes <= num_reals else "real"
        if self.k >= fewest:
            raise ConfigError(
                f"`{self.field}` {self.k}: must be below the number of images; there are {fewest} "
                f"{side} ones for `metrics` {self.name}"
            )

    def warning(self, num_images: int) -> str | None:
        """Nothing: what few images do to it depends on them."""
        return None

    def protocol(self, fakes: ImageSet, reals: ImageSet) -> dict[str, Any]:
        """How neighborhoods are made."""
        return {"k": self.k, "balls": self.border}

    def scores(self, fakes: ImageSet, reals: ImageSet) -> dict[str, float]:
        """The score by its name."""
        assert fakes.features is not None
        assert reals.features is not None
        self.check(len(fakes.features), len(reals.features))
        found = manifolds(fakes, reals, self.k, closed=self.closed)
        return {self.name: float(getattr(found, self.name)[0])}

    def resampled(self, fakes: ImageSet, reals: ImageSet, resamples: Resamples) -> dict[str, Array]:
        """The score of each resample."""
        found = manifolds(fakes, reals, self.k, closed=self.closed, resamples=resamples)
        return {self.name: getattr(found, self.name)[1:]}


class _OfPrecisionRecall(_Manifold):
    closed, field = True, "pr_k"
    border = "up to the k-th nearest image of the same side, border included"
    Options = PrecisionRecallOptions

    def __init__(self, options: PrecisionRecallOptions) -> None:
        self.options, self.k = options, options.pr_k


class Precision(_OfPrecisionRecall):
    """The share of generated images within the balls of real ones: how many look real.

    Source: Kynkaanniemi et al. 2019, eq. 1 and 2; equal to torch-fidelity 0.4.0.
    """

    name = "precision"


class Recall(_OfPrecisionRecall):
    """The share of real images within the balls of generated ones: how much of them is reached.

    Source: Kynkaanniemi et al. 2019, eq. 1 and 2; equal to torch-fidelity 0.4.0.
    """

    name = "recall"


class _OfDensityCoverage(_Manifold):
    closed, field = False, "dc_k"
    border = "up to the k-th nearest real image, border excluded"
    Options = DensityCoverageOptions

    def __init__(self, options: DensityCoverageOptions) -> None:
        self.options, self.k = options, options.dc_k


class Density(_OfDensityCoverage):
    """In how many balls of real images a generated one lies, over k: may be above 1.

    Source: Naeem et al. 2020, eq. 5; equal to prdc 0.2.
    """

    name = "density"
    limits = (0.0, float("inf"))


class Coverage(_OfDensityCoverage):
    """The share of real images whose balls hold a generated one.

    Source: Naeem et al. 2020, eq. 6; equal to prdc 0.2.
    """

    name = "coverage"
