"""The same network out of torch's own layers alone: what the fast ways are measured against."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from gancomp.networks.layers import (
    ConvBeforeNorm2d,
    ImageConv2d,
    InstanceNorm2d,
    ReflectionPad2d,
    ReLUAfterNorm,
    TransposedConvBeforeNorm2d,
)
from gancomp.networks.winograd import FrozenConv2d

Module = TypeVar("Module", bound=nn.Module)


def plain_copy(network: Module) -> Module:
    """A contiguous copy, equal weights and all, as PyTorch's users would have written it."""
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    for use in (
        use_torch_norms,
        use_torch_paddings,
        use_torch_heads,
        use_torch_biases,
        use_torch_frozen,
    ):
        use(plain)
    return plain.train(network.training)


def use_torch_norms(network: nn.Module) -> None:
    """Puts `nn.InstanceNorm2d` into the place of ours, and `nn.ReLU` behind it."""
    for module in network.modules():
        for name, layer in module.named_children():
            if isinstance(layer, InstanceNorm2d):
                setattr(module, name, nn.InstanceNorm2d(layer.num_features, eps=layer.eps))
    _become(network, {ReLUAfterNorm: nn.ReLU})


def use_torch_paddings(network: nn.Module) -> None:
    """Puts torch's paddings, which keep their input, where ours do not on a CPU."""
    _become(network, {ReflectionPad2d: nn.ReflectionPad2d})


def use_torch_heads(network: nn.Module) -> None:
    """Puts plain convolutions where ours compute an image in tiles."""
    _become(network, {ImageConv2d: nn.Conv2d})


def use_torch_biases(network: nn.Module) -> None:
    """Puts plain convolutions where ours compute no gradient of a bias that has none."""
    _become(
        network,
        {ConvBeforeNorm2d: nn.Conv2d, TransposedConvBeforeNorm2d: nn.ConvTranspose2d},
    )


def use_torch_frozen(network: nn.Module) -> None:
    """Puts plain convolutions where ours make use of weights that are not trained."""
    _become(network, {FrozenConv2d: nn.Conv2d})


def _become(network: nn.Module, classes: dict[type[nn.Module], type[nn.Module]]) -> None:
    for module in network.modules():
        if type(module) in classes:
            # the subclasses add another forward pass, and at most what it keeps for the next one
            module.__class__ = classes[type(module)]
