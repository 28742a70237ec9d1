"""Enlarges images of any size in bounded memory: in tiles, each with all that its pixels see."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor, nn

from gancomp.networks.base import TappedNetwork

# With its surroundings a tile of 192 pixels costs SRResNet (64 filters, 16 blocks, x4) 0.7 GB; about
# half of what is computed is then surroundings, in larger tiles little less.
TILE = 192


@torch.no_grad()
def upscale(network: TappedNetwork, images: Tensor, *, tile: int = TILE) -> Tensor:
    """The network's output for images of any size, `scale` times as high and wide.

    Every tile is given the surroundings that its output depends on, cut at the image's own border,
    where the network pads as it does for the whole image. With BatchNorm's running statistics the
    result is therefore that of the whole image, but for the order of float32 sums.

    Args:
        network: for super-resolution, in eval mode.
        images: `(N, C, H, W)` in [-1, 1].
        tile: side of a tile in input pixels, without its surroundings.

    Returns: `(N, C, scale * H, scale * W)` on the CPU.

    Raises:
        ValueError: for `tile` below 1.
    """
    if tile < 1:
        raise ValueError(f"tile {tile}: must be at least 1")
    device = next(network.parameters()).device
    height, width = images.shape[2:]
    halo, scale = receptive_radius(network), network.scale
    if max(height, width) <= tile + 2 * halo:
        whole: Tensor = network(images.to(device)).cpu()
        return whole
    result = torch.empty(len(images), images.shape[1], scale * height, scale * width)
    for rows in _tiles(height, tile, halo):
        for columns in _tiles(width, tile, halo):
            (top, bottom), (left, right) = rows.seen, columns.seen
            part = network(images[:, :, top:bottom, left:right].to(device))
            y, x = rows.start * scale, columns.start * scale
            result[:, :, y : rows.stop * scale, x : columns.stop * scale] = part[
                :,
                :,
                (rows.start - top) * scale : (rows.stop - top) * scale,
                (columns.start - left) * scale : (columns.stop - left) * scale,
            ].cpu()
    return result


def receptive_radius(network: nn.Module) -> int:
    """How many input pixels away from an output pixel's own can still change it, rounded up.

    The sum over all convolutions, each at the resolution it works at; skips see less and do not
    add. Convolutions and pixel shuffles must be registered in the order in which they run. 16
    residual blocks at x4: 4 + 32 + 1 + 1 + 1/2 + 1, so 40.
    """
    radius, factor = 0.0, 1
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            reach = max(
                (size - 1) * dilation
                for size, dilation in zip(module.kernel_size, module.dilation, strict=True)
            )
            radius += reach / 2 / factor
        elif isinstance(module, nn.PixelShuffle):
            factor *= module.upscale_factor
    return ceil(radius)


class _Span:
    """Rows (or columns) of one tile: what it gives and what it must see for that."""

    def __init__(self, start: int, stop: int, length: int, halo: int) -> None:
        self.start, self.stop = start, stop
        self.seen = max(start - halo, 0), min(stop + halo, length)


def _tiles(length: int, tile: int, halo: int) -> Iterator[_Span]:
    """Spans of nearly equal size, none above `tile`."""
    count = ceil(length / tile)
    for index in range(count):
        yield _Span(index * length // count, (index + 1) * length // count, length, halo)
