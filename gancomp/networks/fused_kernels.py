"""Triton kernels: InstanceNorm with what follows it, in channels_last, statistics in float32.

A map `(N, C, H, W)` lies as `(N, rows, C)` with `rows = H W` positions. Statistics take two passes:
each program sums over a chunk of an image's rows, then the chunks are put together. Nothing is
summed up by atomics: results are the same in every run. Only a GPU, or Triton's interpreter, runs
them; this module is imported when one is needed.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_ROWS, BLOCK_CHANNELS = 32, 64  # of a tile that a program holds at a time
PROGRAMS = 1024  # enough to fill a GPU of 132 processors several times over
MOST_SPLITS = 256


@triton.jit
def _statistics(x, means, squares, rows, channels, splits, chunk, R: tl.constexpr, C: tl.constexpr):
    split, image = tl.program_id(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * C + tl.arange(0, C)
    first = split * chunk
    last = tl.minimum(first + chunk, rows)
    mean = tl.zeros([C], tl.float32)
    square = tl.zeros([C], tl.float32)
    for start in range(first, last, R):
        at = start + tl.arange(0, R)
        inside = (at < last)[:, None] & (columns < channels)[None, :]
        places = x + (image * rows + at)[:, None] * channels + columns[None, :]
        values = tl.load(places, mask=inside, other=0.0).to(tl.float32)
        count = (tl.minimum(start + R, last) - start).to(tl.float32)
        before = (start - first).to(tl.float32)
        tile_mean = tl.sum(values, axis=0) / count
        centered = tl.where(inside, values - tile_mean[None, :], 0.0)
        delta = tile_mean - mean
        total = before + count
        mean += delta * (count / total)
        square += tl.sum(centered * centered, axis=0) + delta * delta * (before * count / total)
    to = (image * splits + split) * channels + columns
    tl.store(means + to, mean, mask=columns < channels)
    tl.store(squares + to, square, mask=columns < channels)


@triton.jit
def _put_together(
    means, squares, mean_of, inverse_of, rows, channels, splits, chunk, eps, C: tl.constexpr
):
    columns, image = tl.program_id(0) * C + tl.arange(0, C), tl.program_id(1)
    there = columns < channels
    mean = tl.zeros([C], tl.float32)
    square = tl.zeros([C], tl.float32)
    for split in range(0, splits):
        at = (image * splits + split) * channels + columns
        before = (split * chunk).to(tl.float32)
        count = tl.minimum(chunk, rows - split * chunk).to(tl.float32)
        delta = tl.load(means + at, mask=there, other=0.0) - mean
        total = before + count
        mean += delta * (count / total)
        square += tl.load(squares + at, mask=there, other=0.0)
        square += delta * delta * (before * count / total)
    tl.store(mean_of + image * channels + columns, mean, mask=there)
    inverse = 1.0 / tl.sqrt(square / rows + eps)
    tl.store(inverse_of + image * channels + columns, inverse, mask=there)


@triton.jit
def _mirrored(at, length):
    at = tl.where(at < 0, -at, at)
    return tl.where(at >= length, 2 * (length - 1) - at, at)


@triton.jit
def _finish(
    x, mean_of, inverse_of, y, height, width, channels, slope,
    PAD: tl.constexpr, ACTIVE: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(2).to(tl.int64)
    at = tl.program_id(0) * R + tl.arange(0, R)
    columns = tl.program_id(1) * C + tl.arange(0, C)
    wide = width + 2 * PAD
    out_rows = (height + 2 * PAD) * wide
    there = columns < channels
    inside = (at < out_rows)[:, None] & there[None, :]
    source = at
    if PAD > 0:
        source = _mirrored(at // wide - PAD, height) * width + _mirrored(at % wide - PAD, width)
    places = (image * height * width + source)[:, None] * channels + columns[None, :]
    values = tl.load(x + places, mask=inside, other=0.0).to(tl.float32)
    mean = tl.load(mean_of + image * channels + columns, mask=there, other=0.0)
    inverse = tl.load(inverse_of + image * channels + columns, mask=there, other=0.0)
    values = (values - mean[None, :]) * inverse[None, :]
    if ACTIVE:
        values = tl.where(values > 0, values, values * slope)
    to = (image * out_rows + at)[:, None] * channels + columns[None, :]
    tl.store(y + to, values.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _mirror_image(at, length, which: tl.constexpr, PAD: tl.constexpr):
    # where the padded map has position `at`: inside, before the beginning, behind the end
    if which == 0:
        place, there = at + PAD, at >= 0
    elif which == 1:
        place, there = PAD - at, (at >= 1) & (at <= PAD)
    else:
        place = PAD + 2 * (length - 1) - at
        there = (at >= length - 1 - PAD) & (at <= length - 2)
    return place, there


@triton.jit
def _gradient_at(
    x, grad, mean, inverse, image, at, inside, columns, height, width, channels, slope,
    PAD: tl.constexpr, ACTIVE: tl.constexpr,
):  # fmt: skip
    # the normed values there, and the gradient by them: sums of what their mirror images get
    places = (image * height * width + at)[:, None] * channels + columns[None, :]
    values = tl.load(x + places, mask=inside, other=0.0).to(tl.float32)
    normed = (values - mean[None, :]) * inverse[None, :]
    if PAD == 0:
        total = tl.load(grad + places, mask=inside, other=0.0).to(tl.float32)
    else:
        wide = width + 2 * PAD
        start = image * (height + 2 * PAD) * wide
        total = tl.zeros_like(values)
        for i in tl.static_range(3):
            row, row_there = _mirror_image(at // width, height, i, PAD)
            for j in tl.static_range(3):
                column, column_there = _mirror_image(at % width, width, j, PAD)
                there = inside & (row_there & column_there)[:, None]
                padded = (start + row * wide + column)[:, None] * channels + columns[None, :]
                total += tl.load(grad + padded, mask=there, other=0.0).to(tl.float32)
    if ACTIVE:
        total = tl.where(normed > 0, total, total * slope)
    return normed, total


@triton.jit
def _gradient_sums(
    x, grad, mean_of, inverse_of, sums, along, height, width, channels, splits, chunk, slope,
    PAD: tl.constexpr, ACTIVE: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    split, image = tl.program_id(0), tl.program_id(2).to(tl.int64)
    columns = tl.program_id(1) * C + tl.arange(0, C)
    there = columns < channels
    mean = tl.load(mean_of + image * channels + columns, mask=there, other=0.0)
    inverse = tl.load(inverse_of + image * channels + columns, mask=there, other=0.0)
    first = split * chunk
    last = tl.minimum(first + chunk, height * width)
    total = tl.zeros([C], tl.float32)
    weighted = tl.zeros([C], tl.float32)
    for start in range(first, last, R):
        at = start + tl.arange(0, R)
        inside = (at < last)[:, None] & there[None, :]
        normed, gradient = _gradient_at(
            x, grad, mean, inverse, image, at, inside, columns, height, width, channels, slope,
            PAD, ACTIVE,
        )  # fmt: skip
        total += tl.sum(gradient, axis=0)
        weighted += tl.sum(gradient * normed, axis=0)
    to = (image * splits + split) * channels + columns
    tl.store(sums + to, total, mask=there)
    tl.store(along + to, weighted, mask=there)


@triton.jit
def _finish_gradient(
    x, grad, mean_of, inverse_of, sum_of, along_of, dx, height, width, channels, slope,
    PAD: tl.constexpr, ACTIVE: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(2).to(tl.int64)
    at = tl.program_id(0) * R + tl.arange(0, R)
    columns = tl.program_id(1) * C + tl.arange(0, C)
    there = columns < channels
    inside = (at < height * width)[:, None] & there[None, :]
    of = image * channels + columns
    mean = tl.load(mean_of + of, mask=there, other=0.0)
    inverse = tl.load(inverse_of + of, mask=there, other=0.0)
    normed, gradient = _gradient_at(
        x, grad, mean, inverse, image, at, inside, columns, height, width, channels, slope,
        PAD, ACTIVE,
    )  # fmt: skip
    shift = tl.load(sum_of + of, mask=there, other=0.0)[None, :]
    along = tl.load(along_of + of, mask=there, other=0.0)[None, :]
    gradient = (gradient - shift - normed * along) * inverse[None, :]
    to = (image * height * width + at)[:, None] * channels + columns[None, :]
    tl.store(dx + to, gradient.to(dx.dtype.element_ty), mask=inside)


class _Tiles:
    """How the work on maps of one shape is divided."""

    def __init__(self, features: Tensor) -> None:
        self.num, self.channels, self.height, self.width = features.shape
        self.rows = self.height * self.width
        self.C = min(BLOCK_CHANNELS, triton.next_power_of_2(self.channels))
        self.R = BLOCK_ROWS * max(1, BLOCK_CHANNELS // self.C)
        self.parts = triton.cdiv(self.channels, self.C)
        splits = triton.cdiv(PROGRAMS, self.num * self.parts)
        splits = max(1, min(splits, MOST_SPLITS, triton.cdiv(self.rows, self.R)))
        self.chunk = triton.cdiv(triton.cdiv(self.rows, splits), self.R) * self.R
        self.splits = triton.cdiv(self.rows, self.chunk)

    def grid(self, rows: int) -> tuple[int, int, int]:
        """A program for each tile of `rows` rows."""
        return (triton.cdiv(rows, self.R), self.parts, self.num)

    def partial(self, features: Tensor) -> Tensor:
        """Room for a number per chunk and channel."""
        shape = (self.num, self.splits, self.channels)
        return torch.empty(shape, dtype=torch.float32, device=features.device)

    def whole(self, features: Tensor) -> Tensor:
        """Room for a number per image and channel."""
        shape = (self.num, self.channels)
        return torch.empty(shape, dtype=torch.float32, device=features.device)


def forward(
    features: Tensor, eps: float, slope: float | None, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The normed, activated and padded maps, with means and inverse deviations `(N, C)`.

    Args:
        features: `(N, C, H, W)` in channels_last, float32, bfloat16 or float16.
        eps: added to the variance.
        slope: of the activation below 0, None for none.
        padding: rows and columns mirrored on each side, fewer than H and W.
    """
    with torch.cuda.device_of(features):  # where kernels are launched
        return _forward(features, eps, slope, padding)


def _forward(
    features: Tensor, eps: float, slope: float | None, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    tiles = _Tiles(features)
    rows, channels, splits, chunk = tiles.rows, tiles.channels, tiles.splits, tiles.chunk
    means, squares = tiles.partial(features), tiles.partial(features)
    mean, inverse = tiles.whole(features), tiles.whole(features)
    _statistics[(splits, tiles.parts, tiles.num)](
        features, means, squares, rows, channels, splits, chunk, R=tiles.R, C=tiles.C
    )
    _put_together[(tiles.parts, tiles.num)](
        means, squares, mean, inverse, rows, channels, splits, chunk, eps, C=tiles.C
    )
    height, width = tiles.height + 2 * padding, tiles.width + 2 * padding
    output = torch.empty(
        (tiles.num, channels, height, width),
        dtype=features.dtype,
        device=features.device,
        memory_format=torch.channels_last,
    )
    _finish[tiles.grid(height * width)](
        *(features, mean, inverse, output, tiles.height, tiles.width, channels, slope or 0.0),
        PAD=padding,
        ACTIVE=slope is not None,
        R=tiles.R,
        C=tiles.C,
    )
    return output, mean, inverse


def backward(
    gradient: Tensor,
    features: Tensor,
    statistics: tuple[Tensor, Tensor],
    slope: float | None,
    padding: int,
) -> Tensor:
    """The gradient by `features` of what `forward` gave, out of the one by its output.

    Args:
        gradient: `(N, C, H + 2 padding, W + 2 padding)`.
        features: as in `forward`.
        statistics: means and inverse deviations that it gave.
        slope: as in `forward`.
        padding: as in `forward`.
    """
    with torch.cuda.device_of(features):
        return _backward(gradient, features, statistics, slope, padding)


def _backward(
    gradient: Tensor,
    features: Tensor,
    statistics: tuple[Tensor, Tensor],
    slope: float | None,
    padding: int,
) -> Tensor:
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    tiles, (mean, inverse) = _Tiles(features), statistics
    height, width, channels = tiles.height, tiles.width, tiles.channels
    sums, along = tiles.partial(features), tiles.partial(features)
    how = {"PAD": padding, "ACTIVE": slope is not None, "R": tiles.R, "C": tiles.C}
    _gradient_sums[(tiles.splits, tiles.parts, tiles.num)](
        *(features, gradient, mean, inverse, sums, along, height, width, channels),
        *(tiles.splits, tiles.chunk, slope or 0.0),
        **how,
    )
    total, weighted = (part.sum(1).div_(tiles.rows) for part in (sums, along))
    result = torch.empty_like(features, memory_format=torch.channels_last)
    _finish_gradient[tiles.grid(tiles.rows)](
        *(features, gradient, mean, inverse, total, weighted, result),
        *(height, width, channels, slope or 0.0),
        **how,
    )
    return result
