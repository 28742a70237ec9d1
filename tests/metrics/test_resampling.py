"""Intervals: what is drawn, and how far they reach."""

from __future__ import annotations

import numpy as np
import pytest

from gancomp.declare import NoOptions
from gancomp.metrics.base import ImageSet
from gancomp.metrics.fid import Fid, fid_from_features
from gancomp.metrics.resampling import intervals, resampled_sets, resamples_of


def images(seed: int, count: int, size: int = 6) -> ImageSet:
    mixing = np.random.default_rng(99).normal(size=(size, size))
    drawn = np.random.default_rng(seed).normal(size=(count, size)) @ mixing
    return ImageSet(drawn.astype(np.float32))


def test_each_side_is_drawn_as_often_as_it_has_images_and_always_alike() -> None:
    fakes, reals = images(0, 7), images(1, 11)
    resamples = resamples_of(fakes, reals, 5)
    assert resamples.reals is not None
    assert (resamples.fakes.sum(axis=0) == 7).all()
    assert (resamples.reals.sum(axis=0) == 11).all()
    again = resamples_of(fakes, reals, 5)
    assert (again.fakes == resamples.fakes).all()
    some, others = resampled_sets(fakes, reals, resamples, 3)
    assert (some.num_images, others.num_images) == (7, 11)
    assert "real images" in resamples.protocol()["of"]
    alone = resamples_of(fakes, ImageSet(given=reals.statistics), 5)
    assert alone.reals is None
    assert alone.protocol()["of"] == "generated images"


@pytest.mark.parametrize("counts", [(5, 20), (20, 5), (4, 5), (30, 40)], ids=str)
def test_fid_of_resamples_is_the_same_in_the_space_of_the_images(counts: tuple[int, int]) -> None:
    fakes, reals = images(0, counts[0]), images(1, counts[1])
    resamples = resamples_of(fakes, reals, 4)
    found = Fid(NoOptions()).resampled(fakes, reals, resamples)["fid"]
    for index, value in enumerate(found):
        some, others = resampled_sets(fakes, reals, resamples, index)
        assert some.features is not None
        assert others.features is not None
        assert value == pytest.approx(fid_from_features(some.features, others.features), rel=1e-6)


def test_fid_against_statistics_resamples_the_generated_images_alone() -> None:
    fakes, reals = images(0, 20), ImageSet(given=images(1, 30).statistics)
    resamples = resamples_of(fakes, reals, 3)
    some, others = resampled_sets(fakes, reals, resamples, 1)
    assert others is reals
    assert some.features is not None
    found = Fid(NoOptions()).resampled(fakes, reals, resamples)["fid"][1]
    assert found == fid_from_features(some.features, reals.statistics)


def test_intervals_are_as_wide_as_scores_of_new_images_differ() -> None:
    """Twice their deviation over 40 draws, within what 40 draws tell (a factor of 1.4)."""
    metric = Fid(NoOptions())
    drawn = [metric.scores(images(2 * n, 80), images(2 * n + 1, 90))["fid"] for n in range(40)]
    fakes, reals = images(0, 80), images(1, 90)
    values = {"fid": drawn[0]}
    resamples = resamples_of(fakes, reals, 200)
    low, high = intervals(metric, values, fakes, reals, resamples=resamples)["fid"]
    assert 1 / 1.6 < (high - low) / (2 * 1.96 * np.std(drawn)) < 1.6
    assert 0 <= low <= drawn[0] <= high
