"""Fixed filters that make images and feature maps larger, smaller or smoother."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gancomp.networks.equalized import full_precision

TAPS = (1.0, 3.0, 3.0, 1.0)


def binomial_kernel(gain: float = 1.0) -> Tensor:
    """`(4, 4)`: the outer product of 1, 3, 3, 1 with itself, its sum scaled to `gain`.

    Source: Karras et al. 2020 (StyleGAN2), after Zhang 2019.
    """
    taps = torch.tensor(TAPS, dtype=torch.float64, device="cpu")
    kernel = torch.outer(taps, taps)
    return kernel * (gain / kernel.sum())


class FixedFilter(nn.Module):
    """A `(4, 4)` kernel that is the same for every channel and is not learned.

    It is a buffer, for published checkpoints have it among their weights; what they bring is used.

    Args:
        gain: the sum of the kernel.
    """

    counted_as = "filters"  # apart from what is learned
    kernel: Tensor

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.register_buffer("kernel", torch.empty(len(TAPS), len(TAPS)))
        self.reset()

    def reset(self) -> None:
        """Makes the kernel what it is by default."""
        if not self.kernel.is_meta:
            self.kernel.copy_(binomial_kernel(self.gain))


def filter_maps(
    features: Tensor,
    kernel: Tensor,
    stride: int,
    padding: int,
    size: tuple[int, ...] | None = None,
) -> Tensor:
    """Each channel of `(N, C, H, W)` convolved with one kernel, which gets no gradient.

    Args:
        features: what to filter.
        kernel: `(k, k)`.
        stride: of the convolution.
        padding: of the convolution.
        size: makes it the transposed convolution, whose outputs are that high and wide.
    """
    differentiated = features.requires_grad and torch.is_grad_enabled()
    if differentiated and not torch.compiler.is_compiling():  # nobody does that twice, compiled
        filtered: Tensor = _Filtering.apply(features, kernel, stride, padding, size)
        return filtered
    return _filter(features, kernel, stride, padding, size)


class _Filtering(torch.autograd.Function):
    """`_filter`, whose gradient is filtered in the same way, however often it is differentiated.

    Differentiated twice, torch's convolution also works out gradients of the kernel, one channel
    after the other, though nobody asks for them; and it keeps the features until then.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        kernel: Tensor,
        stride: int,
        padding: int,
        size: tuple[int, ...] | None,
    ) -> Tensor:
        ctx.save_for_backward(kernel)
        back = tuple(features.shape[2:]) if size is None else None
        ctx.how = stride, padding, back
        with full_precision(features):  # gradients have the type of what they belong to
            return _filter(features, kernel, stride, padding, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (kernel,) = ctx.saved_tensors
        return _Filtering.apply(*gradients, kernel, *ctx.how), None, None, None, None


def _filter(
    features: Tensor, kernel: Tensor, stride: int, padding: int, size: tuple[int, ...] | None
) -> Tensor:
    channels = features.shape[1]
    weight = kernel.to(features.dtype).expand(channels, 1, *kernel.shape)
    if size is None:
        return F.conv2d(features, weight, None, stride, padding, groups=channels)
    height, width = ((n - 1) * stride + len(kernel) - 2 * padding for n in features.shape[2:])
    more = size[0] - height, size[1] - width
    return F.conv_transpose2d(features, weight, None, stride, padding, more, groups=channels)


class Blur(FixedFilter):
    """Smooths `(N, C, H, W)`: pads with zeros, filters, and keeps every `stride`th value.

    Args:
        padding: rows and columns of zeros on each side.
        gain: the sum of the kernel.
        stride: 2 leaves out every second row and column, without having computed them.
    """

    def __init__(self, padding: int, *, gain: float = 1.0, stride: int = 1) -> None:
        super().__init__(gain)
        self.padding, self.stride = padding, stride

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H', W')` with `H' = (H + 2 padding - 4) // stride + 1`."""
        return filter_maps(features, self.kernel, self.stride, self.padding)


class Upsample(FixedFilter):
    """`(N, C, 2 H, 2 W)` out of `(N, C, H, W)`: zeros put between the values, then filtered.

    The zeros are never multiplied. At the border two of them come before the first value and one
    after the last.
    """

    def __init__(self) -> None:
        super().__init__(gain=4.0)

    def forward(self, features: Tensor) -> Tensor:
        """Twice as high and wide."""
        size = 2 * features.shape[2], 2 * features.shape[3]
        return filter_maps(features, self.kernel, 2, 1, size)
