"""Losses are computed in float32 at least, whatever autocast made of their inputs."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32 if they are narrower, else as they are.

    bfloat16 has 8 bits of mantissa: a mean over a map of 30x30 patches would be rounded away.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
