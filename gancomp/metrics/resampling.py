"""The bootstrap: how much scores would vary if other images of the same kinds had been drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gancomp.metrics.base import ImageSet, Metric

SEED = 0
LEVEL = 0.95
Counts = NDArray[np.float32]
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resamples:
    """How often each image stands in each resample; as many are drawn as there are images.

    Attributes:
        fakes: `(N, B)`.
        reals: `(M, B)`; None where only their statistics are known, so that they stay.
    """

    fakes: Counts
    reals: Counts | None

    def __len__(self) -> int:
        return int(self.fakes.shape[1])

    def chosen(self, index: int) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
        """The rows of either side that resample `index` consists of."""
        return _rows(self.fakes, index), None if self.reals is None else _rows(self.reals, index)

    def protocol(self) -> dict[str, Any]:
        """What a reader must know of the intervals."""
        return {
            "resamples": len(self),
            "level": LEVEL,
            "seed": SEED,
            "of": "generated images" + ("" if self.reals is None else " and real images"),
            "interval": "percentiles of the resamples' scores, shifted so that their mean is the "
            "score: repeated images bias what they resample",
        }


def resamples_of(fakes: ImageSet, reals: ImageSet, count: int) -> Resamples:
    """`count` resamples of both sets, drawn with replacement, always the same ones.

    Args:
        fakes: with features.
        reals: with features or without.
        count: how many.
    """
    generator = np.random.default_rng(SEED)

    def counts(images: ImageSet) -> Counts:
        size = images.num_images
        assert size is not None
        drawn = np.empty((size, count), np.float32)
        for index in range(count):
            drawn[:, index] = np.bincount(generator.integers(size, size=size), minlength=size)
        return drawn

    return Resamples(counts(fakes), None if reals.features is None else counts(reals))


def intervals(
    metric: Metric,
    values: dict[str, float],
    fakes: ImageSet,
    reals: ImageSet,
    *,
    resamples: Resamples,
) -> dict[str, tuple[float, float]]:
    """The interval of each of the metric's scores, of which `values` are those of all images.

    A metric without a `resampled` of its own is computed of each resample.
    """
    own = getattr(metric, "resampled", None)
    replicates = own(fakes, reals, resamples) if own else _each(metric, fakes, reals, resamples)
    least, most = getattr(metric, "limits", (-np.inf, np.inf))
    found: dict[str, tuple[float, float]] = {}
    for name, several in replicates.items():
        ends = np.quantile(several, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - np.mean(several)
        low, high = np.clip(values[name] + ends, least, most).tolist()
        found[name] = min(low, values[name]), max(high, values[name])
    return found


def _each(
    metric: Metric, fakes: ImageSet, reals: ImageSet, resamples: Resamples
) -> dict[str, Array]:
    several: dict[str, list[float]] = {}
    for index in range(len(resamples)):
        scored = metric.scores(*resampled_sets(fakes, reals, resamples, index))
        for name, value in scored.items():
            several.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in several.items()}


def resampled_sets(
    fakes: ImageSet, reals: ImageSet, resamples: Resamples, index: int
) -> tuple[ImageSet, ImageSet]:
    """Both sets as resample `index` has them."""
    assert fakes.features is not None
    rows, columns = resamples.chosen(index)
    if columns is None:
        return ImageSet(fakes.features[rows]), reals
    assert reals.features is not None
    return ImageSet(fakes.features[rows]), ImageSet(reals.features[columns])


def _rows(counts: Counts, index: int) -> NDArray[np.intp]:
    return np.repeat(np.arange(len(counts)), counts[:, index].astype(np.intp))
