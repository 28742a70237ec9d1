"""Statistics for FID on the disk: files like pytorch-fid's, and a cache keyed by what was read."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gancomp.errors import DataError, RunError
from gancomp.files import replacing, write_text
from gancomp.metrics.fid import LEAST_IMAGES, Array, Statistics

CACHE_VERSION = 2  # 1 could hold statistics of a part of the images
MOST_FEATURES = 4096  # pool3 has 2048; the check of a sigma of 4096 needs half a gigabyte
LARGEST = 1e60  # of a value: products of two matrices of such are finite
MOST_KEPT_FEATURES = 20_000  # images: 164 MB
MOST_TEXT_BYTES = 1_000_000
# of a sigma's trace: how far rounding, to float32 at most, moves an eigenvalue below zero
ROUNDING = 1e-5


def save_statistics(path: Path, statistics: Statistics) -> None:
    """Writes an `.npz` that pytorch-fid reads too (`mu`, `sigma`), with `n_images` and `protocol`.

    Raises:
        RunError: if the folder cannot be written; a file that was there before is then intact.
    """
    entries: dict[str, Any] = {
        "mu": statistics.mean,
        "sigma": statistics.covariance,
        "protocol": np.array(statistics.protocol),
    }
    if statistics.num_images is not None:
        entries["n_images"] = np.array(statistics.num_images)
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez(file, **entries)


def load_statistics(path: Path) -> Statistics:
    """Statistics from an `.npz` of ours, of pytorch-fid or of a GAN-compression release.

    Only what is needed is read, after a look at its size; nothing in it is ever unpickled.

    Raises:
        DataError: if the file is missing, damaged, or its `mu`, `sigma` or `n_images` cannot be
            what it says they are: real, finite numbers that fit each other, a covariance that is
            symmetric and positive semi-definite, a number of images.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            mean, covariance = _numbers(archive, "mu"), _numbers(archive, "sigma")
            num_images = _num_images(archive)
            protocol = _text(archive, "protocol")
        _check_sound(mean, covariance)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; FID statistics are an .npz") from error
    except DataError as error:
        raise DataError(
            f"{path}: not FID statistics, {error}; mu is (D,) and sigma (D, D), as pytorch-fid "
            "`save_stats` writes them"
        ) from error
    except Exception as error:  # a damaged archive makes NumPy and zipfile raise almost anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(
            f"{path}: not FID statistics ({reason}); needed is an .npz with mu and sigma, "
            "as pytorch-fid `save_stats` writes"
        ) from error
    return Statistics(mean, covariance, num_images, protocol)


@dataclass(frozen=True)
class Found:
    """Statistics, and the files that they are not of, since these could not be read.

    Attributes:
        statistics: of all images that could be read.
        skipped: the others.
        features: `(N, D)` of the images, where they were asked for.
    """

    statistics: Statistics
    skipped: tuple[Path, ...] = ()
    features: NDArray[np.float32] | None = None


def cached_statistics(
    files: Sequence[Path],
    compute: Callable[[], Found],
    cache_dir: Path,
    *,
    unreadable: Callable[[Sequence[Path]], Sequence[Path]],
    weights_id: str,
    protocol: str = "",
    with_features: bool = False,
) -> Found:
    """`compute()`, remembered for as long as the contents that were read stay what they are.

    Names and order of the files do not matter. What is kept is keyed by the contents of the files
    that were read: if a passing fault kept one from being read, the statistics of all images are
    still to be computed. Files that were skipped are tried again each time. A damaged entry is
    computed again, and a cache that cannot be written costs the next run its time but not this one
    its score.

    Args:
        files: the images the statistics are to be of.
        compute: makes the statistics when they are not known yet.
        cache_dir: made if missing.
        unreadable: which of the given files still cannot be read; tells the user of each.
        weights_id: of the feature network (`InceptionFeatures.weights_id`).
        protocol: whatever else changes the features, such as how images are resized.
        with_features: whether the features are needed, which are kept too, up to
            `MOST_KEPT_FEATURES` images.

    Raises:
        Whatever `compute` and `unreadable` raise.
    """
    cache = _Cache(cache_dir, weights_id, protocol)
    digests = {file: digest for file in files if (digest := _digest(file)) is not None}
    known = [file for file in files if file in digests]
    skipped = cache.skipped(digests[file] for file in known)
    doubtful = [file for file in files if digests.get(file) in {None, *skipped}]
    if not doubtful or list(unreadable(doubtful)) == doubtful:
        rest = [digests[file] for file in known if file not in set(doubtful)]
        statistics = cache.load(rest)
        features = cache.load_features(rest) if with_features else None
        if statistics is not None and (features is not None) == with_features:
            return Found(statistics, tuple(doubtful), features)
    found = compute()
    left_out = set(found.skipped)
    read = [file for file in files if file not in left_out]
    if all(file in digests for file in read):
        cache.save([digests[file] for file in read], found)
        cache.note_skipped(
            [digests[file] for file in known], sorted({digests[f] for f in known if f in left_out})
        )
    return found


class _Cache:
    """Statistics by the contents of images; what cannot be read or written is not there."""

    def __init__(self, folder: Path, weights_id: str, protocol: str) -> None:
        self.folder, self.weights_id, self.protocol = folder, weights_id, protocol

    def load(self, digests: Sequence[str]) -> Statistics | None:
        """Of exactly the files with these contents, if known."""
        try:
            return load_statistics(self._entry("statistics", ".npz", digests))
        except DataError:
            return None  # missing, or damaged: written again

    def load_features(self, digests: Sequence[str]) -> NDArray[np.float32] | None:
        """Of exactly the files with these contents, if kept; in any order."""
        try:
            features: NDArray[np.float32] = np.load(
                self._entry("features", ".npy", digests), allow_pickle=False
            )
        except Exception:  # a damaged file makes NumPy raise almost anything
            return None
        sound = isinstance(features, np.ndarray) and features.dtype == np.float32
        if not sound or features.ndim != 2 or not np.isfinite(features).all():
            return None
        return features

    def save(self, digests: Sequence[str], found: Found) -> None:
        """Keeps statistics, and features where there are any, of the files with these contents."""
        with contextlib.suppress(OSError, RunError):
            self.folder.mkdir(parents=True, exist_ok=True)
            save_statistics(self._entry("statistics", ".npz", digests), found.statistics)
            if found.features is not None and len(found.features) <= MOST_KEPT_FEATURES:
                entry = self._entry("features", ".npy", digests)
                with replacing(entry) as aside, aside.open("wb") as file:
                    np.save(file, found.features)

    def skipped(self, digests: Iterable[str]) -> list[str]:
        """Which of the files with these contents could not be read the last time."""
        try:
            text = self._entry("skipped", ".json", digests).read_text(encoding="utf-8")
            found = json.loads(text)
        except (OSError, ValueError, RecursionError):
            return []
        return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []

    def note_skipped(self, digests: Sequence[str], skipped: Sequence[str]) -> None:
        """Keeps in mind which of the files with these contents could not be read."""
        entry = self._entry("skipped", ".json", digests)
        with contextlib.suppress(OSError, RunError):
            if skipped:
                write_text(entry, json.dumps(skipped) + "\n")
            else:
                entry.unlink(missing_ok=True)

    def _entry(self, kind: str, suffix: str, digests: Iterable[str]) -> Path:
        parts = [str(CACHE_VERSION), self.weights_id, self.protocol, *sorted(digests)]
        key = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
        return self.folder / f"{kind}-{key}{suffix}"


def _digest(file: Path) -> str | None:
    """SHA-256 of the content; None if it cannot be read, of which `compute` will tell."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _numbers(archive: Any, name: str) -> Array:
    """An array of real numbers as float64, refused before it is read if it is far too large."""
    if name not in archive.files:
        raise DataError(f"it has no {name}")
    _check_size(archive, name, 8 * MOST_FEATURES**2 + 1024)
    values = archive[name]
    if values.dtype.kind not in "fiu":
        raise DataError(f"{name} holds {values.dtype}, not real numbers")
    return np.asarray(values, dtype=np.float64)


def _num_images(archive: Any) -> int | None:
    """`n_images`, None in a file that does not say."""
    if "n_images" not in archive.files:
        return None
    _check_size(archive, "n_images", 1024)
    value = archive["n_images"]
    if value.size != 1 or value.dtype.kind not in "iu" or value.item() < LEAST_IMAGES:
        shown = " ".join(str(value).split())[:40]
        raise DataError(f"n_images is {shown}; it is a whole number, at least {LEAST_IMAGES}")
    return int(value.item())


def _text(archive: Any, name: str) -> str:
    """A text entry, empty where there is none."""
    if name not in archive.files:
        return ""
    _check_size(archive, name, MOST_TEXT_BYTES)
    return str(archive[name])


def _check_size(archive: Any, name: str, most: int) -> None:
    size = archive.zip.getinfo(f"{name}.npy").file_size
    if size > most:
        raise DataError(
            f"{name} has {size} bytes; at most {most} are read (up to {MOST_FEATURES} features)"
        )


def _check_sound(mean: Array, covariance: Array) -> None:
    """Raises DataError unless the two can be a mean and a covariance."""
    if mean.ndim != 1 or mean.size < 1 or covariance.shape != (mean.size, mean.size):
        raise DataError(f"mu has shape {mean.shape} and sigma {covariance.shape}")
    for name, values in (("mu", mean), ("sigma", covariance)):
        if not np.isfinite(values).all():
            raise DataError(f"some values of {name} are not finite")
        largest = float(np.abs(values).max())
        if largest > LARGEST:
            raise DataError(f"a value of {name} is as large as {largest:.3g}")
    if not _is_symmetric(covariance):
        raise DataError("sigma is not symmetric")
    if not _is_semi_definite(covariance):
        raise DataError("sigma is not positive semi-definite, as the covariance of anything is")


def _is_symmetric(covariance: Array) -> bool:
    if np.array_equal(covariance, covariance.T):  # ours are, and this is eight times faster
        return True
    atol = 1e-8 * float(np.trace(covariance))
    return bool(np.allclose(covariance, covariance.T, rtol=1e-4, atol=atol))


def _is_semi_definite(covariance: Array) -> bool:
    trace = float(np.trace(covariance))
    if trace <= 0:
        return not covariance.any()
    # of a matrix with trace 1, which no shift makes vanish or overflow
    shifted = covariance / trace + ROUNDING * np.eye(len(covariance))
    try:
        np.linalg.cholesky(shifted)  # exists if and only if all eigenvalues are positive
    except np.linalg.LinAlgError:
        return False
    return True
