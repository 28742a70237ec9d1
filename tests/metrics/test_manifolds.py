"""Precision, recall, density and coverage against counts by hand, torch-fidelity's and prdc's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gancomp.errors import ConfigError
from gancomp.metrics import tiles
from gancomp.metrics.base import ImageSet
from gancomp.metrics.manifolds import Coverage, Density, Precision, Recall, manifolds
from gancomp.metrics.options import DensityCoverageOptions, PrecisionRecallOptions
from gancomp.metrics.resampling import Resamples, intervals, resamples_of
from gancomp.metrics.tiles import reaches, squared_distances

Rows = NDArray[np.float32]
NAMES = ("precision", "recall", "density", "coverage")


def line(*points: float) -> ImageSet:
    return ImageSet(np.array(points, np.float32)[:, None])


def rows(seed: int, count: int, scale: float = 1.0, size: int = 8) -> Rows:
    return np.random.default_rng(seed).normal(0, scale, (count, size)).astype(np.float32)


def shares(
    fakes: ImageSet, reals: ImageSet, k: int, *, closed: bool = False, **more: Any
) -> dict[str, Any]:
    found = manifolds(fakes, reals, k, closed=closed, **more)
    return {name: getattr(found, name).tolist() for name in NAMES}


def test_the_shares_of_points_on_a_line_are_what_they_are_by_hand() -> None:
    """Balls of reals, k = 1: 0 +- 1, 1 +- 1, 10 +- 9; of fakes: 0.5 and 1.75 +- 1.25."""
    reals, fakes = line(0, 1, 10), line(0.5, 1.75, 30)
    assert shares(fakes, reals, 1) == {
        "precision": [2 / 3],
        "recall": [1.0],  # 10 lies in the ball of 30, which reaches to 1.75
        "density": [(2 + 2 + 0) / 3],  # 0.5 in two balls, 1.75 in those of 1 and 10
        "coverage": [1.0],
    }
    assert shares(fakes, reals, 2)["density"] == [(3 + 3 + 0) / (2 * 3)]


def test_the_border_counts_for_precision_and_recall_alone() -> None:
    reals, fakes = line(0, 1), line(2, 4)
    assert shares(fakes, reals, 1, closed=True)["precision"] == [0.5]  # 2 is 1 away from 1
    assert shares(fakes, reals, 1)["precision"] == [0.0]
    assert shares(fakes, reals, 1)["coverage"] == [0.0]
    scored = {
        kind.name: kind(options).scores(fakes, reals)[kind.name]
        for kind, options in (
            (Precision, PrecisionRecallOptions(pr_k=1)),
            (Recall, PrecisionRecallOptions(pr_k=1)),
            (Density, DensityCoverageOptions(dc_k=1)),
            (Coverage, DensityCoverageOptions(dc_k=1)),
        )
    }
    # the ball of the fake 2 reaches to 4, and to 0: both reals are in it
    assert scored == {"precision": 0.5, "recall": 1.0, "density": 0.0, "coverage": 0.0}


@pytest.mark.parametrize("k", [1, 3, 5, 7])
def test_the_four_equal_those_of_prdc_and_torch_fidelity(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prdc = pytest.importorskip("prdc", reason="prdc is not installed")
    fidelity = pytest.importorskip(
        "torch_fidelity.metric_prc", reason="torch-fidelity is not installed"
    )
    monkeypatch.setattr(tiles, "TILE", 50)
    fakes, reals = rows(0, 130, 0.8), rows(1, 170)
    ours = shares(ImageSet(fakes), ImageSet(reals), k)
    theirs = prdc.compute_prdc(reals.astype(np.float64), fakes.astype(np.float64), k)
    assert {name: [value] for name, value in theirs.items()} == {
        name: pytest.approx(values, rel=1e-12) for name, values in ours.items()
    }
    closed = shares(ImageSet(fakes), ImageSet(reals), k, closed=True)
    others = fidelity.prc_features_to_metric(
        torch.from_numpy(fakes).double(),
        torch.from_numpy(reals).double(),
        prc_neighborhood=k,
        verbose=False,
    )
    assert [others["precision"], others["recall"]] == pytest.approx(  # their means are float32
        [closed["precision"][0], closed["recall"][0]], rel=1e-6
    )


def test_of_equal_sets_all_images_lie_in_balls() -> None:
    same = rows(0, 60)
    found = shares(ImageSet(same), ImageSet(same.copy()), 5, closed=True)
    assert found["precision"] == found["recall"] == found["coverage"] == [1.0]
    assert found["density"][0] == pytest.approx(1 + 1 / 5)  # each in its own ball, too


def test_equal_images_are_at_no_distance_however_they_are_rounded() -> None:
    one = rows(0, 1, 100.0, 200)
    assert squared_distances(one, one + np.float32(0)).tolist() == [[0.0]]
    collapsed = ImageSet(np.repeat(one, 4, axis=0))
    assert reaches(collapsed, 3).tolist() == [0.0] * 4


def test_neighbors_found_once_serve_any_smaller_k(monkeypatch: pytest.MonkeyPatch) -> None:
    images, calls = ImageSet(rows(0, 30)), []
    original = tiles._nearest
    monkeypatch.setattr(tiles, "_nearest", lambda *a: calls.append(a[1]) or original(*a))
    first = [reaches(images, k).copy() for k in (3, 5, 1)]
    assert calls == [5]
    exact = np.sort(squared_distances(images.features, images.features), axis=1)  # type: ignore[arg-type]
    for found, k in zip(first, (3, 5, 1), strict=True):
        assert found == pytest.approx(exact[:, k])
    reaches(images, 9)
    assert calls == [5, 9]


def test_a_resample_counts_each_image_as_often_as_it_stands_in_it() -> None:
    reals, fakes = line(0, 1, 10), line(0.5, 1.75, 30)
    resamples = Resamples(
        fakes=np.array([[0, 1], [0, 2], [3, 0]], np.float32),  # only 30; 0.5 and twice 1.75
        reals=np.array([[1, 0], [1, 0], [1, 3]], np.float32),  # all; only 10
    )
    found = shares(fakes, reals, 1, resamples=resamples)
    assert found["precision"] == [2 / 3, 0.0, 2 / 3]  # in the ball of 10 lies 1.75 alone
    assert found["density"] == pytest.approx([4 / 3, 0.0, 2 * 3 / 3])
    assert found["recall"] == pytest.approx([1.0, 1 / 3, 0.0])
    assert found["coverage"] == pytest.approx([1.0, 0.0, 1.0])


def test_intervals_hold_their_scores_and_stay_within_their_limits() -> None:
    fakes, reals = ImageSet(rows(0, 50, 0.7)), ImageSet(rows(1, 60))
    for metric in (
        Precision(PrecisionRecallOptions()),
        Recall(PrecisionRecallOptions()),
        Density(DensityCoverageOptions()),
        Coverage(DensityCoverageOptions()),
    ):
        values = metric.scores(fakes, reals)
        resamples = resamples_of(fakes, reals, 50)
        ((low, high),) = intervals(metric, values, fakes, reals, resamples=resamples).values()
        assert metric.limits[0] <= low < high <= metric.limits[1]
        assert low <= values[metric.name] <= high


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (
            Precision(PrecisionRecallOptions(pr_k=6)),
            "`pr_k` 6: .* are 6 real ones for .* precision",
        ),
        (Coverage(DensityCoverageOptions(dc_k=7)), "`dc_k` 7: .* are 6 real ones for .* coverage"),
    ],
)
def test_as_many_neighbors_as_images_are_refused(metric: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        metric.check(9, 6)
