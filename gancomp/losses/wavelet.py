"""Wavelet transforms of images, and the distance of their high bands (Wavelet KD)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.losses.precision import at_least_float32

Wavelet = Literal["haar", "db3"]

# Daubechies 1992, table 6.1: the low-pass of three vanishing moments, normalized to a sum of sqrt 2
DB3 = (
    0.3326705529500826159985,
    0.8068915093110925764944,
    0.4598775021184915700951,
    -0.1350110200102545886963,
    -0.0854412738820266616928,
    0.0352262918857095366027,
)


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


def db3_transform(images: Tensor, levels: int = 3) -> tuple[Tensor, list[Tensor]]:
    """As `haar_transform`, by Daubechies' wavelet of six taps; zeros surround the image.

    Args:
        images: `(N, C, H, W)`, any range.
        levels: how often the low band is transformed again.

    Returns: `(N, C, h, w)` and, per level, `(N, C, 3, h, w)`; a side of `s` becomes `(s + 5) // 2`.

    Raises:
        ValueError: if there is no level.

    Source: Daubechies 1992; equal to pytorch_wavelets with `wave="db3", mode="zero"`, whose filters
    are rounded to float32.
    """
    if levels < 1:
        raise ValueError(f"{levels} levels of a wavelet transform; needs at least 1")
    low_pass = images.new_tensor(DB3)
    signs = images.new_tensor([1, -1] * (len(DB3) // 2))
    taps = torch.stack([low_pass, signs * low_pass.flip(0)])
    # a bank of four: rows by rows' filter and columns by columns'
    bank = torch.einsum("ah,bw->abhw", taps, taps).flatten(0, 1).unsqueeze(1)
    low, bands = images, []
    for _ in range(levels):
        height, width = low.shape[2:]
        # pytorch_wavelets' place of the grid: four zeros before an even side, five in all
        padded = F.pad(low, _zeros_around(width) + _zeros_around(height))
        split = F.conv2d(padded.flatten(0, 1).unsqueeze(1), bank, stride=2)
        split = split.view(*low.shape[:2], *split.shape[1:])
        low = split[:, :, 0]
        bands.append(split[:, :, [2, 1, 3]])
    return low, bands


def _zeros_around(side: int) -> tuple[int, int]:
    """Zeros before and after, so that `(side + 5) // 2` windows of six, two apart, fit."""
    missing = 2 * ((side + len(DB3) - 1) // 2 - 1) - side + len(DB3)
    return missing // 2, missing - missing // 2


TRANSFORMS: dict[Wavelet, Callable[[Tensor, int], tuple[Tensor, list[Tensor]]]] = {
    "haar": haar_transform,
    "db3": db3_transform,
}


def wavelet_loss(
    teacher: Tensor,
    student: Tensor,
    *,
    levels: int = 4,
    distance: Literal["l1", "mse"] = "l1",
    wavelet: Wavelet = "haar",
) -> Tensor:
    """Distance of the high bands, averaged over the elements of a level, summed over levels.

    The low band is left out: what is large in an image is learnt from the student's own GAN.

    Args:
        teacher: `(N, C, H, W)`; detached here.
        student: of the same shape.
        levels: of the transform.
        distance: `l1` as the paper and its README say, `mse` as the released training code does.
        wavelet: `haar` as the paper and the released script, `db3` as the released code's default.

    Returns: a scalar, at least float32; 0 for images that differ in their low band only.

    Raises:
        ValueError: for unequal shapes, no level, an unknown distance or wavelet.

    Source: Zhang et al. 2022 (Wavelet Knowledge Distillation), eq. 4; the released weight is 0.4.
    """
    if teacher.shape != student.shape:
        raise ValueError(
            f"teacher {tuple(teacher.shape)} and student {tuple(student.shape)} must be alike"
        )
    if distance not in ("l1", "mse"):
        raise ValueError(f"unknown distance {distance!r} of the bands; choose l1 or mse")
    if wavelet not in TRANSFORMS:
        raise ValueError(f"unknown wavelet {wavelet!r}; choose {' or '.join(TRANSFORMS)}")
    # the transform is linear: that of the difference is the difference of the two
    difference = at_least_float32(student) - at_least_float32(teacher.detach())
    bands = TRANSFORMS[wavelet](difference, levels)[1]
    terms = [band.abs() if distance == "l1" else band.square() for band in bands]
    return torch.stack([term.mean() for term in terms]).sum()
