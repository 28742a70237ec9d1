"""The exported form for phones: images of one size, out of what their runtimes can compute whole.

XNNPACK has no instance norm and no reflection, but means, products, slices and sums of them; with
those in their place, it takes a network as one piece instead of giving maps back in between.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.export.form import Form, example_inputs, exported_form
from gancomp.export.model import LoadedModel
from gancomp.networks.base import TappedNetwork
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.registry import DISCRIMINATORS
from gancomp.sizes import Size, as_size, check_size, shown_size, sides


def fixed_form(model: LoadedModel, size: Size | None) -> Form:
    """The exported form of a generator for images of one size.

    Args:
        model: the generator.
        size: of the images that it takes; by default the model's own.

    Raises:
        ConfigError: for a discriminator, or a size that the generator cannot take.
    """
    network = model.network
    if network.arch in DISCRIMINATORS:
        raise ConfigError(f"{model.path}: is a discriminator; give a generator")
    form = exported_form(network)
    replace_norms_and_paddings(form.module)
    return of_one_size(form, model, size)


def of_one_size(form: Form, model: LoadedModel, size: Size | None) -> Form:
    """The form with the one size of images that it is to be for.

    Args:
        form: of the model's network.
        model: the generator.
        size: of the images that it takes; by default the model's own.

    Raises:
        ConfigError: for a size that the generator cannot take.
    """
    network = model.network
    if isinstance(network, SynthesisGenerator):
        if size not in (None, network.resolution):
            raise ConfigError(
                f"`size` {shown_size(size or 0)}: this {network.arch} gives images of "
                f"{network.resolution} pixels; remove it"
            )
        return replace(form, fixed_size=(network.resolution, network.resolution))
    step = form.size_multiple
    own = as_size(*(step * max(1, length // step) for length in model.header["input"]["size"]))
    check_size(size)
    height, width = sides(size or own)
    if height % step or width % step:
        raise ConfigError(
            f"`size` {shown_size(size or own)}: {network.arch} needs multiples of {step}"
        )
    return replace(form, fixed_size=(height, width))


def one_input(form: Form, network: TappedNetwork) -> Any:
    """What a generator of one size is traced with: a single image, or what makes one."""
    assert form.fixed_size is not None
    return example_inputs(form, network, form.fixed_size, 1)


def fixed_shapes(form: Form, network: TappedNetwork) -> list[tuple[int, ...]] | None:
    """Those of the inputs of a form for images of one size; None where it takes all."""
    if form.fixed_size is None:
        return None
    return [tuple(value.shape) for value in one_input(form, network)]


def replace_norms_and_paddings(network: nn.Module) -> None:
    """Puts norms made of means and paddings made of slices into the place of torch's layers."""
    for module in list(network.modules()):
        for name, layer in module.named_children():
            if type(layer) is nn.InstanceNorm2d and not layer.track_running_stats:
                setattr(module, name, NormOfMeans(layer))
            elif type(layer) is nn.ReflectionPad2d:
                setattr(module, name, PaddingOfSlices(layer))


class NormOfMeans(nn.Module):
    """`nn.InstanceNorm2d`, written out."""

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, norm: nn.InstanceNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        self.register_buffer("weight", _as_map(norm.weight if norm.affine else None))
        self.register_buffer("bias", _as_map(norm.bias if norm.affine else None))

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        centered = features - features.mean((2, 3), keepdim=True)
        variance = (centered * centered).mean((2, 3), keepdim=True)
        normed = centered * torch.rsqrt(variance + self.eps)
        if self.weight is None or self.bias is None:
            return normed
        return normed * self.weight + self.bias


def _as_map(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.detach()[:, None, None]


class PaddingOfSlices(nn.Module):
    """`nn.ReflectionPad2d`, written out: rows and columns one by one, mirrored."""

    def __init__(self, padding: nn.ReflectionPad2d) -> None:
        super().__init__()
        self.padding = tuple(padding.padding)

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C, H + top + bottom, W + left + right)`."""
        left, right, top, bottom = self.padding
        for axis, before, after in ((2, top, bottom), (3, left, right)):
            length = features.shape[axis]
            first = [features.narrow(axis, k, 1) for k in range(before, 0, -1)]
            last = [features.narrow(axis, length - 2 - k, 1) for k in range(after)]
            features = torch.cat([*first, features, *last], axis)
        return features
