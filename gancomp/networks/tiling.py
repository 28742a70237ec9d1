"""Enlarges images of any size in bounded memory: in tiles, each with all that its pixels see."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor, nn

from gancomp.networks.base import TappedNetwork, device_of

# With its surroundings a tile of 192 pixels costs SRResNet (64 filters, 16 blocks, x4) 0.7 GB. Half
# of what is computed is then surroundings; a tile of 256 would still be two fifths.
TILE = 192


def upscale(network: TappedNetwork, images: Tensor, *, tile: int = TILE) -> Tensor:
    """The network's output for images of any size, `scale` times as high and wide.

    Args:
        network: for super-resolution, in eval mode.
        images: `(N, C, H, W)` in [-1, 1].
        tile: side of a tile in input pixels, without its surroundings.

    Returns: `(N, C, scale * H, scale * W)` on the CPU.

    Raises:
        ValueError: for `tile` below 1.
    """
    count, channels, height, width = images.shape
    result = torch.empty(count, channels, network.scale * height, network.scale * width)
    for rows, columns, part in upscaled_tiles(network, images, tile=tile):
        result[:, :, rows, columns] = part
    return result


@torch.no_grad()
def upscaled_tiles(
    network: TappedNetwork, images: Tensor, *, tile: int = TILE
) -> Iterator[tuple[slice, slice, Tensor]]:
    """The pieces of `upscale`'s result: their rows, their columns and they themselves, on the CPU.

    Every tile is given the surroundings that its output depends on, cut at the image's own border,
    where the network pads as it does for the whole image. With BatchNorm's running statistics the
    pieces are therefore those of the whole image's output, but for the order of float32 sums.

    Args:
        network: for super-resolution, in eval mode.
        images: `(N, C, H, W)` in [-1, 1].
        tile: side of a tile in input pixels, without its surroundings. An image not larger than a
            tile with them is one piece. A network for images of one size sees those alone, in
            images that are not smaller.

    Raises:
        ValueError: for `tile` below 1.
    """
    if tile < 1:
        raise ValueError(f"tile {tile}: must be at least 1")
    device = device_of(network)
    halo, scale = receptive_radius(network.described), network.scale
    height, width = network.fixed_size or (None, None)
    for rows in _tiles(images.shape[2], tile, halo, height):
        for columns in _tiles(images.shape[3], tile, halo, width):
            part = network(images[:, :, rows.seen, columns.seen].to(device))
            kept = part[:, :, rows.kept(scale), columns.kept(scale)]
            yield rows.result(scale), columns.result(scale), kept.cpu()


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
    """Rows (or columns) of one tile: what it sees, what of its output is kept, where that goes."""

    def __init__(self, start: int, stop: int, seen: slice) -> None:
        self.start, self.stop, self.seen = start, stop, seen

    def kept(self, scale: int) -> slice:
        first = self.seen.start
        return slice((self.start - first) * scale, (self.stop - first) * scale)

    def result(self, scale: int) -> slice:
        return slice(self.start * scale, self.stop * scale)


def _tiles(length: int, tile: int, halo: int, fixed: int | None) -> Iterator[_Span]:
    """Spans of nearly equal size, none above `tile`; a single one where it needs no more room.

    Or such that all see `fixed`, where that is enough for a tile and its surroundings.
    """
    if fixed is not None and 2 * halo < fixed <= length:
        yield from _equal_tiles(length, halo, fixed)
        return
    count = 1 if length <= tile + 2 * halo else ceil(length / tile)
    for index in range(count):
        start, stop = index * length // count, (index + 1) * length // count
        yield _Span(start, stop, slice(max(start - halo, 0), min(stop + halo, length)))


def _equal_tiles(length: int, halo: int, seen: int) -> Iterator[_Span]:
    start = 0
    while start < length:
        first = min(max(start - halo, 0), length - seen)
        stop = length if first + seen == length else first + seen - halo
        yield _Span(start, stop, slice(first, first + seen))
        start = stop
