"""Convolutions that round as they will in 8 bits, so that training takes the error into account.

What is rounded, and how, is what `gancomp quantize` does: weights to 255 levels of each output
channel's largest magnitude, inputs to 256 levels between the least and the greatest value of the
batch, 0 among them. Sums, norms and activations are not. Gradients pass as if nothing were rounded.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3; per channel as in Krishnamoorthi 2018.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gancomp.ranks import current

LEVELS = 255
LARGEST = 127  # of a weight, in levels
SMALLEST_STEP = 1e-12  # for what is 0 everywhere
KINDS = (nn.Conv2d, nn.ConvTranspose2d)


class FakeQuantization:
    """Switches the rounding of a network's convolutions on and off.

    It takes part in training mode only: in eval mode the network computes as ever. Parameters, keys
    and copies stay those of the plain network.

    Args:
        network: whose `nn.Conv2d` and `nn.ConvTranspose2d` are meant, subclasses included.
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = [layer for layer in network.modules() if isinstance(layer, KINDS)]
        self._handles: list[RemovableHandle] = []

    def switch(self, *, on: bool) -> None:
        """Rounds from now on, or no longer."""
        if on == bool(self._handles):
            return
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for layer in self.layers if on else []:
            self._handles.append(layer.register_forward_pre_hook(_round))
            self._handles.append(layer.register_forward_hook(_restore, always_call=True))


def _round(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    if not layer.training:
        return None
    weight: Tensor = layer._parameters["weight"]  # type: ignore[assignment]  # every such layer has one
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    # found before the parameter of that name, whatever the layer does with it
    layer.__dict__["weight"] = rounded_weight(weight, axis)
    return (rounded_input(inputs[0]), *inputs[1:])


def _restore(layer: nn.Module, inputs: Any, output: Any) -> None:
    layer.__dict__.pop("weight", None)


def rounded_weight(weight: Tensor, axis: int) -> Tensor:
    """The weights that 8 bits can hold, symmetric around 0, one scale per channel along `axis`."""
    others = [dim for dim in range(weight.dim()) if dim != axis]
    scale = (weight.detach().abs().amax(dim=others).float() / LARGEST).clamp(min=SMALLEST_STEP)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, axis, -LARGEST, LARGEST)


def rounded_input(features: Tensor) -> Tensor:
    """The maps that 8 bits can hold between their least and greatest value, one scale for all."""
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    least, most = _ends(wide.detach())
    least, most = least.clamp(max=0), most.clamp(min=0)
    scale = ((most - least) / LEVELS).clamp(min=SMALLEST_STEP)
    zero = (-least / scale).round().to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(wide, scale, zero, 0, LEVELS)


def _ends(features: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest value, of all ranks' batches."""
    least, most = torch.aminmax(features)
    ranks = current()
    if ranks.size == 1:
        return least, most
    of_all = ranks.gathered(torch.stack([least, most])[None])
    return of_all[:, 0].amin(), of_all[:, 1].amax()
