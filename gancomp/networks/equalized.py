"""Layers with equalized learning rates: weights near N(0, 1), scaled when they are used."""

from __future__ import annotations

import contextlib
import math
from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of every leaky ReLU
GAIN = math.sqrt(2)  # follows every leaky ReLU, which halves the variance


def activated(features: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2; its gain of sqrt(2) belongs into what comes before.

    A leaky ReLU of x times a positive number is that number times the leaky ReLU of x, so that the
    gain is cheaper on weights and biases than on feature maps.
    """
    return F.leaky_relu(features, SLOPE)


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """No autocast within, for what is small and must be exact."""
    if tensor.is_meta:
        return contextlib.nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)


def draw_normal(values: Tensor, generator: torch.Generator, std: float = 1.0) -> None:
    """Fills `values` from N(0, std^2), the same wherever it lies."""
    drawn = torch.empty(values.shape, dtype=values.dtype, device=generator.device)
    with torch.no_grad():
        values.copy_(drawn.normal_(0.0, std, generator=generator))


class EqualLinear(nn.Module):
    """`(..., out)` from `(..., in)`: weights scaled by `lr_mul / sqrt(in)`, biases by `lr_mul`.

    Args:
        in_channels: numbers in.
        out_channels: numbers out.
        lr_mul: how much slower than the others this layer learns.
        initial_bias: of every output.
        activate: leaky ReLU and its gain on the outputs.

    Source: Karras et al. 2018 (progressive GAN), section 4.1; lr_mul: Karras et al. 2019.
    """

    fan_in_axis = 1  # of the weight, by whose length it is scaled

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        lr_mul: float = 1.0,
        initial_bias: float = 0.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.lr_mul, self.initial_bias, self.activate = lr_mul, initial_bias, activate
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def draw_weights(self, generator: torch.Generator) -> None:
        """Weights from N(0, 1) / lr_mul, the bias as asked for."""
        draw_normal(self.weight, generator, 1 / self.lr_mul)
        nn.init.constant_(self.bias, self.initial_bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(..., out)`."""
        gain = self.lr_mul * (GAIN if self.activate else 1.0)
        weight = self.weight * (gain / math.sqrt(self.weight.shape[1]))
        bias = self.bias if gain == 1 else self.bias * gain
        outputs = F.linear(inputs, weight, bias)
        return activated(outputs) if self.activate else outputs


class EqualWeight(nn.Module):
    """The weight `(out, in, k, k)` of a convolution, to be scaled by `1 / sqrt(in k k)`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))

    def draw_weights(self, generator: torch.Generator) -> None:
        """From N(0, 1)."""
        draw_normal(self.weight, generator)

    def scaled(self, gain: float) -> Tensor:
        """The weight to convolve with, times `gain`."""
        return self.weight * (gain / math.sqrt(self.weight[0].numel()))


class Bias(nn.Module):
    """One number per channel, 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(channels))

    def draw_weights(self, generator: torch.Generator) -> None:
        """0."""
        nn.init.zeros_(self.bias)


class EqualConv(nn.Sequential):
    """A convolution, with a filter before it, a bias or an activation after it, as one step.

    Its parts are modules of their own for the sake of their names in checkpoints: the filter if
    there is one, the weight, the bias if there is one.

    Args:
        in_channels: of the maps it takes.
        out_channels: of the maps it gives.
        kernel: height and width of the weight.
        before: a filter to apply first; the convolution then pads nothing.
        stride: of the convolution.
        activate: a bias, leaky ReLU and its gain on the outputs; else nothing of the three.
        gain: by what the outputs are multiplied besides.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        before: nn.Module | None = None,
        stride: int = 1,
        activate: bool = True,
        gain: float = 1.0,
    ) -> None:
        weight = EqualWeight(in_channels, out_channels, kernel)
        parts: list[nn.Module] = [weight] if before is None else [before, weight]
        super().__init__(*parts, *([Bias(out_channels)] if activate else []))
        self.filtered, self.activate, self.stride = before is not None, activate, stride
        self.padding = 0 if self.filtered else kernel // 2
        self.gain = gain * (GAIN if activate else 1.0)

    def forward(self, features: Tensor) -> Tensor:
        """`(N, out, H', W')`."""
        if self.filtered:
            features = self[0](features)
        weight = cast("EqualWeight", self[int(self.filtered)]).scaled(self.gain)
        if not self.activate:
            return F.conv2d(features, weight, None, self.stride, self.padding)
        bias = cast("Bias", self[-1]).bias * self.gain
        return activated(F.conv2d(features, weight, bias, self.stride, self.padding))
