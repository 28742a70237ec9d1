"""What the papers' released code gave, and the inputs it was given, rebuilt from a hash.

`golden/*.json` hold a value of each kind of term, computed once in float64 by the code that
its `repositories` name; large tensors are summaries. Nothing is random here: `u(shape, k)` hashes
the position of each element.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gancomp.losses.perceptual import PerceptualFeatures, load_perceptual
from gancomp.networks.plain import use_torch_frozen

FILES = sorted((Path(__file__).parent / "golden").glob("*.json"))
EXACT = 1e-9  # float64 formulas, whatever the order of their sums
VGG_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
Module = TypeVar("Module", bound=nn.Module)


@functools.cache
def entries() -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {}
    for file in FILES:
        values |= json.loads(file.read_text())["entries"]
    return values


def golden(name: str) -> dict[str, Any]:
    return entries()[name]


def u(shape: tuple[int, ...], k: int) -> Tensor:
    """float64 in (0, 1): a 32-bit hash of the flat index, shifted by `k`."""
    mask = np.uint64(0xFFFFFFFF)
    n = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(k) * np.uint64(2654435769)
    n = n & mask
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        n = ((n ^ (n >> np.uint64(shift))) * np.uint64(factor)) & mask
    n = n ^ (n >> np.uint64(16))
    return torch.from_numpy(((n.astype(np.float64) + 0.5) / 2**32).reshape(shape))


def g(shape: tuple[int, ...], k: int) -> Tensor:
    """Mean 0, variance 1, within (-3, 3)."""
    return 2 * (u(shape, 3 * k) + u(shape, 3 * k + 1) + u(shape, 3 * k + 2) - 1.5)


def img(shape: tuple[int, int, int, int], k: int) -> Tensor:
    """Waves with noise, within (-1, 1)."""
    channel = torch.arange(shape[1], dtype=torch.float64).view(1, -1, 1, 1)
    y = torch.arange(shape[2], dtype=torch.float64).view(1, 1, -1, 1)
    x = torch.arange(shape[3], dtype=torch.float64).view(1, 1, 1, -1)
    return 0.5 * torch.sin(0.11 * x + 0.07 * (channel + 1) * y + k) + 0.4 * (2 * u(shape, k) - 1)


def image_pair() -> tuple[Tensor, Tensor]:
    """The teacher's and the student's image of most entries."""
    shape = (1, 3, 64, 64)
    return img(shape, 1), (0.8 * img(shape, 1) + 0.2 * img(shape, 2)).requires_grad_()


def fill(module: Module, base: int, *, he: bool = False) -> Module:
    """`module` in float64, each tensor of its state filled by its position there."""
    module = module.double()
    with torch.no_grad():
        for position, (name, tensor) in enumerate(module.state_dict().items(), start=base):
            if not tensor.is_floating_point():
                continue
            shape = tuple(tensor.shape)
            if tensor.dim() >= 2:
                scale = math.sqrt(2 / math.prod(shape[1:])) if he else 0.05
                tensor.copy_(scale * g(shape, position))
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + u(shape, 3 * position))
            elif name.endswith(("bias", "running_mean")):
                tensor.copy_(0.1 * g(shape, position))
            else:
                tensor.copy_(1 + 0.1 * g(shape, position))
    return module


@functools.cache
def vgg() -> PerceptualFeatures:
    """VGG16 of hashed weights, in float64."""
    features = load_perceptual("random", None, taps=VGG_TAPS, say=print)
    assert features is not None
    features = features.double()
    use_torch_frozen(features)  # equal, and without what is kept of the former weights
    return fill(features, 500_000, he=True)


def assert_golden(actual: Tensor, expected: Any, *, rel: float = EXACT) -> None:
    """`actual` is the stored number, list of numbers, or tensor that a summary stands for."""
    flat = actual.detach().double().flatten()
    if not isinstance(expected, dict):
        wanted = torch.tensor(expected, dtype=torch.float64).flatten()
        assert flat.tolist() == pytest.approx(wanted.tolist(), rel=rel, abs=1e-300)
        return
    assert flat.numel() == expected["numel"]
    assert flat.abs().sum().item() == pytest.approx(expected["abs_sum"], rel=rel)
    assert flat.square().sum().item() == pytest.approx(expected["sq_sum"], rel=2 * rel)
    # entries and the plain sum can cancel: they are measured by the size of what they are of
    size = max(flat.abs().mean().item(), 1e-300)
    assert flat.sum().item() == pytest.approx(
        expected["sum"], abs=rel * expected["abs_sum"] + 1e-300
    )
    for index, value in expected["entries"].items():
        assert flat[int(index)].item() == pytest.approx(value, rel=rel, abs=rel * size)


def assert_value_and_gradient(
    value: Tensor, name: str, wrt: Tensor, *, rel: float = EXACT, key: str = "grad"
) -> None:
    entry = golden(name)
    assert_golden(value, entry["value"], rel=rel)
    (gradient,) = torch.autograd.grad(value, wrt, retain_graph=True)
    assert_golden(gradient, entry[key], rel=rel)
