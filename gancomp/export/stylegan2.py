"""Recognizes StyleGAN2's networks in the files of stylegan2-pytorch and of what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gancomp.errors import CheckpointError
from gancomp.networks.resample import FixedFilter, binomial_kernel
from gancomp.networks.stylegan2 import AVERAGING_SEED, LATENT_AVG, MULTIPLIERS, channels_at
from gancomp.registry import build_network

LAYOUT = "stylegan2-pytorch"
GENERATOR_MARK, DISCRIMINATOR_MARK = "input.input", "final_conv.0.weight"


def with_average(content: Mapping[str, Any], state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """`state`, a part of `content`, with the average style that lies beside the parts.

    Only a generator takes it, and only if it brings none of its own.
    """
    average = content.get(LATENT_AVG)
    if GENERATOR_MARK not in state or LATENT_AVG in state or not isinstance(average, Tensor):
        return state
    return {**state, LATENT_AVG: average}


def stylegan2_network(
    state: Mapping[str, Tensor],
) -> tuple[str, dict[str, Any], dict[str, Tensor]] | None:
    """Our name, settings and tensors of the network that `state` belongs to, None if to none.

    Kernels and noise are not learned: those that are missing are what they are by default, and
    those that no layer has are left out.

    Raises:
        CheckpointError: if it is a StyleGAN2 of a kind that we do not have; the message has no
            path.
    """
    if GENERATOR_MARK in state and "conv1.conv.weight" in state:
        arch, settings = "stylegan2", _generator_settings(state)
    elif DISCRIMINATOR_MARK in state and "convs.0.0.weight" in state:
        arch, settings = "stylegan2-discriminator", _discriminator_settings(state)
    else:
        return None
    return arch, settings, _with_buffers(arch, settings, state)


def _generator_settings(state: Mapping[str, Tensor]) -> dict[str, Any]:
    num_blocks = _count(state, "to_rgbs.{}.bias", 0)
    width = _length(state, "conv1.activate.bias", 0)
    found = {
        8 << index // 2: _length(state, f"convs.{index}.activate.bias", 0)
        for index in range(2 * num_blocks)
    }
    return {
        "width": width,
        "resolution": 4 << num_blocks,
        "style_channels": _length(state, "style.1.weight", 0),
        "mapping_layers": _count(state, "style.{}.weight", 1),
        "const_channels": _length(state, GENERATOR_MARK, 1),
    } | _multiplier(width, found)


def _discriminator_settings(state: Mapping[str, Tensor]) -> dict[str, Any]:
    num_blocks = _count(state, "convs.{}.conv1.0.weight", 1)
    width = _length(state, DISCRIMINATOR_MARK, 0)
    found = {
        8 << block: _length(state, f"convs.{num_blocks - block}.conv1.0.weight", 1)
        for block in range(num_blocks)
    }
    return {"width": width, "resolution": 4 << num_blocks} | _multiplier(width, found)


def _count(state: Mapping[str, Tensor], pattern: str, first: int) -> int:
    """How many keys of that pattern there are, numbered from `first` on."""
    number = 0
    while pattern.format(first + number) in state:
        number += 1
    return number


def _length(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    if name not in state or state[name].ndim <= axis:
        raise CheckpointError(f"is a StyleGAN2 without a usable {name}; the file is damaged")
    return state[name].shape[axis]


def _multiplier(width: int, found: Mapping[int, int]) -> dict[str, int]:
    """The setting for the channels in `found`, by the size of their maps; none where it is 2."""
    for multiplier in reversed(MULTIPLIERS):
        wanted = {size: channels_at(width, size, multiplier) for size in found}
        if found == wanted:
            return {} if multiplier == 2 else {"channel_multiplier": multiplier}
    usual = {size: channels_at(width, size) for size in found}
    size = next(size for size in found if found[size] != usual[size])
    raise CheckpointError(
        f"is a StyleGAN2 for {max(found)} pixels with {found[size]} channels at {size} pixels "
        f"and {width} at 4; gancomp knows those with {usual[size]} there: as many as at 4 up to 64 "
        "pixels (channel_multiplier 2) or up to 32 (1), half as many with every step beyond"
    )


def _with_buffers(
    arch: str, settings: dict[str, Any], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    with torch.device("meta"):
        network = build_network(arch, **settings)
    buffers = dict(network.named_buffers())
    tensors = {
        name: tensor
        for name, tensor in state.items()
        if name in buffers or not name.endswith(".kernel") and not name.startswith("noises.")
    }
    generator = torch.Generator("cpu").manual_seed(AVERAGING_SEED)
    for name, buffer in buffers.items():
        noise = torch.randn(buffer.shape, generator=generator)
        layer = network.get_submodule(name.rpartition(".")[0])
        default = binomial_kernel(layer.gain) if isinstance(layer, FixedFilter) else noise
        tensors.setdefault(name, default)
    return tensors
