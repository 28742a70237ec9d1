"""The rewrites behind `accelerate`: a ResNet generator as a line of steps, each one exact.

In real numbers every rewrite gives what the layers give; in floating point the images differ by
rounding. The gains named here are of one 256-pixel image on 2 threads of a Xeon with AVX-512;
`gancomp bench infer` measures them anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.norm import InstanceNorm2d, instance_norm
from gancomp.networks.resnet import ResidualBlock, SeparableConv
from gancomp.networks.tiled import TILE, tiled

LANES = 16  # float32 numbers in a vector register: channels below that are computed for nothing
SUMMED = 64  # columns that the matrix product sums well at once


@dataclass(frozen=True)
class Rewrites:
    """Which rewrites to use beside channels_last; all of them but to measure one's gain."""

    tiled_head: bool = True
    in_place: bool = True
    centred_norms: bool = True

    def names(self) -> list[str]:
        """Those that are used."""
        return [item.name.replace("_", " ") for item in fields(self) if getattr(self, item.name)]


ALL = Rewrites()


class Map(NamedTuple):
    """A feature map of one image, of which a factor per channel may still be outstanding.

    Attributes:
        values: `(1, C, H, W)`.
        scale: `(C,)`, positive: the map is `values * scale`; None stands for 1.
    """

    values: Tensor
    scale: Tensor | None = None

    def settled(self) -> Tensor:
        """The map itself; `values` is used up."""
        return self.values if self.scale is None else self.values.mul_(per_channel(self.scale))


class Step(ABC):
    """One operation on the way through the network."""

    @abstractmethod
    def __call__(self, given: Map) -> Map:
        """The next map; `given` may be used up."""


class ChannelsLast(Step):
    """Moves the image's channels inside, where convolutions want them: 1.7 times faster alone."""

    def __call__(self, given: Map) -> Map:
        """The same values."""
        return given._replace(values=given.values.contiguous(memory_format=torch.channels_last))


class Pad(Step):
    """Reflection padding, which any factor per channel passes through."""

    def __init__(self, layer: nn.ReflectionPad2d) -> None:
        self.padding = layer.padding

    def __call__(self, given: Map) -> Map:
        """A larger map."""
        return given._replace(values=F.pad(given.values, self.padding, mode="reflect"))


class Convolution(Step):
    """A convolution, transposed or not, that takes an outstanding factor into its weights.

    `conv(x * scale)` is a convolution of `x` with weights times `scale`; zero padding stays zero.
    That is a few thousand products instead of a pass over the map.

    Args:
        layer: a convolution of one group, or depthwise.
        norm: what follows it: an InstanceNorm takes the bias off again, so it is left away; a
            BatchNorm, a scale and a shift in eval mode, goes into the weights.
    """

    def __init__(
        self, layer: nn.Conv2d | nn.ConvTranspose2d, norm: nn.Module | None = None
    ) -> None:
        weight, bias = layer.weight.detach(), layer.bias
        self.transposed = isinstance(layer, nn.ConvTranspose2d)
        if isinstance(norm, nn.BatchNorm2d):
            weight, bias = fold_batch_norm(weight, bias, norm, transposed=self.transposed)
        elif isinstance(norm, InstanceNorm2d):
            bias = None
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach()
        self.stride, self.groups = layer.stride, layer.groups
        self.padding = _numbers(layer.padding)
        self.output_padding = _numbers(layer.output_padding)
        # which dimension of the weights counts the channels that come in
        self.per_input = (-1, 1, 1, 1) if self.transposed or layer.groups > 1 else (1, -1, 1, 1)

    def __call__(self, given: Map) -> Map:
        """A map without a factor."""
        weight = self.weight
        if given.scale is not None:
            weight = weight * given.scale.view(self.per_input)
        return Map(self.convolve(given.values, weight))

    def convolve(self, values: Tensor, weight: Tensor) -> Tensor:
        """The convolution with these weights."""
        if self.transposed:
            return F.conv_transpose2d(
                values, weight, self.bias, self.stride, self.padding, self.output_padding
            )
        return F.conv2d(values, weight, self.bias, self.stride, self.padding, groups=self.groups)


def _numbers(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    assert isinstance(padding, tuple), "our networks name no padding by a word"
    return padding


class TiledConvolution(Convolution):
    """A convolution to few channels, as one with stride 2 that computes 2x2 pixels at once.

    To 3 channels of 16 lanes the 7x7 head wastes most of the machine. Its kernel stands at the four
    places of an 8x8 kernel instead, one for each pixel of a tile, which gives 12 channels: 1.31
    times the products, 2.7 times faster (4.9 to 1.8 ms at width 16).
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
        self.weight, self.bias = tiled(self.weight, self.bias)
        self.stride = (TILE, TILE)

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        """Whether the layer is one that gains by it."""
        return (
            isinstance(layer, nn.Conv2d)
            and layer.groups == 1
            and layer.stride == (1, 1)
            and layer.padding == (0, 0)
            and layer.out_channels * TILE * TILE <= LANES
        )

    def convolve(self, values: Tensor, weight: Tensor) -> Tensor:
        """`(1, out, H, W)`, contiguous; H and W are even, as a transposed convolution made them."""
        tiles = super().convolve(values, weight)
        num, channels, height, width = tiles.shape
        parts = tiles.view(num, channels // TILE**2, TILE, TILE, height, width)
        return parts.permute(0, 1, 4, 2, 5, 3).reshape(num, -1, TILE * height, TILE * width)


class Norm(Step):
    """InstanceNorm by torch's own kernel, which writes the whole map anew."""

    def __init__(self, layer: InstanceNorm2d) -> None:
        self.eps = layer.eps

    def __call__(self, given: Map) -> Map:
        """A map without a factor."""
        return Map(instance_norm(given.settled(), self.eps))


class CentredNorm(Step):
    """InstanceNorm that subtracts the mean and leaves the division to whoever comes next.

    The factor 1 / std is positive, so it passes through a ReLU and a padding into the next
    convolution's weights, or into the sum of a residual block. The map is read three times and
    written once; torch's kernel takes half as much time again, and needs a pass of its own for each
    of them. Dividing a map with the mean already gone, the variance is free of cancellation.

    Args:
        layer: the layer.
        centred: whether the mean is 0 already: a 1x1 convolution of a centred map is centred. That
            leaves a third of the work (0.04 instead of 0.12 ms for 64 channels of 64x64).
    """

    def __init__(self, layer: InstanceNorm2d, *, centred: bool) -> None:
        self.eps, self.centred = layer.eps, centred

    def __call__(self, given: Map) -> Map:
        """The same values, less their mean, with the factor."""
        values = given.settled()
        num_positions = values.shape[2] * values.shape[3]
        if num_positions == 1:
            raise ValueError(f"instance norm of {tuple(values.shape)}: needs more than 1 position")
        if not self.centred:
            values.sub_(per_channel(channel_sums(values) / num_positions))
        variance = channel_sums(values * values) / num_positions
        return Map(values, torch.rsqrt_(variance.add_(self.eps)))


class Relu(Step):
    """ReLU, which a positive factor passes through."""

    def __init__(self, *, in_place: bool) -> None:
        self.in_place = in_place

    def __call__(self, given: Map) -> Map:
        """The positive part."""
        return given._replace(values=F.relu(given.values, inplace=self.in_place))


class Tanh(Step):
    """The end of a generator."""

    def __init__(self, *, in_place: bool) -> None:
        self.in_place = in_place

    def __call__(self, given: Map) -> Map:
        """A map without a factor."""
        values = given.settled()
        return Map(values.tanh_() if self.in_place else values.tanh())


class Residual(Step):
    """A residual block: the factor of its last norm is applied on the way into the sum."""

    def __init__(self, steps: Sequence[Step], *, in_place: bool) -> None:
        self.steps, self.in_place = steps, in_place

    def __call__(self, given: Map) -> Map:
        """A map without a factor."""
        inputs = given.settled()
        inner = Map(inputs)
        for step in self.steps:
            inner = step(inner)
        total = inputs if self.in_place else inputs.clone()
        if inner.scale is None:
            return Map(total.add_(inner.values))
        return Map(total.addcmul_(inner.values, per_channel(inner.scale)))


def per_channel(numbers: Tensor) -> Tensor:
    """`(C,)` as `(1, C, 1, 1)`."""
    return numbers.view(1, -1, 1, 1)


def channel_sums(values: Tensor) -> Tensor:
    """The sum of each channel of a channels_last map `(1, C, H, W)`, as `(C,)`.

    As a product of a row of ones with the map as a matrix, of which a few positions side by side
    make one row: narrow sums leave a CPU idle (0.06 instead of 0.29 ms for 16 channels of 256x256).
    """
    num_channels, num_positions = values.shape[1], values.shape[2] * values.shape[3]
    beside = 1
    while num_channels * beside < SUMMED and num_positions % (2 * beside) == 0:
        beside *= 2
    matrix = values.permute(0, 2, 3, 1).reshape(num_positions // beside, num_channels * beside)
    sums = values.new_ones(1, len(matrix)) @ matrix
    return sums.view(beside, num_channels).sum(0) if beside > 1 else sums.view(num_channels)


def make_steps(layers: nn.Sequential, rewrites: Rewrites) -> list[Step]:
    """The steps of a whole generator in eval mode."""
    return [ChannelsLast(), *_steps(list(_plain(layers)), rewrites)]


def _plain(layers: nn.Module) -> Iterator[nn.Module]:
    """The layers in order, out of their containers, less those that do nothing in eval mode."""
    for layer in layers.children():
        if isinstance(layer, nn.Sequential | SeparableConv):
            yield from _plain(layer)
        elif not isinstance(layer, nn.Identity | nn.Dropout):
            yield layer


def _steps(layers: Sequence[nn.Module], rewrites: Rewrites) -> Iterator[Step]:
    in_place, centred = rewrites.in_place, False
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            convolution = _convolution(layer, following, rewrites)
            centred = centred and convolution.bias is None and layer.kernel_size == (1, 1)
            yield convolution
        elif isinstance(layer, InstanceNorm2d) and rewrites.centred_norms:
            yield CentredNorm(layer, centred=centred)
            centred = True
        elif isinstance(layer, InstanceNorm2d):
            yield Norm(layer)
        elif isinstance(layer, ResidualBlock):
            yield Residual(
                list(_steps(list(_plain(layer.conv_block)), rewrites)), in_place=in_place
            )
            centred = False
        elif isinstance(layer, nn.ReLU):
            yield Relu(in_place=in_place)
            centred = False
        elif isinstance(layer, nn.ReflectionPad2d):
            yield Pad(layer)
            centred = False
        elif isinstance(layer, nn.Tanh):
            yield Tanh(in_place=in_place)
        else:
            assert isinstance(layer, nn.BatchNorm2d), f"no step for {layer}"


def _convolution(
    layer: nn.Conv2d | nn.ConvTranspose2d, following: nn.Module | None, rewrites: Rewrites
) -> Convolution:
    if rewrites.tiled_head and isinstance(following, nn.Tanh) and TiledConvolution.fits(layer):
        assert isinstance(layer, nn.Conv2d)
        return TiledConvolution(layer)
    return Convolution(layer, following)


def fold_batch_norm(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d, *, transposed: bool
) -> tuple[Tensor, Tensor]:
    """Weights and bias of a convolution that gives what `norm` in eval mode made of its output."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    gain = norm.weight.detach() / torch.sqrt(variance + norm.eps)
    shift = norm.bias.detach() - mean * gain
    if bias is not None:
        shift = shift + bias.detach() * gain
    return weight.detach() * gain.view((1, -1, 1, 1) if transposed else (-1, 1, 1, 1)), shift
