"""Recognises StyleGAN2's networks in the files of stylegan2-pytorch and of what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gancomp.errors import CheckpointError
from gancomp.networks.resample import FixedFilter, binomial_kernel
from gancomp.networks.stylegan2 import AVERAGING_SEED, LATENT_AVG, channels_at
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
    for block in range(num_blocks):
        for index in (2 * block, 2 * block + 1):
            _check_channels(
                width, 8 << block, _length(state, f"convs.{index}.activate.bias", 0), num_blocks
            )
    return {
        "width": width,
        "resolution": 4 << num_blocks,
        "style_channels": _length(state, "style.1.weight", 0),
        "mapping_layers": _count(state, "style.{}.weight", 1),
        "const_channels": _length(state, GENERATOR_MARK, 1),
    }


def _discriminator_settings(state: Mapping[str, Tensor]) -> dict[str, Any]:
    num_blocks = _count(state, "convs.{}.conv1.0.weight", 1)
    width = _length(state, DISCRIMINATOR_MARK, 0)
    for block in range(num_blocks):
        found = _length(state, f"convs.{num_blocks - block}.conv1.0.weight", 1)
        _check_channels(width, 8 << block, found, num_blocks)
    return {"width": width, "resolution": 4 << num_blocks}


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


def _check_channels(width: int, size: int, found: int, num_blocks: int) -> None:
    wanted = channels_at(width, size)
    if found != wanted:
        raise CheckpointError(
            f"is a StyleGAN2 for {4 << num_blocks} pixels with {found} channels at {size} pixels "
            f"and {width} at 4; gancomp knows those with {wanted} there: as many as at 4 up to 64 "
            "pixels, half as many with every step beyond (channel_multiplier 2)"
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
