"""A convolution to very few channels, such as an image's three, computed in tiles of 2x2 pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 2  # larger tiles would waste more on zeros than they gain


class ImageConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 and without padding, for the layer that ends in an image.

    Vector units and tensor cores work on 8 or 16 output channels at a time; with 3 most of each
    idles. Here each output position computes a tile of 2x2 pixels: the kernel stands four times,
    at four offsets, in a kernel one larger, with stride 2 and 12 output channels, and a pixel
    shuffle puts the tiles together. The added products are with zeros.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, out, H - k + 1, W - k + 1)`."""
        height, width = (
            length - kernel + 1
            for length, kernel in zip(input.shape[2:], self.kernel_size, strict=True)
        )
        # without numbers there is nothing to be fast at, and costs are those of the convolution
        if input.is_meta or height % TILE or width % TILE:
            return super().forward(input)
        weight, bias = tiled(self.weight, self.bias)
        return F.pixel_shuffle(F.conv2d(input, weight, bias, stride=TILE), TILE)


def tiled(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The kernel and bias with which a convolution of stride 2 computes tiles of 2x2 pixels.

    Args:
        weight: `(out, in, k, l)`.
        bias: `(out,)` or None.

    Returns: `(4 out, in, k + 1, l + 1)` and `(4 out,)`, in the order that `pixel_shuffle` takes.
    """
    offsets = [(row, column) for row in range(TILE) for column in range(TILE)]
    last = TILE - 1
    shifted = [F.pad(weight, (left, last - left, top, last - top)) for top, left in offsets]
    layout = torch.channels_last if is_channels_last(weight) else torch.contiguous_format
    kernel = torch.stack(shifted, dim=1).flatten(0, 1).contiguous(memory_format=layout)
    return kernel, None if bias is None else bias.repeat_interleave(TILE**2)


def is_channels_last(values: Tensor) -> bool:
    """Whether `values` lie in channels_last order and in no other."""
    return values.is_contiguous(memory_format=torch.channels_last) and not values.is_contiguous()
