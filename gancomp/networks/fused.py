"""InstanceNorm with the activation and the padding behind it in one turn of a GPU instead of three.

Off by default: `fuse` turns it on for networks that a GPU trains. It holds for maps in
channels_last; whatever else comes, and every CPU, takes the layers in turn.
"""

from __future__ import annotations

import importlib
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.layers import InstanceNorm2d, instance_norm

KERNELS = "gancomp.networks.fused_kernels"
TYPES = (torch.float32, torch.bfloat16, torch.float16)
interpreted = False  # tests run the kernels on a CPU, by Triton's interpreter


class Chain(nn.Sequential):
    """`nn.Sequential` whose norms may be fused with what follows them."""

    can_fuse = True
    fused = False

    def forward(self, input: Tensor) -> Tensor:
        """The output of the last layer."""
        if not self.fused:
            output: Tensor = super().forward(input)  # type: ignore[no-untyped-call]  # torch left it so
            return output
        for _, value in run(list(self), input):
            input = value
        return input


def why_not(device: torch.device) -> str | None:
    """Why nothing can be fused on `device`, or None if it can be."""
    if device.type != "cuda":
        return "fused norms need an NVIDIA GPU"
    try:
        kernels = importlib.import_module(KERNELS)
        kernels.forward(torch.ones(1, 1, 2, 2, device=device), 1e-5, None, 0)
    except Exception as error:  # Triton may be missing, or the C compiler that it needs
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return f"Triton's kernels do not run here ({reason})"
    return None


def run(
    layers: Sequence[nn.Module], features: Tensor, stops: Container[int] = ()
) -> Iterator[tuple[int, Tensor]]:
    """Runs the layers in turn, fused where that is possible; yields each output that there is.

    Args:
        layers: in order.
        features: what the first one takes.
        stops: indices of layers whose output is needed, so that nothing is fused across them.

    Yields: the index of a layer and its output; layers in the midst of a fusion have none.
    """
    index = 0
    while index < len(layers):
        layer = layers[index]
        if isinstance(layer, InstanceNorm2d):
            index, slope, padding = _reach(layers, index, stops)
            features = norm_and_more(features, layer.eps, slope=slope, padding=padding)
        else:
            features = layer(features)
        yield index, features
        index += 1


def _reach(
    layers: Sequence[nn.Module], index: int, stops: Container[int]
) -> tuple[int, float | None, int]:
    """How far a fusion that begins with the norm at `index` goes: last index, slope, padding."""
    slope: float | None = None
    while index + 1 < len(layers) and index not in stops:
        following = layers[index + 1]
        if isinstance(following, nn.ReflectionPad2d) and len(set(following.padding)) == 1:
            return index + 1, slope, following.padding[0]
        if isinstance(following, nn.ReLU | nn.LeakyReLU) and slope is None:
            slope = following.negative_slope if isinstance(following, nn.LeakyReLU) else 0.0
        elif not isinstance(following, nn.Identity):
            break
        index += 1
    return index, slope, 0


def norm_and_more(
    features: Tensor, eps: float = 1e-5, *, slope: float | None = None, padding: int = 0
) -> Tensor:
    """InstanceNorm, then (Leaky)ReLU, then reflection padding.

    Args:
        features: `(N, C, H, W)` with more than one position.
        eps: added to the variance.
        slope: of the activation below 0: 0 for ReLU; None: there is none.
        padding: rows and columns on each side, fewer than the map has.

    Returns: `(N, C, H + 2 padding, W + 2 padding)`, in the type of `features`; equal to the three
        layers but for rounding, with statistics in float32.

    Raises:
        ValueError: if there is only one position, which has no variance.
    """
    if not _applies(features, padding):
        return in_turn(features, eps, slope, padding)
    output: Tensor = _Fused.apply(features, eps, slope, padding)[0]
    return output


def in_turn(features: Tensor, eps: float, slope: float | None, padding: int) -> Tensor:
    """The same by three layers, any number of times differentiable."""
    normed = instance_norm(features, eps)
    if slope is not None:
        normed = F.leaky_relu(normed, slope) if slope else F.relu(normed)
    return F.pad(normed, (padding,) * 4, mode="reflect") if padding else normed


def _applies(features: Tensor, padding: int) -> bool:
    height, width = features.shape[2:]
    return (
        not torch.compiler.is_compiling()  # a compiler fuses by itself
        and (features.is_cuda or interpreted)
        and features.dtype in TYPES
        and features.is_contiguous(memory_format=torch.channels_last)
        and features.numel() > 0
        and height * width > 1
        and padding < min(height, width)
    )


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, eps: float, slope: float | None, padding: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        kernels = importlib.import_module(KERNELS)
        output, mean, inverse = kernels.forward(features, eps, slope, padding)
        ctx.save_for_backward(features, mean, inverse)
        ctx.mark_non_differentiable(mean, inverse)
        ctx.set_materialize_grads(False)
        ctx.how = eps, slope, padding
        return output, mean, inverse

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor | None, *_: Any
    ) -> tuple[Tensor | None, None, None, None]:
        """By the kernels; in differentiable steps where a second derivative is wanted."""
        if gradient is None:
            return None, None, None, None
        features, mean, inverse = ctx.saved_tensors
        eps, slope, padding = ctx.how
        if torch.is_grad_enabled():
            output = in_turn(features, eps, slope, padding)
            (found,) = torch.autograd.grad(output, features, gradient, create_graph=True)
            return found, None, None, None
        kernels = importlib.import_module(KERNELS)
        found = kernels.backward(gradient, features, (mean, inverse), slope, padding)
        return found, None, None, None


def fuse(modules: Iterable[nn.Module], on: bool = True) -> None:
    """Turns fusion on or off in those of `modules` that know it."""
    for module in modules:
        if getattr(module, "can_fuse", False):
            module.fused = on  # type: ignore[assignment]  # a flag, no part of the network
