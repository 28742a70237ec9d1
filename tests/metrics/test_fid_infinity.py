"""FID-infinity: the line through FIDs of more and more images."""

from __future__ import annotations

import numpy as np
import pytest

from gancomp.errors import ConfigError
from gancomp.metrics.base import ImageSet
from gancomp.metrics.fid import fid_from_features
from gancomp.metrics.fid_infinity import FidInfinity, extrapolated
from gancomp.metrics.options import FidInfinityOptions


def test_a_straight_line_over_1_by_n_is_followed_to_0() -> None:
    counts = np.array([10, 20, 50, 100])
    assert extrapolated(counts, 7 + 300 / counts) == pytest.approx(7, rel=1e-12)
    assert extrapolated(np.array([10, 10]), np.array([3.0, 5.0])) == 4  # no line


def test_most_of_the_bias_of_few_images_goes_away() -> None:
    """Both sides are of one kind: the FID of endlessly many is 0, but for the reals' own number."""
    random = np.random.default_rng(0)
    fakes, reals = (random.normal(size=(n, 8)).astype(np.float32) for n in (400, 20_000))
    options = FidInfinityOptions(infinity_from=100)
    sets = ImageSet(fakes), ImageSet(reals)
    found = FidInfinity(options).scores(*sets)["fid-infinity"]
    assert abs(found) < 0.4 * fid_from_features(fakes, reals)
    assert FidInfinity(options).scores(*sets)["fid-infinity"] == found
    other = FidInfinity(FidInfinityOptions(infinity_from=100, infinity_seed=1))
    assert other.scores(*sets)["fid-infinity"] != found


def test_the_statistics_of_the_reals_are_enough() -> None:
    random = np.random.default_rng(0)
    fakes, reals = (ImageSet(random.normal(size=(60, 4)).astype(np.float32)) for _ in range(2))
    metric = FidInfinity(FidInfinityOptions(infinity_from=20, infinity_points=3))
    apart = ImageSet(given=reals.statistics)
    assert metric.scores(fakes, apart) == metric.scores(fakes, reals)


def test_too_few_images_are_refused_and_a_short_line_is_warned_of() -> None:
    with pytest.raises(ConfigError, match="from 5000 generated images on, there are 120; make"):
        FidInfinity(FidInfinityOptions()).check(120, 9000)
    assert FidInfinity(FidInfinityOptions()).warning(6000) is None
    assert "no straight line" in str(FidInfinity(FidInfinityOptions(infinity_from=50)).warning(60))
