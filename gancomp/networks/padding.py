"""Reflection padding that, on a CPU, keeps nothing for its gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReflectionPad2d(nn.ReflectionPad2d):
    """`nn.ReflectionPad2d` that, on a CPU, does not hold its input: its shape is all that counts.

    torch's own keeps the input until the backward pass, a whole map in front of every convolution
    that keeps the padded one anyway.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C, H + top + bottom, W + left + right)`."""
        if input.device.type == "cpu" and torch.is_grad_enabled() and input.requires_grad:
            padded: Tensor = _Reflected.apply(input, self.padding)
            return padded
        return super().forward(input)


class _Reflected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
        ctx.shape, ctx.strides, ctx.padding = features.shape, features.stride(), padding
        return F.pad(features, padding, mode="reflect")

    @staticmethod
    def backward(ctx: Any, grad_padded: Tensor) -> tuple[Tensor, None]:
        # torch looks at its shape and layout only, so that it may hold anything
        features = torch.empty_strided(
            ctx.shape, ctx.strides, dtype=grad_padded.dtype, device=grad_padded.device
        )
        gradient = torch.ops.aten.reflection_pad2d_backward(grad_padded, features, ctx.padding)
        return gradient, None
