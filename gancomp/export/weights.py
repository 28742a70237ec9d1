"""Puts tensors into a network, or says in one line why they are not that network's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gancomp.errors import CheckpointError
from gancomp.export.containers import shortened
from gancomp.networks.base import TappedNetwork


def fill(
    network: TappedNetwork,
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    otherwise: str = "the file is damaged or of an architecture that gancomp does not know",
) -> None:
    """Makes copies of `tensors` the weights of `network`, built on the meta device; eval mode.

    Floating-point tensors of any precision become float32.

    Args:
        network: with the names, shapes and types that are wanted.
        tensors: what the file holds.
        path: the file, for messages.
        otherwise: what else may be wrong if they do not fit, for messages.

    Raises:
        CheckpointError: if names, shapes or types differ, with the first difference.
    """
    network.expect(tensors)
    expected = network.state_dict()
    problems = [f"{key} is missing" for key in expected if key not in tensors]
    problems += [f"{key} is unknown" for key in tensors if key not in expected]
    for key, value in expected.items():
        if key in tensors:
            problems += _differences(key, tensors[key], value)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise CheckpointError(
            f"{path}: its weights do not fit {network.arch}: {shortened(problems[0])}{more}; "
            f"{otherwise}"
        )
    weights = {
        key: tensors[key].detach().to(value.dtype, copy=True, memory_format=torch.contiguous_format)
        for key, value in expected.items()
    }
    network.load_state_dict(weights, assign=True)
    network.eval()


def _differences(key: str, given: Tensor, wanted: Tensor) -> list[str]:
    if given.shape != wanted.shape:
        return [f"{key} is {list(given.shape)} instead of {list(wanted.shape)}"]
    if given.layout != torch.strided or given.is_quantized or given.is_meta:
        return [f"{key} is not a plain tensor"]
    if given.dtype.is_floating_point != wanted.dtype.is_floating_point or given.dtype.is_complex:
        return [f"{key} holds {given.dtype} instead of {wanted.dtype}"]
    return []
