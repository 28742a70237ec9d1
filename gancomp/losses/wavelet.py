"""The Haar transform of images, and the distance of their high bands (Wavelet KD)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.losses.precision import at_least_float32


def haar_transform(images: Tensor, levels: int = 4) -> tuple[Tensor, list[Tensor]]:
    """The low band after the last level, and each level's three high bands, finest first.

    Every square of four pixels a b / c d becomes (a+b+c+d)/2, the low band, and (a+b-c-d)/2,
    (a-b+c-d)/2, (a-b-c+d)/2: the rows' difference, the columns', the diagonal's. An odd side is
    filled up by zeros at the bottom or right. Squares of values keep their sum.

    Args:
        images: `(N, C, H, W)`, any range.
        levels: how often the low band is transformed again.

    Returns: `(N, C, h, w)` and, per level, `(N, C, 3, h, w)` with sides halved, rounded up.

    Raises:
        ValueError: if there is no level.

    Source: Mallat 1989; equal to pytorch_wavelets with `wave="haar", mode="zero"`, whose filters
    are rounded to float32.
    """
    if levels < 1:
        raise ValueError(f"{levels} levels of a Haar transform; needs at least 1")
    low, bands = images, []
    for _ in range(levels):
        low = F.pad(low, (0, low.shape[3] % 2, 0, low.shape[2] % 2))
        upper, lower = low[:, :, ::2], low[:, :, 1::2]
        added, taken = upper + lower, upper - lower
        left, right = added[..., ::2], added[..., 1::2]
        taken_left, taken_right = taken[..., ::2], taken[..., 1::2]
        low = (left + right) / 2
        high = [taken_left + taken_right, left - right, taken_left - taken_right]
        bands.append(torch.stack(high, 2) / 2)
    return low, bands


def wavelet_loss(
    teacher: Tensor, student: Tensor, *, levels: int = 4, distance: Literal["l1", "mse"] = "l1"
) -> Tensor:
    """Distance of the high bands, averaged over the elements of a level, summed over levels.

    The low band is left out: what is large in an image is learnt from the student's own GAN.

    Args:
        teacher: `(N, C, H, W)`; detached here.
        student: of the same shape.
        levels: of the Haar transform.
        distance: `l1` as the paper and its README say, `mse` as the released training code does.

    Returns: a scalar, at least float32; 0 for images that differ in their low band only.

    Raises:
        ValueError: for unequal shapes, no level or an unknown distance.

    Source: Zhang et al. 2022 (Wavelet Knowledge Distillation), eq. 4; the released weight is 0.4.
    """
    if teacher.shape != student.shape:
        raise ValueError(
            f"teacher {tuple(teacher.shape)} and student {tuple(student.shape)} must be alike"
        )
    if distance not in ("l1", "mse"):
        raise ValueError(f"unknown distance {distance!r} of the bands; choose l1 or mse")
    # the transform is linear: that of the difference is the difference of the two
    difference = at_least_float32(student) - at_least_float32(teacher.detach())
    bands = haar_transform(difference, levels)[1]
    terms = [band.abs() if distance == "l1" else band.square() for band in bands]
    return torch.stack([term.mean() for term in terms]).sum()
