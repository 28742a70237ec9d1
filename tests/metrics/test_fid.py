"""FID's arithmetic against closed forms and pytorch-fid's, and the files statistics live in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pytorch_fid.fid_score import calculate_frechet_distance

from gancomp.errors import DataError
from gancomp.metrics.fid import (
    Statistics,
    bias_warning,
    cached_statistics,
    fid_from_features,
    fid_from_statistics,
    load_statistics,
    save_statistics,
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


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(DataError, match="12 and 8 features"):
        fid_from_features(random_features(0), random_features(1, 20, 8))


def test_npz_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    saved = statistics_of(random_features(0), protocol="bicubic 256")
    save_statistics(tmp_path / "real.npz", saved)
    loaded = load_statistics(tmp_path / "real.npz")
    assert loaded.mean.tobytes() == saved.mean.tobytes()
    assert loaded.covariance.tobytes() == saved.covariance.tobytes()
    assert (loaded.num_images, loaded.protocol) == (60, "bicubic 256")
    assert [path.name for path in tmp_path.iterdir()] == ["real.npz"]


def test_pytorch_fid_reads_our_statistics(tmp_path: Path) -> None:
    from pytorch_fid.fid_score import compute_statistics_of_path

    saved = statistics_of(random_features(0))
    save_statistics(tmp_path / "real.npz", saved)
    mean, covariance = compute_statistics_of_path(str(tmp_path / "real.npz"), None, 1, 2048, "cpu")
    np.testing.assert_array_equal(mean, saved.mean)
    np.testing.assert_array_equal(covariance, saved.covariance)


def test_statistics_of_pytorch_fid_are_read_without_a_number_of_images(tmp_path: Path) -> None:
    expected = statistics_of(random_features(0))
    np.savez_compressed(
        tmp_path / "real.npz", mu=expected.mean, sigma=expected.covariance.astype(np.float32)
    )
    loaded = load_statistics(tmp_path / "real.npz")
    assert (loaded.num_images, loaded.protocol) == (None, "")
    assert loaded.covariance.dtype == np.float64
    np.testing.assert_allclose(loaded.covariance, expected.covariance, rtol=1e-6, atol=1e-6)


def junk_text(file: Path) -> None:
    file.write_bytes(b"<html>\nnot found</html>")


def empty_file(file: Path) -> None:
    file.write_bytes(b"")


def lone_array(file: Path) -> None:
    with file.open("wb") as stream:
        np.save(stream, np.eye(3))


def without_sigma(file: Path) -> None:
    np.savez(file, mu=np.zeros(3))


def pickled_objects(file: Path) -> None:
    np.savez(file, mu=np.array([{}, {}], dtype=object), sigma=np.eye(2))


def sigma_of_another_size(file: Path) -> None:
    np.savez(file, mu=np.zeros(3), sigma=np.eye(2))


def sigma_with_infinity(file: Path) -> None:
    np.savez(file, mu=np.zeros(2), sigma=np.diag([1, np.inf]))


def unsymmetric_sigma(file: Path) -> None:
    np.savez(file, mu=np.zeros(2), sigma=np.array([[1.0, 0.5], [0.0, 1.0]]))


def cut_off(file: Path) -> None:
    save_statistics(file, statistics_of(random_features(0)))
    file.write_bytes(file.read_bytes()[:-300])


def missing(file: Path) -> None:
    file.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "damage",
    [
        junk_text,
        empty_file,
        lone_array,
        without_sigma,
        pickled_objects,
        sigma_of_another_size,
        sigma_with_infinity,
        unsymmetric_sigma,
        cut_off,
        missing,
    ],
)
def test_unusable_statistics_are_refused_in_one_line_with_their_name(
    damage: object, tmp_path: Path
) -> None:
    file = tmp_path / "real.npz"
    assert callable(damage)
    damage(file)
    with pytest.raises(DataError) as error:
        load_statistics(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_code_hidden_in_statistics_is_not_run(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    np.savez(tmp_path / "real.npz", mu=trap, sigma=np.eye(1))
    with pytest.raises(DataError):
        load_statistics(tmp_path / "real.npz")
    assert not (tmp_path / "sprung").exists()


class Counted:
    """Something to cache that says how often it was computed."""

    def __init__(self) -> None:
        self.calls = 0
        self.statistics = statistics_of(random_features(0))

    def __call__(self) -> Statistics:
        self.calls += 1
        return self.statistics


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for file in files:
        file.write_bytes(file.name.encode())
    return files


def test_cached_statistics_are_computed_once(images: list[Path], tmp_path: Path) -> None:
    compute = Counted()
    first = cached_statistics(images, compute, tmp_path / "new" / "cache", weights_id="w")
    again = cached_statistics(images, compute, tmp_path / "new" / "cache", weights_id="w")
    assert compute.calls == 1
    np.testing.assert_array_equal(first.covariance, again.covariance)
    assert again.num_images == 60


def test_renamed_and_reordered_images_are_found_in_the_cache(
    images: list[Path], tmp_path: Path
) -> None:
    compute = Counted()
    cached_statistics(images, compute, tmp_path / "cache", weights_id="w")
    renamed = images[0].rename(tmp_path / "z.jpg")
    cached_statistics([images[1], renamed], compute, tmp_path / "cache", weights_id="w")
    assert compute.calls == 1


def test_other_content_weights_protocol_or_number_of_images_are_computed_anew(
    images: list[Path], tmp_path: Path
) -> None:
    compute, cache = Counted(), tmp_path / "cache"
    cached_statistics(images, compute, cache, weights_id="w")
    cached_statistics(images, compute, cache, weights_id="v")
    cached_statistics(images, compute, cache, weights_id="w", protocol="resized")
    cached_statistics(images[:1], compute, cache, weights_id="w")
    cached_statistics([*images, images[0]], compute, cache, weights_id="w")
    images[0].write_bytes(b"another picture")
    cached_statistics(images, compute, cache, weights_id="w")
    assert compute.calls == 6


@pytest.mark.parametrize("where", [0, 0.5, 0.999])
def test_a_damaged_cache_entry_is_computed_again_and_mended(
    where: float, images: list[Path], tmp_path: Path
) -> None:
    compute, cache = Counted(), tmp_path / "cache"
    cached_statistics(images, compute, cache, weights_id="w")
    (entry,) = cache.iterdir()
    content = bytearray(entry.read_bytes())
    content[int(where * len(content))] ^= 0xFF
    entry.write_bytes(content)
    result = cached_statistics(images, compute, cache, weights_id="w")
    assert compute.calls == 2
    np.testing.assert_array_equal(result.covariance, compute.statistics.covariance)
    cached_statistics(images, compute, cache, weights_id="w")
    assert compute.calls == 2


def test_a_cache_that_cannot_be_written_still_gives_the_statistics(
    images: list[Path], tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache folder would be")
    result = cached_statistics(images, Counted(), blocked, weights_id="w")
    assert result.num_images == 60


def test_an_image_that_is_gone_is_named(images: list[Path], tmp_path: Path) -> None:
    os.unlink(images[1])
    with pytest.raises(DataError, match=r"b\.jpg"):
        cached_statistics(images, Counted(), tmp_path / "cache", weights_id="w")


def test_bias_is_warned_of_below_2048_images_only() -> None:
    assert bias_warning(2048) is None
    warning = bias_warning(2047)
    assert warning is not None
    assert "2047 images" in warning
    assert "\n" not in warning
