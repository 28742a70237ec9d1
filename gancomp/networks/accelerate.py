"""The same finished generator, faster on a CPU: equal images up to rounding, from equal weights.

`accelerate` is all that others need. A ResNet generator becomes a line of steps, each one exact: in
real numbers every rewrite gives what the layers give; in floating point the images differ by
rounding. The times named here are `gancomp bench infer`'s of the student of width 16, one image of
256 pixels, on 2 threads of a Xeon with AVX-512, where torch's own layers take 45.9 ms.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.base import TappedNetwork, device_of
from gancomp.networks.layers import TILE, InstanceNorm2d, tiled
from gancomp.networks.resnet import ResidualBlock, ResNetGenerator, SeparableConv
from gancomp.networks.unet import UNetGenerator, UNetLevel
from gancomp.networks.winograd import FrozenConv2d

LANES = 16  # float32 numbers in a vector register: channels below that are computed for nothing

Run = Callable[[Tensor], Tensor]
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


class FastGenerator:
    """A generator at rest, to be called like the network it was made from; for inference only.

    Its weights are those of the moment it was made: where the network's own have changed since, it
    refuses to run. It looks at the place and the version of every tensor, and at the values of the
    first and the last, as fused optimizers count no versions.

    Attributes:
        network: the network it was made from; it stays as it is.
        how: what was rewritten, in words.
    """

    def __init__(self, network: TappedNetwork, run: Run, how: str) -> None:
        self.network, self.how = network, how
        self._run = run
        self._rewritten = run is not network
        self._made_from = list(_state(network))
        self._seen = [weights.clone() for weights in _witnesses(network)]

    @property
    def size_multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return self.network.size_multiple

    @property
    def device(self) -> torch.device:
        """Where the images must lie."""
        return device_of(self.network)

    def __call__(self, images: Tensor) -> Tensor:
        """What the network gives for `(N, C, H, W)` in eval mode, without a graph.

        Raises:
            RuntimeError: if the network's weights have changed or moved since.
        """
        if self._rewritten and not self._is_current():
            raise RuntimeError(
                f"the weights of {self.network.arch} have changed since accelerate(); call it again"
            )
        with torch.no_grad():
            return self._run(images)

    def _is_current(self) -> bool:
        witnesses = zip(self._seen, _witnesses(self.network), strict=True)
        return list(_state(self.network)) == self._made_from and all(
            torch.equal(seen, weights) for seen, weights in witnesses
        )


def accelerate(network: TappedNetwork, rewrites: Rewrites = ALL) -> FastGenerator:
    """The fastest way known to run `network` where it lies, with its weights as they are now.

    Measured with 2 threads at 256 pixels; see `gancomp bench infer`. On a CPU a ResNet generator
    runs as a line of steps, a U-Net in channels_last with its BatchNorms folded. On other
    devices, and in half precision, the network itself runs: nothing was measured to be faster.

    Args:
        network: in eval mode.
        rewrites: less than all of them only to measure what each one brings.

    Raises:
        ValueError: if the network is in training mode, in which it has no fixed output.
    """
    if any(module.training for module in network.modules()):
        raise ValueError(f"accelerate: {network.arch} is in training mode; call eval() before")
    weights = next(network.parameters(), None)
    if weights is None:  # computed by another runtime
        return FastGenerator(network, network, network.how)
    if weights.device.type != "cpu" or weights.dtype not in (torch.float32, torch.float64):
        return FastGenerator(network, network, "eager")
    if isinstance(network, ResNetGenerator):
        with torch.no_grad():
            steps = make_steps(network.model, rewrites)
        if not has_fewer_products(steps):
            rewrites = replace(rewrites, fewer_products=False)
        how = "eager in channels_last, rewritten: " + ", ".join(rewrites.names())
        return FastGenerator(network, _one_by_one(steps), how)
    if isinstance(network, UNetGenerator):
        how = "eager in channels_last, BatchNorms folded"
        return FastGenerator(network, _unet_run(network), how)
    return FastGenerator(network, network, "eager")


def _state(network: nn.Module) -> Iterator[tuple[int, int]]:
    """Where every tensor of the network lies, and how often it was written to."""
    for module in network.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                yield tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def _witnesses(network: nn.Module) -> list[Tensor]:
    """The first and the last weights: every step of a training changes them."""
    weights = [item.detach() for item in network.parameters()]
    return [weights[0], weights[-1]] if weights else []


def _one_by_one(steps: list[LayerStep]) -> Run:
    def run(images: Tensor) -> Tensor:
        # one by one: the norms of a channels_last batch would come to that anyway, and one image's
        # maps stay in the cache
        outputs = []
        for output in torch.split(images, 1):
            for step in steps:
                output = step(output)
            outputs.append(output)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    return run


def _unet_run(network: UNetGenerator) -> Run:
    fast = copy.deepcopy(network)
    for module in fast.modules():
        if isinstance(module, UNetLevel):
            _fold_batch_norms(module.model)
    fast.to(memory_format=torch.channels_last)

    def run(images: Tensor) -> Tensor:
        output: Tensor = fast(images.contiguous(memory_format=torch.channels_last))
        return output.contiguous()

    return run


def _fold_batch_norms(layers: nn.Sequential) -> None:
    """Puts each BatchNorm in eval mode, a scale and a shift, into the convolution before it."""
    for index, (conv, norm) in enumerate(zip(layers[:-1], layers[1:], strict=True)):
        if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
            weight, bias = fold_batch_norm(
                conv.weight, conv.bias, norm, transposed=isinstance(conv, nn.ConvTranspose2d)
            )
            conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
            layers[index + 1] = nn.Identity()
