"""Convolutions whose input channels a style weighs, and what StyleGAN2 builds of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gancomp.networks.equalized import (
    GAIN,
    Bias,
    EqualLinear,
    activated,
    draw_normal,
    full_precision,
)
from gancomp.networks.resample import Blur, Upsample

EPS = 1e-8


class ModulatedConv2d(nn.Module):
    """A convolution `(N, in, H, W)` to `(N, out, H', W')` with other weights for every image.

    Image by image, the weights are `w s`, with a factor `s` for each input channel that follows
    from the image's style; demodulated, each output channel's are divided by their norm. A
    convolution is linear in its input as in its weights, so that scaling the channels of the input
    and of the output comes to the same: one ordinary convolution serves the whole batch.

    Args:
        in_channels: of the maps it takes.
        out_channels: of the maps it gives.
        kernel: height and width of the weights.
        style_channels: numbers in a style.
        upsample: gives maps twice as high and wide, by a transposed convolution and a blur.
        demodulate: whether output channels are divided by their weights' norm.

    Source: Karras et al. 2020 (StyleGAN2), eq. 1-3.
    """

    fan_in_axis = 2  # of the weight, by whose length it is scaled

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        style_channels: int,
        *,
        upsample: bool = False,
        demodulate: bool = True,
    ) -> None:
        super().__init__()
        self.upsample, self.demodulate = upsample, demodulate
        self.weight = nn.Parameter(torch.empty(1, out_channels, in_channels, kernel, kernel))
        self.modulation = EqualLinear(style_channels, in_channels, initial_bias=1.0)
        if upsample:
            self.blur = Blur(1, gain=4.0)
        if kernel == 1:
            self.mix = ChannelMix()

    def draw_weights(self, generator: torch.Generator) -> None:
        """Weights from N(0, 1); the style's part draws its own."""
        draw_normal(self.weight, generator)

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """`(N, out, H', W')` for features `(N, in, H, W)` and styles `(N, style_channels)`."""
        inward, outward = self.factors(style)
        outputs = self.convolve(features, inward)
        return outputs * _as_maps(outward, outputs) if self.demodulate else outputs

    def factors(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """Factors `(N, in)` of the input channels and `(N, out)` of the output channels.

        The equalized scale of the weights is in the former; without demodulation the latter are 1.
        In float32 or better, whatever autocast says.
        """
        with full_precision(style):
            scale = 1 / math.sqrt(self.weight[0, 0].numel())
            inward = self.modulation(style.to(self.weight.dtype)) * scale
            if not self.demodulate:
                return inward, inward.new_ones(())
            squares = self.weight[0].square().sum((2, 3))
            return inward, (F.linear(inward.square(), squares) + EPS).rsqrt()

    def convolve(self, features: Tensor, inward: Tensor) -> Tensor:
        """The convolution between the two factors, and the blur that belongs to upsampling."""
        weight = self.weight[0]
        if weight.shape[-1] == 1:
            mixed: Tensor = self.mix(features, weight[:, :, 0, 0] * inward[:, None])
            return mixed
        features = features * _as_maps(inward, features)
        if not self.upsample:
            return F.conv2d(features, weight, padding=weight.shape[-1] // 2)
        outputs: Tensor = self.blur(F.conv_transpose2d(features, weight.transpose(0, 1), stride=2))
        return outputs

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ModulatedConv2d:
        # five dimensions cannot be put into channels_last order, the four that count can
        super()._apply(  # type: ignore[no-untyped-call]  # torch left it untyped
            lambda tensor: fn(tensor[0])[None] if tensor.dim() == 5 else fn(tensor), recurse
        )
        return self


class ChannelMix(nn.Module):
    """1x1 convolutions with other weights for each image, as products of matrices.

    Each value is read once, where scaling the maps would read and write them once more.
    """

    counted_as = "convolutions"

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        """`(N, out, H, W)` for features `(N, C, H, W)` and weights `(N, out, C)`."""
        count, _, height, width = features.shape
        if features.is_contiguous():
            return torch.bmm(weights, features.flatten(2)).view(count, -1, height, width)
        rows = features.permute(0, 2, 3, 1).reshape(count, height * width, -1)
        outputs = torch.bmm(rows, weights.transpose(1, 2))
        return outputs.view(count, height, width, -1).permute(0, 3, 1, 2)


class NoiseStrength(nn.Module):
    """One learned number, 0 at first, by which noise is multiplied before it is added."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1))

    def draw_weights(self, generator: torch.Generator) -> None:
        """0."""
        nn.init.zeros_(self.weight)


class StyledConv(nn.Module):
    """A demodulated 3x3 convolution, noise, a bias and leaky ReLU times sqrt(2).

    Args:
        in_channels: of the maps it takes.
        out_channels: of the maps it gives.
        style_channels: numbers in a style.
        upsample: gives maps twice as high and wide.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style_channels: int, *, upsample: bool = False
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, style_channels, upsample=upsample)
        self.noise = NoiseStrength()
        self.activate = Bias(out_channels)

    def forward(self, features: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """`(N, out, H', W')` for features `(N, in, H, W)`, styles `(N, style_channels)` and noise.

        The noise is `(N, 1, H', W')`, or `(1, 1, H', W')` for the same on every image.
        """
        inward, outward = self.conv.factors(style)
        outputs: Tensor = self.conv.convolve(features, inward)
        bias = (self.activate.bias * GAIN).to(outputs.dtype).view(1, -1, 1, 1)
        outputs = torch.addcmul(bias, outputs, _as_maps(outward * GAIN, outputs))
        return activated(outputs + (noise * (self.noise.weight * GAIN)).to(outputs.dtype))


class ToRGB(nn.Module):
    """Adds what the features say in red, green and blue to the image of half the size.

    Args:
        in_channels: of the features.
        style_channels: numbers in a style.
        upsample: whether there is a smaller image to add to.
    """

    def __init__(self, in_channels: int, style_channels: int, *, upsample: bool = True) -> None:
        super().__init__()
        if upsample:
            self.upsample = Upsample()
        self.conv = ModulatedConv2d(in_channels, 3, 1, style_channels, demodulate=False)
        self.bias = nn.Parameter(torch.empty(1, 3, 1, 1))

    def draw_weights(self, generator: torch.Generator) -> None:
        """The bias is 0; its parts draw their own."""
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor, style: Tensor, smaller: Tensor | None = None) -> Tensor:
        """`(N, 3, H, W)` for features `(N, in, H, W)` and an image `(N, 3, H / 2, W / 2)`."""
        image: Tensor = self.conv(features, style) + self.bias
        if smaller is None:
            return image
        with full_precision(smaller):  # three channels cost nothing, and errors would add up
            larger: Tensor = self.upsample(smaller)
        return image + larger


def _as_maps(factors: Tensor, features: Tensor) -> Tensor:
    """`(N, C)` as `(N, C, 1, 1)` in the type of the features they multiply."""
    return factors.to(features.dtype)[:, :, None, None]
