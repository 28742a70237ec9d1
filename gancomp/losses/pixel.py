"""Distances between images as they are, without any network."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gancomp.losses.precision import at_least_float32

LEVELS_PER_UNIT = 127.5  # gray levels 0..255 over the range [-1, 1]


def pixel_loss(images: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference in gray levels (0..255) of images in [-1, 1].

    `127.5^2` times the mean squared difference of the tensors. A weight w here is a weight 65,025 w
    on images in [0, 1] and 16,256.25 w on images in [-1, 1]: the 1e-3 of SRGAN distillation is
    65.025 there and 16.256 here.

    Args:
        images: `(N, 3, H, W)`.
        targets: the same shape.

    Returns: a scalar, at least float32, averaged over all elements.

    Source: Lee and Park 2021 and the Keras code they use, which keeps images in 0..255.
    """
    difference = F.mse_loss(at_least_float32(images), at_least_float32(targets))
    return LEVELS_PER_UNIT**2 * difference
