"""The files that statistics for FID live in, and the cache of them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytorch_fid.fid_score import compute_statistics_of_path

from gancomp.errors import DataError
from gancomp.metrics.fid import statistics_of
from gancomp.metrics.statistics_files import (
    Found,
    cached_statistics,
    load_statistics,
    save_statistics,
)

Array = NDArray[np.float64]


def random_features(seed: int, num_images: int = 60, num_features: int = 12) -> Array:
    return np.random.default_rng(seed).normal(size=(num_images, num_features))


def test_npz_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    saved = statistics_of(random_features(0), protocol="bicubic 256")
    save_statistics(tmp_path / "real.npz", saved)
    loaded = load_statistics(tmp_path / "real.npz")
    assert loaded.mean.tobytes() == saved.mean.tobytes()
    assert loaded.covariance.tobytes() == saved.covariance.tobytes()
    assert (loaded.num_images, loaded.protocol) == (60, "bicubic 256")
    assert [path.name for path in tmp_path.iterdir()] == ["real.npz"]


def test_pytorch_fid_reads_our_statistics(tmp_path: Path) -> None:
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


def indefinite_sigma(file: Path) -> None:
    np.savez(file, mu=np.zeros(2), sigma=np.array([[1.0, 2.0], [2.0, 1.0]]))


def sigma_of_negative_trace(file: Path) -> None:
    np.savez(file, mu=np.zeros(2), sigma=-np.eye(2))


def complex_sigma(file: Path) -> None:
    np.savez(file, mu=np.zeros(2), sigma=np.eye(2) * (1 + 2j))


def mu_in_words(file: Path) -> None:
    np.savez(file, mu=np.array(["1", "2"]), sigma=np.eye(2))


def huge_mu(file: Path) -> None:
    np.savez(file, mu=np.array([1e300, 0]), sigma=np.eye(2))


def negative_number_of_images(file: Path) -> None:
    np.savez(file, mu=np.zeros(2), sigma=np.eye(2), n_images=-5)


def broken_number_of_images(file: Path) -> None:
    np.savez(file, mu=np.zeros(2), sigma=np.eye(2), n_images=7.5)


def no_features(file: Path) -> None:
    np.savez(file, mu=np.zeros(0), sigma=np.zeros((0, 0)))


def mu_of_a_gigabyte(file: Path) -> None:
    """8,000 zeros that say they are 2^27: a bomb of 1 GB, deflated."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (134217728,), }"
    header = header.ljust(117) + b"\n"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("mu.npy", "w", force_zip64=True) as stream:
            stream.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
            for _ in range(140):
                stream.write(bytes(1_000_000))
        archive.writestr("sigma.npy", b"")


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
        indefinite_sigma,
        sigma_of_negative_trace,
        complex_sigma,
        mu_in_words,
        huge_mu,
        negative_number_of_images,
        broken_number_of_images,
        no_features,
        mu_of_a_gigabyte,
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


def test_sigma_of_fewer_images_than_features_in_float32_is_accepted(tmp_path: Path) -> None:
    expected = statistics_of(random_features(0, 5, 60))
    np.savez(tmp_path / "a.npz", mu=expected.mean, sigma=expected.covariance.astype(np.float32))
    assert load_statistics(tmp_path / "a.npz").mean.shape == (60,)


def test_a_sigma_of_zero_is_that_of_equal_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=np.ones(3), sigma=np.zeros((3, 3)), n_images=2)
    assert load_statistics(tmp_path / "a.npz").num_images == 2


def test_an_array_that_nobody_asked_for_is_not_read(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", mu=np.zeros(2), sigma=np.eye(2), unused=[Trap(tmp_path / "sprung")]
    )
    assert load_statistics(tmp_path / "a.npz").mean.shape == (2,)
    assert not (tmp_path / "sprung").exists()


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
    """Something to cache that says how often it was computed, and what it skipped."""

    def __init__(self, *unreadable: Path) -> None:
        self.calls = 0
        self.unreadable = set(unreadable)
        self.tried: list[Path] = []
        self.statistics = statistics_of(random_features(0))

    def compute(self) -> Found:
        self.calls += 1
        return Found(self.statistics, tuple(sorted(self.unreadable)))

    def try_again(self, files: Sequence[Path]) -> list[Path]:
        self.tried += files
        return [file for file in files if file in self.unreadable]


def cached(files: Sequence[Path], counted: Counted, folder: Path, **options: Any) -> Found:
    options = {"weights_id": "w"} | options
    return cached_statistics(
        files, counted.compute, folder, unreadable=counted.try_again, **options
    )


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    files = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    for file in files:
        file.write_bytes(file.name.encode())
    return files


def test_cached_statistics_are_computed_once(images: list[Path], tmp_path: Path) -> None:
    counted, cache = Counted(), tmp_path / "new" / "cache"
    first, again = cached(images, counted, cache), cached(images, counted, cache)
    assert counted.calls == 1
    np.testing.assert_array_equal(first.statistics.covariance, again.statistics.covariance)
    assert (again.statistics.num_images, again.skipped) == (60, ())


def test_renamed_and_reordered_images_are_found_in_the_cache(
    images: list[Path], tmp_path: Path
) -> None:
    counted, cache = Counted(), tmp_path / "cache"
    cached(images, counted, cache)
    renamed = images[0].rename(tmp_path / "z.jpg")
    cached([*images[1:], renamed], counted, cache)
    assert counted.calls == 1


def test_other_content_weights_protocol_or_number_of_images_are_computed_anew(
    images: list[Path], tmp_path: Path
) -> None:
    counted, cache = Counted(), tmp_path / "cache"
    cached(images, counted, cache)
    cached(images, counted, cache, weights_id="v")
    cached(images, counted, cache, protocol="resized")
    cached(images[:1], counted, cache)
    cached([*images, images[0]], counted, cache)
    images[0].write_bytes(b"another picture")
    cached(images, counted, cache)
    assert counted.calls == 6


@pytest.mark.parametrize("where", [0, 0.5, 0.999])
def test_a_damaged_cache_entry_is_computed_again_and_mended(
    where: float, images: list[Path], tmp_path: Path
) -> None:
    counted, cache = Counted(), tmp_path / "cache"
    cached(images, counted, cache)
    (entry,) = cache.iterdir()
    content = bytearray(entry.read_bytes())
    content[int(where * len(content))] ^= 0xFF
    entry.write_bytes(content)
    result = cached(images, counted, cache)
    assert counted.calls == 2
    np.testing.assert_array_equal(result.statistics.covariance, counted.statistics.covariance)
    cached(images, counted, cache)
    assert counted.calls == 2


def test_a_cache_that_cannot_be_written_still_gives_the_statistics(
    images: list[Path], tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache folder would be")
    assert cached(images, Counted(), blocked).statistics.num_images == 60


def test_statistics_of_a_part_are_never_taken_for_those_of_all(
    images: list[Path], tmp_path: Path
) -> None:
    counted, cache = Counted(images[1]), tmp_path / "cache"
    assert cached(images, counted, cache).skipped == (images[1],)
    counted.unreadable = set()  # it was a passing fault
    assert cached(images, counted, cache).skipped == ()
    assert cached(images, counted, cache).skipped == ()
    assert counted.calls == 2


def test_files_that_stay_unreadable_are_tried_each_time_and_the_rest_is_computed_once(
    images: list[Path], tmp_path: Path
) -> None:
    counted, cache = Counted(images[1]), tmp_path / "cache"
    found = [cached(images, counted, cache) for _ in range(3)]
    assert [item.skipped for item in found] == [(images[1],)] * 3
    assert (counted.calls, counted.tried) == (1, [images[1]] * 2)
    healthy = Counted()
    cached([images[0], images[2]], healthy, cache)  # the same files, without the damaged one
    assert healthy.calls == 0


def test_a_file_that_cannot_be_opened_is_left_to_the_reader_and_spoils_no_entry(
    images: list[Path], tmp_path: Path
) -> None:
    counted, cache = Counted(images[1]), tmp_path / "cache"
    content = images[1].read_bytes()
    os.unlink(images[1])
    assert cached(images, counted, cache).skipped == (images[1],)
    assert cached(images, counted, cache).skipped == (images[1],)
    assert counted.calls == 1
    images[1].write_bytes(content)
    counted.unreadable = set()
    assert cached(images, counted, cache).skipped == ()
    assert counted.calls == 2


def test_what_was_read_without_being_known_is_not_kept(images: list[Path], tmp_path: Path) -> None:
    os.unlink(images[1])  # its content stays unknown, though the reader says that it had it
    counted, cache = Counted(), tmp_path / "cache"
    cached(images, counted, cache)
    cached(images, counted, cache)
    assert counted.calls == 2
