"""Frozen 3x3 convolutions with a quarter of the products, on CPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL, TILE, POINTS = 3, 4, 6  # in each direction 6 products give 4 outputs of 3 products each
# from 6 inputs and 3 weights to the factors of those products, and from these to the 4 outputs
INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
FILTER = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
AT_ONE = POINTS + 1  # what is added at this point is added to every output
# measured: with fewer channels the sums before and after take what the products save
LEAST_CHANNEL_PAIRS = 80 * 192  # in times out
LEAST_TILES = 16  # fewer do not pay for reading four times the weights
TILES_AT_ONCE = 512  # whose sums stay in a processor's cache


class FrozenConv2d(nn.Conv2d):
    """`nn.Conv2d` whose weights are not trained, equal but for rounding.

    Where it pays it computes 4x4 outputs at a time from 36 products instead of 144: on a CPU, in
    float32, for 3x3 kernels with stride 1 and many channels. With 256 channels it takes half of
    the time, and its root mean square error is 3e-6 of the output's instead of 2e-7.

    The transformed weights, four times as many, are kept from the first pass on, and as many for
    the gradient. Weights written to through `.data` after that are not noticed.

    Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks" (Winograd's
    minimal filtering).
    """

    _kept: dict[bool, Tensor] | None = None
    _made_from: tuple[Tensor | None, int] = (None, 0)  # which weights, how often written to

    @classmethod
    def of(
        cls,
        weight: Tensor,
        bias: Tensor | None,
        *,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> FrozenConv2d:
        """The convolution with these weights `(out, in, k, l)`, of one group."""
        num_out, num_in, height, width = weight.shape
        with torch.device("meta"):  # where initialization draws nothing and costs nothing
            conv = cls(
                num_in,
                num_out,
                (height, width),
                stride=(stride[0], stride[1]),
                padding=(padding[0], padding[1]),
                bias=bias is not None,
            )
        conv.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            conv.bias = nn.Parameter(bias, requires_grad=False)
        return conv

    def forward(self, input: Tensor) -> Tensor:
        """`(N, in, H, W)` to `(N, out, h, w)`; only `input` gets a gradient."""
        if not self._pays_off(input):
            return super().forward(input)
        filters, padding = self._filters(mirrored=False), int(self.padding[0])
        if not (torch.is_grad_enabled() and input.requires_grad):
            return convolve(input, filters, bias=self.bias, padding=padding)
        mirrored = self._filters(mirrored=True)
        output: Tensor = _Winograd.apply(input, filters, mirrored, self.bias, padding)
        return output

    @property
    def may_gain(self) -> bool:
        """Whether there are inputs for which fewer products pay."""
        return (
            not any(weights.requires_grad for weights in self.parameters())
            and self.weight.dtype == torch.float32
            and self.kernel_size == (KERNEL, KERNEL)
            and self.stride == self.dilation == (1, 1)
            and self.groups == 1
            and self.padding in ((0, 0), (1, 1))
            and self.padding_mode == "zeros"
            and self.in_channels * self.out_channels >= LEAST_CHANNEL_PAIRS
        )

    def _pays_off(self, input: Tensor) -> bool:
        if torch.compiler.is_compiling() or input.ndim != 4:  # what is kept is none of a graph
            return False
        num, _, height, width = input.shape
        return (
            input.device.type == "cpu"
            and input.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and num * _num_tiles(height) * _num_tiles(width) >= LEAST_TILES
            and self.may_gain
        )

    def _filters(self, *, mirrored: bool) -> Tensor:
        """Transformed when they are first needed; those of the gradient are the mirrored ones."""
        weight = self.weight
        version = 0 if weight.is_inference() else weight._version
        if self._kept is None or self._made_from[0] is not weight or self._made_from[1] != version:
            self._kept, self._made_from = {}, (weight, version)
        if mirrored not in self._kept:
            # of use in any mode, whatever the mode is now
            with torch.inference_mode(False), torch.no_grad():
                swapped = weight.flip(2, 3).transpose(0, 1) if mirrored else weight
                self._kept[mirrored] = transform(swapped)
        return self._kept[mirrored]

    def _apply(self, fn: Any, recurse: bool = True) -> FrozenConv2d:
        """As every module's: it changes device and type of the weights without a new version."""
        self._kept = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch left it untyped
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Without what is kept, which is large and made again by the first pass of a copy."""
        return self.__dict__ | {"_kept": None, "_made_from": (None, 0)}


def transform(weight: Tensor) -> Tensor:
    """The weights `(out, in, 3, 3)` as the filters `(36, in, out)` of `convolve`."""
    taps = weight.permute(2, 3, 1, 0).reshape(KERNEL**2, -1)
    return (_both_ways(FILTER) @ taps).view(POINTS**2, weight.shape[1], weight.shape[0])


def convolve(features: Tensor, filters: Tensor, *, bias: Tensor | None, padding: int) -> Tensor:
    """The convolution of `features` with zeros around them.

    Args:
        features: `(N, in, H, W)`, float32, on the CPU.
        filters: `(36, in, out)`, of `transform`.
        bias: `(out,)`, if any.
        padding: rows and columns of zeros, on each side.

    Returns: `(N, out, H + 2 padding - 2, W + 2 padding - 2)` in channels_last.
    """
    num, channels, *lengths = features.shape
    height, width = (length + 2 * padding - KERNEL + 1 for length in lengths)
    down, across = _num_tiles(height), _num_tiles(width)
    missing = [
        count * TILE + KERNEL - 1 - length - padding
        for count, length in zip((across, down), reversed(lengths), strict=True)
    ]
    padded = F.pad(features, (padding, missing[0], padding, missing[1])).permute(0, 2, 3, 1)
    windows = padded.unfold(1, POINTS, TILE).unfold(2, POINTS, TILE)
    num_filters = filters.shape[2]
    outputs = torch.empty(
        (num, num_filters, down * TILE, across * TILE),
        dtype=features.dtype,
        device=features.device,
        memory_format=torch.channels_last,
    )
    tiles = outputs.permute(0, 2, 3, 1).view(num, down, TILE, across, TILE, num_filters)
    inward, outward = _both_ways(INPUT), _both_ways(OUTPUT)
    for images, rows in _parts(num, down, across):
        # (images, rows, across, channels, 6, 6) with the 36 places outermost
        part = windows[images, rows].permute(4, 5, 0, 1, 2, 3)
        shape = part.shape[2:5]
        spectra = (inward @ part.reshape(POINTS**2, -1)).view(POINTS**2, -1, channels)
        products = torch.bmm(spectra, filters)
        if bias is not None:
            products[AT_ONE] += bias
        found = (outward @ products.view(POINTS**2, -1)).view(TILE, TILE, *shape, num_filters)
        tiles[images, rows].copy_(found.permute(2, 3, 0, 4, 1, 5))
    if outputs.shape[2:] == (height, width):
        return outputs
    # a copy in any case: nobody may write in place to a view that leaves an autograd function
    return outputs[:, :, :height, :width].clone(memory_format=torch.channels_last)


def _num_tiles(length: int) -> int:
    return -(-length // TILE)


def _parts(num: int, down: int, across: int) -> Iterator[tuple[slice, slice]]:
    """Images and rows of tiles that are computed together."""
    num_images = max(1, TILES_AT_ONCE // (down * across))
    num_rows = down if num_images > 1 else max(1, TILES_AT_ONCE // across)
    for image in range(0, num, num_images):
        for row in range(0, down, num_rows):
            yield slice(image, image + num_images), slice(row, row + num_rows)


def _both_ways(matrix: Sequence[Sequence[float]]) -> Tensor:
    """The matrix for both directions of an image at once."""
    values = torch.tensor(matrix, dtype=torch.float32, device="cpu")
    return torch.kron(values, values)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        filters: Tensor,
        mirrored: Tensor,
        bias: Tensor | None,
        padding: int,
    ) -> Tensor:
        ctx.filters, ctx.padding = mirrored, KERNEL - 1 - padding
        return convolve(features, filters, bias=bias, padding=padding)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):  # whatever it is, the forward pass had none
            gradient = convolve(grad_output, ctx.filters, bias=None, padding=ctx.padding)
        return gradient, None, None, None, None
