"""What a score of images is: named numbers from features, or statistics, of two sets of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gancomp.metrics.fid import Statistics, statistics_of

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set of images as Inception sees it.

    Attributes:
        features: `(N, D)` float32, a row per image; None where only statistics are known.
        given: statistics, where they are known without the features.
        memo: what several metrics share of it, such as distances.
    """

    features: NDArray[np.float32] | None = None
    given: Statistics | None = None
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and covariance of the features."""
        if self.given is not None:
            return self.given
        assert self.features is not None, "a set has features or statistics"
        return statistics_of(self.features)

    @property
    def num_images(self) -> int | None:
        """How many; None for statistics that do not say."""
        return len(self.features) if self.features is not None else self.statistics.num_images


class Metric(Protocol):
    """One way to compare two sets of images, made with its own options; a line of `METRICS`.

    It may have more: `check(num_fakes, num_reals)`, which raises `ConfigError` before anything is
    computed, of about as many images as there are; `protocol(fakes, reals)`, a table for JSON of
    what a reader must know beside its options, instead of these; `resampled(fakes, reals,
    resamples)`, an array for each score with one number per resample, where this is faster than
    computing all of each; and `limits`, the least and the greatest possible score.

    Attributes:
        needs: whether both sets must have features, the generated images alone, or statistics are
            enough. With the latter, features are there only if the set is small, or another metric
            needs them.
        Options: dataclass of its own options.
    """

    needs: ClassVar[Literal["features", "fake features", "statistics"]]
    Options: ClassVar[type]

    def scores(self, fakes: ImageSet, reals: ImageSet) -> Mapping[str, float]:
        """Finite numbers by their names.

        Raises:
            DataError: if the sets cannot be compared.
        """

    def warning(self, num_images: int) -> str | None:
        """What somebody should know who scores so few images, if anything."""


class PairMetric(Protocol):
    """One way to compare an image with the one that it should be; also a line of `METRICS`.

    It may have more: `prepare(device, say)`, called once before the first pair to load what it
    compares with, which raises `ConfigError` or `WeightsError` if that cannot be had; and
    `protocol()`, a table for JSON of what a reader must know of it instead of its options, asked
    after that.

    Attributes:
        needs: "pairs".
        Options: dataclass of its own options.
    """

    needs: ClassVar[Literal["pairs"]]
    Options: ClassVar[type]

    def of_pair(self, image: Pixels, reference: Pixels) -> float:
        """Of two `(H, W, 3)` images of one size; infinite where equal ones have no number.

        Raises:
            DataError: if they are too small.
        """


def options_told(metric: Metric | PairMetric) -> dict[str, Any] | None:
    """Its options, for JSON: what a reader must know of a metric that has no protocol."""
    options = getattr(metric, "options", None)
    if not dataclasses.is_dataclass(options) or isinstance(options, type):
        return None
    return dataclasses.asdict(options)
