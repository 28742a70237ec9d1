"""The form in which a generator is exported: equal images, out of tensors and torch's own layers.

Every rewrite is exact but for rounding. Runtimes know the layers of torch and fuse those; what our
own layers do for the sake of training and of PyTorch's CPU kernels only hides them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.base import TappedNetwork
from gancomp.networks.layers import (
    TILE,
    ConvBeforeNorm2d,
    ImageConv2d,
    TransposedConvBeforeNorm2d,
    tiled,
)
from gancomp.networks.plain import plain_copy
from gancomp.networks.spectral import (
    SpectralConv2d,
    SpectralEmbedding,
    SpectralLinear,
    SpectralNorm,
)
from gancomp.networks.stylegan2 import StyleGAN2
from gancomp.networks.synthesis import Latents, SynthesisGenerator

LANES = 16  # float32 numbers in a vector register: the tiled head must not have more channels
UNFOLDED: dict[type[nn.Module], type[nn.Module]] = {
    SpectralConv2d: nn.Conv2d,
    SpectralLinear: nn.Linear,
    SpectralEmbedding: nn.Embedding,
}


@dataclass(frozen=True)
class Form:
    """A generator that takes and gives tensors only.

    Attributes:
        module: in eval mode on the CPU; takes the inputs in their order.
        inputs: their names: `image`; or `z`, with `classes` or `truncation` where it has them.
        size_multiple: height and width of `image` are multiples of this; 0 where there is none.
        scale: how many times higher and wider than `image` the output is.
        channels: of the images it takes (0 where it takes none) and gives.
        fixed_size: height and width of its images (of noise: of those it gives) where it is for one
            size alone.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    size_multiple: int
    scale: int
    channels: tuple[int, int]
    fixed_size: tuple[int, int] | None = None


def exported_form(network: TappedNetwork) -> Form:
    """The generator as it is exported; `network` stays as it is.

    Args:
        network: a generator of images out of images or out of noise, in eval mode.
    """
    form = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    for module in form.modules():
        if isinstance(module, SpectralNorm):
            _fold_spectral_norm(module)
        elif isinstance(module, ConvBeforeNorm2d | TransposedConvBeforeNorm2d):
            module.bias = None  # the norm behind it takes it off again
    if isinstance(form, SynthesisGenerator):
        return _synthesis(form)
    if form.size_multiple % TILE == 0:
        _tile_heads(form)
    settings = form.settings()
    return Form(
        _Translation(plain_copy(form)),
        ("image",),
        form.size_multiple,
        form.scale,
        (settings.get("in_channels", 3), settings.get("out_channels", 3)),
    )


def _synthesis(network: SynthesisGenerator) -> Form:
    if isinstance(network, StyleGAN2):
        return Form(_StyleSynthesis(network), ("z", "truncation"), 0, 1, (0, 3))
    plain = plain_copy(network)
    if network.num_classes is None:
        return Form(_Synthesis(plain), ("z",), 0, 1, (0, 3))
    return Form(_ClassSynthesis(plain), ("z", "classes"), 0, 1, (0, 3))


class _Translation(nn.Module):
    def __init__(self, network: TappedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.network(image)
        return output


class _Synthesis(nn.Module):
    def __init__(self, network: SynthesisGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.network(Latents(z))
        return images


class _ClassSynthesis(_Synthesis):
    def forward(self, z: Tensor, classes: Tensor) -> Tensor:  # type: ignore[override]  # one more
        images: Tensor = self.network(Latents(z, classes))
        return images


class _StyleSynthesis(nn.Module):
    """StyleGAN2 with its own constant noise; the average style is part of it."""

    average: Tensor

    def __init__(self, network: StyleGAN2) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("average", network.average_style().detach().clone())

    def forward(self, z: Tensor, truncation: Tensor) -> Tensor:
        style = self.average + truncation * (self.network.map(z) - self.average)
        return self.network.synthesize(style[:, None].expand(-1, self.network.num_styles, -1))


class TiledConv2d(nn.Module):
    """`ImageConv2d` whose tiles' kernel is a constant instead of being made in every pass."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, head: ImageConv2d) -> None:
        super().__init__()
        weight, bias = tiled(head.weight.detach(), None if head.bias is None else head.bias)
        self.register_buffer("weight", weight.contiguous())
        self.register_buffer("bias", bias)

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, out, H - k + 1, W - k + 1)`, both even."""
        return F.pixel_shuffle(F.conv2d(features, self.weight, self.bias, stride=TILE), TILE)


def _tile_heads(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, ImageConv2d) and layer.out_channels * TILE**2 <= LANES:
                setattr(module, name, TiledConv2d(layer))


def _fold_spectral_norm(layer: SpectralNorm) -> None:
    with torch.no_grad():
        weight = layer.normalized_weight().clone()
    layer.weight = nn.Parameter(weight, requires_grad=False)
    del layer.u0, layer.sv0
    layer.__class__ = UNFOLDED[type(layer)]  # type: ignore[assignment]  # no longer of that kind


def example_inputs(form: Form, network: TappedNetwork, size: tuple[int, int], count: int) -> Any:
    """Inputs for a pass: smooth images with some noise in [-1, 1], or latents; always the same.

    Args:
        form: of the network.
        network: what it was made from.
        size: height and width of images, multiples of `size_multiple`.
        count: images.

    Returns: one tensor per input.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    if isinstance(network, SynthesisGenerator):
        z = torch.randn(count, network.latent_size, generator=generator)
        given = {"z": z, "truncation": torch.tensor(0.7)}
        if network.num_classes is not None:
            given["classes"] = torch.arange(count) % network.num_classes
        return tuple(given[name] for name in form.inputs)
    coarse = torch.rand((count, form.channels[0], 4, 4), generator=generator) * 2 - 1
    noise = torch.randn((count, form.channels[0], *size), generator=generator) * 0.1
    smooth = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return ((smooth + noise).clamp(-1, 1),)
