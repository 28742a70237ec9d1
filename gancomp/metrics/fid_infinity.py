"""FID extrapolated to endlessly many generated images, whose bias from their number is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gancomp.errors import ConfigError
from gancomp.metrics.base import ImageSet
from gancomp.metrics.fid import fid_from_features
from gancomp.metrics.options import FidInfinityOptions

if TYPE_CHECKING:
    from gancomp.metrics.resampling import Resamples

OF_ITS_AUTHORS = FidInfinityOptions().infinity_from


class FidInfinity:
    """Where the line through FIDs of more and more images over `1 / N` meets 0.

    The reals stay the same, whose number biases it, too.

    Source: Chong and Forsyth 2020, section 3, and `score_infinity.py` of their release: 15 scores
    from 5,000 images on, evenly apart in N, each of images drawn anew from all.
    """

    needs: ClassVar[Literal["features", "fake features", "statistics"]] = "fake features"
    Options = FidInfinityOptions

    def __init__(self, options: FidInfinityOptions) -> None:
        self.options = options

    def check(self, num_fakes: int, num_reals: int) -> None:
        """Refuses too few generated images for a line.

        Raises:
            ConfigError: naming the way out.
        """
        if num_fakes <= self.options.infinity_from:
            raise ConfigError(
                f"`metrics` fid-infinity: extrapolates from {self.options.infinity_from} generated "
                f"images on, there are {num_fakes}; make more of them, or lower `infinity_from`"
            )

    def warning(self, num_images: int) -> str | None:
        """That FIDs of few images lie on no line."""
        fewest = self.options.infinity_from
        if fewest >= OF_ITS_AUTHORS:
            return None
        return (
            f"FID-infinity from {fewest} images on: below {OF_ITS_AUTHORS} FID is no straight line "
            "over 1 / N; compare it only with the same `infinity_from` and numbers of images"
        )

    def protocol(self, fakes: ImageSet, reals: ImageSet) -> dict[str, Any]:
        """The points of the line."""
        return {
            "points": self.options.infinity_points,
            "from": self.options.infinity_from,
            "seed": self.options.infinity_seed,
            "interval": "none: it would take a line for each resample",
        }

    def scores(self, fakes: ImageSet, reals: ImageSet) -> dict[str, float]:
        """`fid-infinity`; may be below 0, as the extrapolation of noisy scores."""
        assert fakes.features is not None
        features, options = fakes.features, self.options
        self.check(len(features), 0)
        generator = np.random.default_rng(options.infinity_seed)
        counts = np.linspace(options.infinity_from, len(features), options.infinity_points)
        counts = counts.astype(np.intp)
        drawn = (generator.permutation(len(features))[:count] for count in counts)
        fids = [fid_from_features(features[rows], reals.statistics) for rows in drawn]
        return {"fid-infinity": extrapolated(counts, np.array(fids))}

    def resampled(
        self, fakes: ImageSet, reals: ImageSet, resamples: Resamples
    ) -> dict[str, NDArray[np.float64]]:
        """None; see its protocol."""
        return {}


def extrapolated(counts: NDArray[Any], scores: NDArray[np.float64]) -> float:
    """The value at `1 / N = 0` of the line of least squares through `scores` over `1 / counts`."""
    slopes = 1 / counts.astype(np.float64)
    centered = slopes - slopes.mean()
    spread = float(np.square(centered).sum())
    slope = float(centered @ scores) / spread if spread else 0.0
    return float(scores.mean() - slope * slopes.mean())
