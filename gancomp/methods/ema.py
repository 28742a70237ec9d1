"""The moving average of a generator, which is the one that is looked at and handed out."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def beta_of_half_life(batch_size: int, kimg: float) -> float:
    """The factor per step after which an image's weight has halved within `kimg` thousand images.

    Source: Karras et al. 2018, section "exponential running average"; StyleGAN2 has 10 kimg.
    """
    return float(0.5 ** (batch_size / (1000 * kimg)))


class MovingAverage(nn.Module, Generic[Network]):
    """A copy of a network whose weights follow it slowly; always in inference mode.

    Buffers with fractions follow as weights do (running statistics, spectral vectors), others are
    copied. What the network itself leaves empty is the average's own affair.

    Args:
        network: the one to follow.

    Source: Brock et al. 2018 (BigGAN), appendix C, whose average takes in buffers.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network: Network = copy.deepcopy(network).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> MovingAverage[Network]:
        """Stays in inference mode, whatever the networks around it do."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, network: nn.Module, beta: float) -> None:
        """Moves a share of `1 - beta` of the way towards `network`: `beta` 0 makes it a copy."""
        own = _tensors(self.network)
        pairs = [(own[name], value) for name, value in _tensors(network).items()]
        fractions = [pair for pair in pairs if pair[0].is_floating_point()]
        followers = [mine for mine, _ in fractions]
        torch._foreach_lerp_(followers, [item for _, item in fractions], 1 - beta)
        # a GPU's kernel for all at once leaves that out; StyleGAN2's mean style is kept by it
        torch.autograd.graph.increment_version(followers)
        for mine, value in pairs:
            if not mine.is_floating_point():
                mine.copy_(value)


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
