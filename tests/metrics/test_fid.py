"""FID's arithmetic against closed forms and pytorch-fid's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pytorch_fid.fid_score import calculate_frechet_distance

from gancomp.errors import DataError
from gancomp.metrics.fid import (
    Statistics,
    bias_warning,
    fid_from_features,
    fid_from_statistics,
    statistics_of,
    statistics_of_parts,
)

Array = NDArray[np.float64]


def random_features(seed: int, num_images: int = 60, num_features: int = 12) -> Array:
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(num_features, num_features))
    shift = generator.normal(size=num_features)
    return generator.normal(size=(num_images, num_features)) @ mixing + shift


def gaussian(mean: list[float], covariance: list[list[float]]) -> Statistics:
    return Statistics(np.array(mean), np.array(covariance))


def pytorch_fids(a: Statistics, b: Statistics) -> float:
    return float(calculate_frechet_distance(a.mean, a.covariance, b.mean, b.covariance))


def test_fid_of_equal_covariances_is_squared_distance_of_means() -> None:
    covariance = statistics_of(random_features(0)).covariance
    mean = np.arange(12.0)
    distance = fid_from_statistics(Statistics(mean, covariance), Statistics(mean + 0.5, covariance))
    assert distance == pytest.approx(12 * 0.25, rel=1e-6)


def test_fid_of_one_dimension_is_squared_differences_of_mean_and_deviation() -> None:
    # (1 - 4)^2 + (2 - 5)^2
    assert fid_from_statistics(gaussian([1.0], [[4.0]]), gaussian([4.0], [[25.0]])) == (
        pytest.approx(18, rel=1e-12)
    )


def test_fid_of_covariances_that_do_not_commute_is_what_it_is_by_hand() -> None:
    # S_a S_b = [[4, 2], [1, 2]] has trace 6 and determinant 6: tr sqrt = sqrt(6 + 2 sqrt 6)
    a, b = gaussian([0, 0], [[2, 0], [0, 1]]), gaussian([1, 2], [[2, 1], [1, 2]])
    expected = 5 + 3 + 4 - 2 * np.sqrt(6 + 2 * np.sqrt(6))
    assert fid_from_statistics(a, b) == pytest.approx(expected, rel=1e-12)


def test_fid_is_symmetric() -> None:
    a, b = statistics_of(random_features(0)), statistics_of(random_features(1))
    assert fid_from_statistics(a, b) == pytest.approx(fid_from_statistics(b, a), rel=1e-9)


def test_fid_of_a_set_with_itself_is_zero_and_never_negative() -> None:
    for num_images in (6, 60):
        features = random_features(0, num_images)
        assert 0 <= fid_from_features(features, features) < 1e-5


@pytest.mark.parametrize("num_fakes", [5, 11, 12, 40], ids=lambda n: f"{n}_fakes_of_12_features")
def test_fid_equals_pytorch_fids(num_fakes: int) -> None:
    fake, real = random_features(0, num_fakes), random_features(1)
    expected = pytorch_fids(statistics_of(fake), statistics_of(real))
    assert fid_from_features(fake, real) == pytest.approx(expected, rel=1e-6)
    assert fid_from_features(fake, statistics_of(real)) == pytest.approx(expected, rel=1e-6)
    assert fid_from_statistics(statistics_of(fake), statistics_of(real)) == pytest.approx(
        expected, rel=1e-6
    )


def test_small_gram_form_equals_the_eigenvalue_form_where_both_covariances_are_singular() -> None:
    fake, real = random_features(0, 20, 300), random_features(1, 30, 300)
    general = fid_from_statistics(statistics_of(fake), statistics_of(real))
    assert fid_from_features(fake, real) == pytest.approx(general, rel=1e-6)


def test_small_gram_form_never_factors_a_matrix_of_all_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []
    original = np.linalg.eigvalsh

    def recording(matrix: Array) -> Array:
        sizes.append(len(matrix))
        return original(matrix)

    monkeypatch.setattr(np.linalg, "eigvalsh", recording)
    fid_from_features(random_features(0, 20, 300), random_features(1, 30, 300))
    assert sizes == [20]


def test_more_images_than_features_need_no_eigenvectors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(matrix: Array) -> None:
        pytest.fail("a regular covariance has a Cholesky factor, which is cheaper")

    monkeypatch.setattr(np.linalg, "eigh", refuse)
    assert fid_from_features(random_features(0), random_features(1)) > 0


def test_statistics_are_mean_and_unbiased_covariance_by_hand() -> None:
    statistics = statistics_of([[1, 2], [3, 6]], protocol="none")
    assert statistics.mean.tolist() == [2, 4]
    assert statistics.covariance.tolist() == [[2, 4], [4, 8]]
    assert (statistics.num_images, statistics.protocol) == (2, "none")


@pytest.mark.parametrize("lengths", [(60,), (1, 59), (20, 0, 39, 1), (2,) * 30])
def test_statistics_of_parts_are_those_of_all_rows(lengths: tuple[int, ...]) -> None:
    rows = random_features(3) + 100  # far from zero, where plain sums of squares lose digits
    ends = np.cumsum(lengths)
    parts = [rows[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    found, wanted = statistics_of_parts(iter(parts), protocol="p"), statistics_of(rows)
    assert (found.num_images, found.protocol) == (60, "p")
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-14)
    np.testing.assert_allclose(found.covariance, wanted.covariance, rtol=1e-10, atol=1e-10)


def test_parts_with_too_few_or_damaged_images_are_refused() -> None:
    rows = random_features(0)
    with pytest.raises(DataError, match="features of 1 images: FID needs at least 2"):
        statistics_of_parts([rows[:1], rows[:0]])
    rows[41, 3] = np.nan
    with pytest.raises(DataError, match="features of image 41 are not finite"):
        statistics_of_parts([rows[:30], rows[30:]])


def test_float32_features_are_averaged_in_float64() -> None:
    features = random_features(0).astype(np.float32) + np.float32(1000)
    statistics = statistics_of(features)
    expected = np.cov(features.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-12)


@pytest.mark.parametrize("features", [np.zeros((0, 4)), np.zeros((1, 4)), np.zeros(4)])
def test_fewer_than_two_images_are_refused(features: Array) -> None:
    with pytest.raises(DataError, match="at least 2 images"):
        statistics_of(features)
    with pytest.raises(DataError, match="at least 2 images"):
        fid_from_features(features, random_features(0, 10, 4))


def test_a_feature_that_is_not_finite_is_refused_by_its_image() -> None:
    features = random_features(0)
    features[7, 3] = np.nan
    with pytest.raises(DataError, match="image 7 "):
        fid_from_features(features, random_features(1))


def test_a_distance_that_overflows_is_refused() -> None:
    huge = Statistics(np.full(2, 1e200), np.eye(2))
    with pytest.raises(DataError, match="not a finite number"):
        fid_from_statistics(huge, Statistics(np.zeros(2), np.eye(2)))
    with pytest.raises(DataError, match="not a finite number"):
        fid_from_features(random_features(0) * 1e200, random_features(1))


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(DataError, match="12 and 8 features"):
        fid_from_features(random_features(0), random_features(1, 20, 8))


def test_bias_is_warned_of_below_2048_images_only() -> None:
    assert bias_warning(2048) is None
    warning = bias_warning(2047)
    assert warning is not None
    assert "2047 images" in warning
    assert "\n" not in warning
