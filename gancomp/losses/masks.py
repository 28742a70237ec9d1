"""DMAD's differentiable masks of channels, and what makes them close."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_BOUND = 0.005  # of the curve's width, as released: steeper ones have no usable gradient
MASKING_SHARE = 0.75  # of training, after which every mask is open or closed
NUM_UPDATES = 150  # of the bound


def mask_of(weights: Tensor, bound: float) -> Tensor:
    """How far each channel is open: 0 up to `-bound`, 1 from `bound` on, two parabolas between.

    Args:
        weights: any shape.
        bound: from 1 down to 0, where the mask is a step: open above 0.

    Returns: the same shape, in [0, 1].

    Source: Li et al. 2022 (DMAD), eq. 3; as released, the curve of a bound below 0.005 is that of
    0.005.
    """
    if bound <= 0:
        return (weights > 0).to(weights.dtype)
    width = max(bound, LEAST_BOUND)
    lower = 0.5 * (1 + weights / width) ** 2
    upper = 1 - 0.5 * (1 - weights / width) ** 2
    curve = torch.where(weights > 0, upper, lower)
    closed, opened = torch.zeros_like(weights), torch.ones_like(weights)
    return torch.where(weights < -bound, closed, torch.where(weights > bound, opened, curve))


def bound_at(step: int, num_steps: int, *, updates: int | None = None) -> float:
    """The bound after `step` of `num_steps` steps: `1 - (t / T)^(1/3)`, T being 75 % of them.

    Args:
        step: from 1 on.
        num_steps: of the whole training.
        updates: how often it changes; None: in every step.

    Source: Li et al. 2022 (DMAD), eq. 8; the release updates it 150 times.
    """
    whole = MASKING_SHARE * num_steps
    if updates is not None and whole > updates:
        every = whole / updates
        step = int(step // every * every)
    return max(0.0, 1.0 - float((step / whole) ** (1 / 3)))


def in_band(weights: Tensor, bound: float) -> Tensor:
    """Which channels are neither open nor closed for good."""
    return (weights > -bound) & (weights < bound)


def closing_loss(weights: Tensor, bound: float, coefficients: Tensor | None = None) -> Tensor:
    """The sum of `weight + bound` over the channels in the band; pushes all of them to close.

    Args:
        weights: `(C,)`.
        bound: of the band.
        coefficients: `(C,)`, of channels that several layers share; see `shared_coefficients`.

    Returns: a scalar.

    Source: Li et al. 2022 (DMAD), eq. 5. The released code leaves the shared channels' term out
    while the bound is exactly 0.5; this does not.
    """
    terms = torch.where(in_band(weights, bound), weights + bound, torch.zeros_like(weights))
    return (terms if coefficients is None else terms * coefficients).sum()


def leaving_loss(weights: Tensor, bound: float) -> Tensor:
    """The Euclidean norm of the distances to the nearer end of the band.

    Of layers whose channels cost most, the stem's and those of the transposed convolutions.

    Returns: a scalar, 0 where no channel is in the band.
    """
    inside = weights[in_band(weights, bound)]
    return (bound - inside.abs()).norm() if len(inside) else weights.sum() * 0


def shared_coefficients(layers: list[Tensor], bound: float, weight: float) -> Tensor:
    """What each channel that several layers share is pushed by, `(C,)`.

    `weight` times the number of layers over that of layers where it is in the band; 0 once a layer
    has it open for good, for then it stays.

    Args:
        layers: the mask weights `(C,)` of each layer.
        bound: of the band.
        weight: DMAD's lambda_update.
    """
    weights = torch.stack([layer.detach() for layer in layers])
    band = in_band(weights, bound).sum(0)
    is_open = (weights >= bound).any(0)
    found = weight * len(layers) / band.clamp(min=1)
    return torch.where(is_open | (band == 0), torch.zeros_like(found), found)
