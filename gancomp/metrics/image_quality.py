"""PSNR and SSIM of 8-bit images, as super-resolution reports them: on Y, border cut off.

Protocol (the usual one since Timofte et al. 2013; SRGAN, section 3.1): both images rounded to
8 bits; luminance by BT.601 with the coefficients of MATLAB's `rgb2ycbcr`, left unrounded, in
16..235; `scale` pixels cut off at each side; peak 255. A grayscale original is its own luminance,
in 0..255, as in the authors' scripts that the published tables come from (Set14 has one; by Y
its PSNR would be 1.3 dB higher). Secondary: all three channels, uncut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gancomp.errors import DataError

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]
PEAK = 255.0
# MATLAB's rgb2ycbcr, first row, for RGB in 0..1
Y_OFFSET, Y_WEIGHTS = 16.0, (65.481, 128.553, 24.966)
Y_RANGE = sum(Y_WEIGHTS)  # 219
SSIM_RADIUS, SSIM_SIGMA = 5, 1.5  # a window of 11 x 11
SSIM_K1, SSIM_K2 = 0.01, 0.03


@dataclass(frozen=True)
class Quality:
    """How near one image is to another; PSNR in dB (infinite for equal images), SSIM up to 1."""

    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float


def image_quality(
    image: Pixels, reference: Pixels, *, border: int, grayscale: bool = False
) -> Quality:
    """Both metrics by both protocols.

    Args:
        image: `(H, W, 3)`.
        reference: of the same shape.
        border: pixels cut off at each side for the metrics on Y; by custom the scale.
        grayscale: whether the original has no color, so that Y spans 0..255.

    Raises:
        DataError: if less than 11 x 11 pixels are left, SSIM's window.
        ValueError: for unequal shapes.
    """
    if image.shape != reference.shape or image.ndim != 3:
        raise ValueError(f"images of shapes {image.shape} and {reference.shape}: must be equal")
    height, width = image.shape[:2]
    least = 2 * (border + SSIM_RADIUS) + 1
    if min(height, width) < least:
        raise DataError(
            f"{width}x{height} pixels are too few to be scored; at least {least}x{least} are needed"
        )
    inside = (slice(border, height - border), slice(border, width - border))
    luma, luma_reference = (
        luminance(item, full_range=grayscale)[inside] for item in (image, reference)
    )
    rgb, rgb_reference = image.astype(np.float64), reference.astype(np.float64)
    return Quality(
        psnr_y=psnr(luma, luma_reference),
        ssim_y=ssim(luma, luma_reference),
        psnr_rgb=psnr(rgb, rgb_reference),
        ssim_rgb=ssim(rgb, rgb_reference),
    )


def luminance(image: Pixels, *, full_range: bool = False) -> Values:
    """`(H, W)`, Y of BT.601 in 16..235, unrounded.

    Args:
        image: `(H, W, 3)`, RGB.
        full_range: stretch to 0..255, where three equal channels keep their value.
    """
    weights = np.array(Y_WEIGHTS)
    if full_range:
        result: Values = image.astype(np.float64) @ (weights / Y_RANGE)
        return result
    return Y_OFFSET + image.astype(np.float64) @ (weights / 255)


def psnr(image: Values, reference: Values) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 255; infinite for equal images.

    Args:
        image: any shape.
        reference: of the same shape.
    """
    error = float(np.mean((image - reference) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(PEAK**2 / error))


def ssim(image: Values, reference: Values) -> float:
    """Mean structural similarity over the places where the window fits, and over channels.

    Gaussian window of 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, variances divided by the whole
    weight (no sample covariance), range 255.

    Args:
        image: `(H, W)` or `(H, W, C)`, at least 11 x 11, in 0..255.
        reference: of the same shape.

    Source: Wang et al. 2004, "Image quality assessment", eq. 13 and section III-C. Equals
    scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255)`.
    """
    mean_x, mean_y = _smooth(image), _smooth(reference)
    variance_x = _smooth(image**2) - mean_x**2
    variance_y = _smooth(reference**2) - mean_y**2
    covariance = _smooth(image * reference) - mean_x * mean_y
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    similar = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similar /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(similar.mean())


def _smooth(values: Values) -> Values:
    """The Gaussian window's average wherever it fits; 10 rows and columns fewer."""
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    weights /= weights.sum()
    for _ in range(2):  # along the rows, then, with the axes swapped, along the columns
        length = len(values) - 2 * SSIM_RADIUS
        smooth = weights[0] * values[:length]
        for tap in range(1, len(weights)):
            smooth += weights[tap] * values[tap : tap + length]
        values = smooth.swapaxes(0, 1)
    return values
