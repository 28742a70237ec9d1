"""The rewrites behind `accelerate`: a ResNet generator as a line of steps, each one exact.

In real numbers every rewrite gives what the layers give; in floating point the images differ by
rounding. The times named here are `gancomp bench infer`'s of the student of width 16, one image of
256 pixels, on 2 threads of a Xeon with AVX-512, where torch's own layers take 45.9 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.norm import InstanceNorm2d
from gancomp.networks.resnet import ResidualBlock, SeparableConv
from gancomp.networks.tiled import TILE, tiled
from gancomp.networks.winograd import FrozenConv2d

LANES = 16  # float32 numbers in a vector register: channels below that are computed for nothing

# one operation on the way through the network, from `(1, C, H, W)`, which it may use up
LayerStep = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rewrites:
    """Which rewrites to use beside channels_last; all of them but to measure one's gain.

    Attributes:
        tiled_head: see `TiledConvolution`.
        fewer_products: see `FrozenConv2d`, for wide layers: a ResNet-9 of width 64 takes
            0.6 of the time it takes without; the student has none.
        in_place: ReLU, tanh and the sums of residual blocks write where they read (24.2 to
            21.2 ms).
    """

    tiled_head: bool = True
    fewer_products: bool = True
    in_place: bool = True

    def names(self) -> list[str]:
        """Those that are used."""
        return [item.name.replace("_", " ") for item in fields(self) if getattr(self, item.name)]


ALL = Rewrites()


def to_channels_last(image: Tensor) -> Tensor:
    """The same values with the channels inside, where convolutions want them.

    With norms that keep that order 26.2 instead of 45.9 ms; with torch's, which do not, 50.6.
    """
    return image.contiguous(memory_format=torch.channels_last)


class Convolution:
    """A convolution, or a transposed one of one group, with weights of its own.

    Args:
        layer: the layer.
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

    def __call__(self, given: Tensor) -> Tensor:
        """The next map."""
        weight, bias, stride, padding = self.weight, self.bias, self.stride, self.padding
        if self.transposed:
            return F.conv_transpose2d(given, weight, bias, stride, padding, self.output_padding)
        return F.conv2d(given, weight, bias, stride, padding, groups=self.groups)


def _numbers(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    assert isinstance(padding, tuple), "our networks name no padding by a word"
    return padding


class TiledConvolution(Convolution):
    """A convolution to few channels, as one with stride 2 that computes 2x2 pixels at once.

    To 3 channels of 16 lanes the 7x7 head wastes most of the machine. Its kernel stands at the four
    places of an 8x8 kernel instead, one for each pixel of a tile, which gives 12 channels: 1.31
    times the products, and yet 24.2 instead of 26.2 ms for the whole student.
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

    def __call__(self, given: Tensor) -> Tensor:
        """`(1, out, H, W)`, contiguous; H and W are even, as a transposed convolution made them."""
        tiles = super().__call__(given)
        num, channels, height, width = tiles.shape
        parts = tiles.view(num, channels // TILE**2, TILE, TILE, height, width)
        return parts.permute(0, 1, 4, 2, 5, 3).reshape(num, -1, TILE * height, TILE * width)


class Residual:
    """A residual block."""

    def __init__(self, steps: Sequence[LayerStep], *, in_place: bool) -> None:
        self.steps, self.in_place = steps, in_place

    def __call__(self, given: Tensor) -> Tensor:
        """The sum of the map and what the steps make of it."""
        inner = given
        for step in self.steps:  # the first is a padding, which leaves `given` as it is
            inner = step(inner)
        return given.add_(inner) if self.in_place else given + inner


def has_fewer_products(steps: Sequence[LayerStep]) -> bool:
    """Whether any step is a `FrozenConv2d`: not every generator is wide enough for one."""
    return any(
        has_fewer_products(step.steps) if isinstance(step, Residual) else type(step) is FrozenConv2d
        for step in steps
    )


def make_steps(layers: nn.Sequential, rewrites: Rewrites) -> list[LayerStep]:
    """The steps of a whole generator in eval mode."""
    return [to_channels_last, *_steps(list(_plain(layers)), rewrites)]


def _plain(layers: nn.Module) -> Iterator[nn.Module]:
    """The layers in order, out of their containers, less those that do nothing in eval mode."""
    for layer in layers.children():
        if isinstance(layer, nn.Sequential | SeparableConv):
            yield from _plain(layer)
        elif not isinstance(layer, nn.Identity | nn.Dropout):
            yield layer


def _steps(layers: Sequence[nn.Module], rewrites: Rewrites) -> Iterator[LayerStep]:
    in_place = rewrites.in_place
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            yield _convolution(layer, following, rewrites)
        elif isinstance(layer, ResidualBlock):
            inner = list(_steps(list(_plain(layer.conv_block)), rewrites))
            yield Residual(inner, in_place=in_place)
        elif isinstance(layer, nn.ReLU):
            yield partial(F.relu, inplace=in_place)
        elif isinstance(layer, nn.Tanh):
            yield torch.tanh_ if in_place else torch.tanh
        elif isinstance(layer, InstanceNorm2d | nn.ReflectionPad2d):
            yield layer  # has no weights, and nothing is faster
        else:
            assert isinstance(layer, nn.BatchNorm2d), f"no step for {layer}"


def _convolution(
    layer: nn.Conv2d | nn.ConvTranspose2d, following: nn.Module | None, rewrites: Rewrites
) -> LayerStep:
    if rewrites.tiled_head and isinstance(following, nn.Tanh) and TiledConvolution.fits(layer):
        assert isinstance(layer, nn.Conv2d)
        return TiledConvolution(layer)
    step = Convolution(layer, following)
    if rewrites.fewer_products and layer.groups == 1 and not step.transposed:
        conv = FrozenConv2d.of(step.weight, step.bias, stride=step.stride, padding=step.padding)
        if conv.may_gain:
            return conv
    return step


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
