"""What OMGD compares of two images beside VGG's maps: structure, and how rough the student's is."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.losses.precision import at_least_float32
from gancomp.ranks import current

SSIM_RADIUS, SSIM_SIGMA = 5, 1.5  # a window of 11 x 11
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # for a range of 1, though OMGD's images span 2


def structural_similarity(images: Tensor, targets: Tensor) -> Tensor:
    """Mean structural similarity over all pixels, channels and images; 1 for equal images.

    Beyond the border there are zeros, and images in [-1, 1] are compared with constants meant for
    [0, 1], both as in OMGD's released code, whose weight of 10 assumes it. For reporting quality
    there is `gancomp.metrics.image_quality`.

    Args:
        images: `(N, C, H, W)` in [-1, 1]; gets the gradient.
        targets: of the same shape; detached here.

    Returns: a scalar, at least float32, up to 1. OMGD minimizes 1 minus it.

    Raises:
        ValueError: for unequal shapes.

    Source: Wang et al. 2004, eq. 13; Ren et al. 2021 (OMGD), eq. 6.
    """
    if images.shape != targets.shape:
        raise ValueError(
            f"images {tuple(images.shape)} and targets {tuple(targets.shape)} must be alike"
        )
    with torch.autocast(images.device.type, enabled=False):
        x, y = at_least_float32(images), at_least_float32(targets.detach())
        smooth = _smooth(torch.cat([x, y, x * x, y * y, x * y]))
        mean_x, mean_y, square_x, square_y, product = smooth.chunk(5)
        covariance = product - mean_x * mean_y
        variances = square_x - mean_x**2 + square_y - mean_y**2
        similar = (2 * mean_x * mean_y + SSIM_C1) * (2 * covariance + SSIM_C2)
        return (similar / ((mean_x**2 + mean_y**2 + SSIM_C1) * (variances + SSIM_C2))).mean()


def _smooth(images: Tensor) -> Tensor:
    """The Gaussian window's average at each pixel: along the columns, then along the rows."""
    num_channels = images.shape[1]
    kernel = _window(images.dtype, images.device).expand(num_channels, 1, 1, -1)
    images = F.conv2d(images, kernel.mT, padding=(SSIM_RADIUS, 0), groups=num_channels)
    return F.conv2d(images, kernel, padding=(0, SSIM_RADIUS), groups=num_channels)


@functools.cache  # a step that is captured as a CUDA graph cannot bring it from the host
@torch.inference_mode(False)
def _window(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The Gaussian window's weights, `(11,)`."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=torch.float64)  # which MPS lacks
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    return (weights / weights.sum()).to(device, dtype)


def total_variation(images: Tensor) -> Tensor:
    """Sum (not mean) of the absolute differences of neighboring pixels.

    It grows with the batch and with the number of pixels: OMGD's weight of 1e-5 is for 256x256.

    Args:
        images: `(N, C, H, W)`, any range.

    Returns: a scalar, at least float32; 0 for images of one color.

    Source: Ren et al. 2021 (OMGD), eq. 9; its released code, and AGD's, sum the same way.
    """
    images = at_least_float32(images)
    down = (images[:, :, 1:] - images[:, :, :-1]).abs().sum()
    across = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().sum()
    return (down + across) * current().size  # the ranks' mean is then the sum over all images
