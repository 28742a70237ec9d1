"""PSNR and SSIM against scikit-image's on the same crops, and values computed by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gancomp.errors import DataError
from gancomp.metrics.image_quality import image_quality, luminance, psnr, ssim

TOLERANCE = 1e-6  # what is asked for; float64 sums in another order differ by 1e-14


def pair(height: int = 40, width: int = 33, noise: float = 12.0) -> tuple[Any, Any]:
    """Two similar 8-bit images."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width]
    clean = np.stack([128 + 90 * np.sin(x / (3 + c) + y / 7) for c in range(3)], axis=2)
    noisy = clean + rng.normal(0, noise, clean.shape)
    one, two = (item.clip(0, 255).round().astype(np.uint8) for item in (noisy, clean))
    return one, two


def as_skimage(x: NDArray[Any], y: NDArray[Any], **options: Any) -> tuple[float, float]:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    x, y = x.astype(np.float64), y.astype(np.float64)
    return (
        metrics.peak_signal_noise_ratio(y, x, data_range=255),
        metrics.structural_similarity(
            y,
            x,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            **options,
        ),
    )


@pytest.mark.parametrize("border", [0, 2, 4])
@pytest.mark.parametrize("size", [(40, 33), (19, 64), (96, 96)])
def test_all_four_figures_equal_scikit_image_on_the_same_crops(
    size: tuple[int, int], border: int
) -> None:
    color = pytest.importorskip("skimage.color", reason="scikit-image is not installed")
    image, reference = pair(*size)
    found = image_quality(image, reference, border=border)
    height, width = size
    inside = slice(border, height - border), slice(border, width - border), 0
    luma = [color.rgb2ycbcr(item)[inside] for item in (image, reference)]
    assert (found.psnr_y, found.ssim_y) == pytest.approx(as_skimage(*luma), abs=TOLERANCE)
    rgb = as_skimage(image, reference, channel_axis=2)
    assert (found.psnr_rgb, found.ssim_rgb) == pytest.approx(rgb, abs=TOLERANCE)


def test_luminance_of_black_white_and_the_primaries_is_matlabs() -> None:
    colors = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
    image = np.array([colors], np.uint8)
    expected = [16, 235, 81.481, 144.553, 40.966]
    assert luminance(image)[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_a_grayscale_original_is_its_own_luminance() -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.abs(luminance(gray, full_range=True) - gray[..., 0]).max() < 1e-9
    image, reference = (item[..., :1].repeat(3, axis=2) for item in pair())
    found = image_quality(image, reference, border=4, grayscale=True)
    inside = slice(4, -4), slice(4, -4), 0
    plain = as_skimage(image[inside], reference[inside])
    assert (found.psnr_y, found.ssim_y) == pytest.approx(plain, abs=TOLERANCE)
    by_y = image_quality(image, reference, border=4).psnr_y
    assert by_y - found.psnr_y == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)


def test_psnr_of_a_constant_difference_is_known_and_of_equal_images_infinite() -> None:
    one = np.full((12, 12), 100.0)
    assert psnr(one, one) == math.inf
    assert psnr(one, one + 255) == pytest.approx(0, abs=1e-12)
    assert psnr(one, one + 5) == pytest.approx(20 * math.log10(51))


def test_ssim_of_two_flat_images_is_the_luminance_term_and_of_equal_ones_1() -> None:
    one, two = np.full((11, 11), 100.0), np.full((11, 11), 130.0)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 130 + c1) / (100**2 + 130**2 + c1)
    assert ssim(one, two) == pytest.approx(expected, rel=1e-9)
    assert ssim(*(pair()[0].astype(np.float64),) * 2) == pytest.approx(1, abs=1e-12)


def test_both_are_symmetric_and_fall_with_noise() -> None:
    little, reference = pair(noise=4)
    much, _ = pair(noise=30)
    near = image_quality(little, reference, border=4)
    far = image_quality(much, reference, border=4)
    back = image_quality(reference, little, border=4)
    for metric in ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"):
        assert getattr(near, metric) > getattr(far, metric)
        assert getattr(near, metric) == pytest.approx(getattr(back, metric), rel=1e-12)


def test_what_lies_in_the_border_counts_for_rgb_only() -> None:
    image, reference = pair()
    spoiled = image.copy()
    spoiled[:4], spoiled[:, -4:] = 0, 255
    plain, other = (image_quality(item, reference, border=4) for item in (image, spoiled))
    assert (other.psnr_y, other.ssim_y) == (plain.psnr_y, plain.ssim_y)
    assert other.psnr_rgb < plain.psnr_rgb


def test_an_image_without_room_for_the_window_is_refused_with_the_size_needed() -> None:
    image, reference = pair(19, 40)
    assert image_quality(image, reference, border=4).ssim_y > 0
    with pytest.raises(DataError, match="40x18 pixels are too few .* at least 19x19"):
        image_quality(image[:18], reference[:18], border=4)
    with pytest.raises(ValueError, match="must be equal"):
        image_quality(image, reference[:18], border=4)
