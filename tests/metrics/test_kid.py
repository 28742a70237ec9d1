"""KID against sums by hand and torch-fidelity's, tiled and resampled."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gancomp.errors import ConfigError
from gancomp.metrics import kid as module
from gancomp.metrics import tiles
from gancomp.metrics.base import ImageSet
from gancomp.metrics.kid import Kid, kernel_distances
from gancomp.metrics.options import KidOptions
from gancomp.metrics.resampling import intervals, resamples_of

Rows = NDArray[np.float32]


def rows(seed: int, count: int, shift: float = 0.0, size: int = 64) -> Rows:
    """Not negative, as pool3's are."""
    drawn = np.random.default_rng(seed).normal(shift, 1, (count, size))
    return np.abs(drawn).astype(np.float32)


def kid(fakes: Rows, reals: Rows, **options: int) -> float:
    return Kid(KidOptions(**options)).scores(ImageSet(fakes), ImageSet(reals))["kid"]


def test_kid_of_points_on_a_line_is_what_it_is_by_hand() -> None:
    fakes, reals = np.array([[0], [1]], np.float32), np.array([[1], [2]], np.float32)
    # k(0, 1) = 1, k(1, 2) = 27; across: k(0, 1) = 1, k(0, 2) = 1, k(1, 1) = 8, k(1, 2) = 27
    assert kid(fakes, reals) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4, rel=1e-12)


def test_the_mean_over_all_subsets_is_the_distance_of_all_images() -> None:
    fakes, reals = rows(0, 5, 0.3, 3), rows(1, 4, 0.0, 3)
    ones = np.ones((5, 1)), np.ones((4, 1))
    subsets = [
        kernel_distances(fakes[list(i)], reals[list(j)], np.ones((3, 1)), np.ones((3, 1)))
        for i in itertools.combinations(range(5), 3)
        for j in itertools.combinations(range(4), 3)
    ]
    assert np.mean(subsets) == pytest.approx(kernel_distances(fakes, reals, *ones)[0], rel=1e-9)


@pytest.mark.parametrize("size", [20, 150], ids=lambda size: f"subsets_of_{size}")
def test_kid_equals_torch_fidelity_s(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 20 of 150 and 170 each subset is computed by itself, else all in common tiles."""
    fidelity = pytest.importorskip(
        "torch_fidelity.metric_kid", reason="torch-fidelity is not installed"
    )
    monkeypatch.setattr(tiles, "TILE", 64)
    fakes, reals = rows(0, 150, 0.2), rows(1, 170)
    theirs = fidelity.kid_features_to_metric(
        torch.from_numpy(fakes).double(),
        torch.from_numpy(reals).double(),
        kid_subset_size=size,
        kid_subsets=10,
        verbose=False,
    )["kernel_inception_distance_mean"]
    ours = kid(fakes, reals, kid_subset_size=size, kid_subsets=10)
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert ours != kid(fakes, reals, kid_subset_size=size, kid_subsets=10, kid_seed=0)


def test_fewer_images_than_a_subset_are_one_subset() -> None:
    fakes, reals = rows(0, 40, 0.2), rows(1, 40)
    whole = kernel_distances(fakes, reals, np.ones((40, 1)), np.ones((40, 1)))[0]
    assert kid(fakes, reals) == pytest.approx(whole, rel=1e-9)
    told = Kid(KidOptions()).protocol(ImageSet(fakes), ImageSet(reals))
    assert (told["subset_size"], told["subsets"], told["seed"]) == (40, 100, 2020)


def test_kid_of_equal_distributions_is_0_within_its_interval() -> None:
    metric, apart = Kid(KidOptions()), []
    for seed in range(20):
        fakes, reals = ImageSet(rows(2 * seed, 60)), ImageSet(rows(2 * seed + 1, 80))
        values = metric.scores(fakes, reals)
        resamples = resamples_of(fakes, reals, 200)
        low, high = intervals(metric, values, fakes, reals, resamples=resamples)["kid"]
        assert low < values["kid"] < high
        apart.append(not low <= 0 <= high)
    assert sum(apart) <= 2  # of 95 % intervals one is expected to miss
    fakes = ImageSet(rows(0, 60, 0.5))
    values = metric.scores(fakes, reals)
    resamples = resamples_of(fakes, reals, 200)
    assert intervals(metric, values, fakes, reals, resamples=resamples)["kid"][0] > 0


def test_a_repeated_image_makes_no_pair_with_itself() -> None:
    fakes, reals = rows(0, 6, size=4), rows(1, 5, size=4)
    weights = np.array([[2.0], [1], [0], [1], [1], [1]])
    ones = np.ones((5, 1))
    kernel = (fakes.astype(float) @ fakes.T.astype(float) / 4 + 1) ** 3
    products = weights @ weights.T
    np.fill_diagonal(products, 0)
    repeated = fakes[[0, 0, 1, 3, 4, 5]]
    within = kernel_distances(reals, reals, ones, ones)[0]  # 2 x within - 2 x across of the reals
    across = (repeated.astype(float) @ reals.T.astype(float) / 4 + 1) ** 3
    kernel_reals = (reals.astype(float) @ reals.T.astype(float) / 4 + 1) ** 3
    of_reals = (kernel_reals.sum() - np.trace(kernel_reals)) / 20
    assert within == pytest.approx(2 * of_reals - 2 * kernel_reals.mean(), rel=1e-9)
    wanted = (products * kernel).sum() / products.sum() + of_reals - 2 * across.mean()
    found = kernel_distances(fakes, reals, weights, ones)[0]
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("counts", "size", "said"),
    [
        ((1, 9), None, "`metrics` kid: needs at least 2 images of each side, there is 1 generated"),
        ((9, 5), 6, "`kid_subset_size` 6: there are 5 real images; use at most 5"),
    ],
)
def test_too_few_images_are_refused(counts: tuple[int, int], size: int | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Kid(KidOptions(kid_subset_size=size)).check(*counts)


def test_the_cheaper_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = []
    original = module.kernel_distances

    def counting(*arguments: Rows) -> NDArray[np.float64]:
        columns.append(arguments[2].shape[1])
        return original(*arguments)

    monkeypatch.setattr(module, "kernel_distances", counting)
    kid(rows(0, 30), rows(1, 30), kid_subset_size=2, kid_subsets=3)
    kid(rows(0, 30), rows(1, 30), kid_subset_size=29, kid_subsets=3)
    assert columns == [1, 1, 1, 3]
