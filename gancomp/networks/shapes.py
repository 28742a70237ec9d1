"""Sizes of a network's maps, found on the meta device: nothing is computed where that can be."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from gancomp.networks.base import TappedNetwork

Module = TypeVar("Module", bound=nn.Module)
_KNOWN: dict[tuple[Any, ...], list[tuple[int, int]]] = {}


def tap_sizes(
    network: TappedNetwork,
    taps: Sequence[str],
    size: tuple[int, int],
    *,
    running_statistics: bool = False,
) -> list[tuple[int, int]]:
    """Height and width of each tap, in training mode; found once for networks of equal settings.

    Args:
        network: on any device; it is not touched.
        taps: names out of its `tap_names()`.
        size: height and width of the input.
        running_statistics: BatchNorm layers use theirs, so that a map of one pixel will do.

    Raises:
        ValueError, RuntimeError: as torch does, if a map becomes too small for a layer.
    """
    if network.is_own or network.needs_values:
        return _tap_sizes(network, taps, size, running_statistics=running_statistics)
    settings = json.dumps(network.settings(), default=str)
    key = type(network), network.arch, settings, tuple(taps), size, running_statistics
    if key not in _KNOWN:
        _KNOWN[key] = _tap_sizes(network, taps, size, running_statistics=running_statistics)
    return list(_KNOWN[key])


def _tap_sizes(
    network: TappedNetwork,
    taps: Sequence[str],
    size: tuple[int, int],
    *,
    running_statistics: bool,
) -> list[tuple[int, int]]:
    device = "cpu" if network.needs_values else "meta"
    twin = copy.deepcopy(network).to(device).train()
    if running_statistics:
        for module in twin.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
    for module in twin.modules():
        module.register_forward_hook(_refuse_empty)
    inputs = torch.zeros(1, twin.settings()["in_channels"], *size, device=device)
    with torch.no_grad():
        return [(item.shape[2], item.shape[3]) for item in twin.features(inputs, taps).values()]


def _refuse_empty(module: nn.Module, inputs: Any, output: Any) -> None:
    """Raises ValueError for a map without positions: on the meta device torch 2.11 makes some."""
    if isinstance(output, torch.Tensor) and 0 in output.shape[2:]:
        raise ValueError(f"a map of {tuple(output.shape[2:])} is left by {type(module).__name__}")


def without_data(network: Module) -> Module:
    """A copy of `network` whose tensors have shapes only; the data is never copied."""
    ghosts: dict[int, Any] = {}
    for parameter in network.parameters():
        ghosts[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
    for buffer in network.buffers():
        ghosts[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, ghosts)
