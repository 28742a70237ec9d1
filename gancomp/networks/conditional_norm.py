"""Batch norm under the names of BigGAN's files, with one scale for all or one per condition."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.spectral import SpectralLinear
from gancomp.networks.whole_batch import normalized
from gancomp.ranks import current

EPS, MOMENTUM = 1e-5, 0.1


class StoredBatchNorm(nn.Module, ABC):
    """What both kinds share: statistics of the batch in training, stored ones at rest.

    Attributes:
        stored_mean: `(C,)`.
        stored_var: `(C,)`.
    """

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def normalize(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` with mean 0 and variance 1; the same shape, layout and type."""
        mean, variance, ranks = self.stored_mean, self.stored_var, current()
        if self.training and ranks.size > 1:
            return normalized(features, mean, variance, momentum=MOMENTUM, eps=EPS, ranks=ranks)
        return F.batch_norm(features, mean, variance, None, None, self.training, MOMENTUM, EPS)

    @abstractmethod
    def start_over(self) -> None:
        """Puts statistics and scales where they are before any training."""
        with torch.no_grad():
            self.stored_mean.zero_()
            self.stored_var.fill_(1.0)


class PlainBatchNorm(StoredBatchNorm):
    """Batch norm with a learnt `gain` and `bias` per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape, layout and type."""
        return _scaled(self.normalize(features), self.gain[None], self.bias[None])

    def start_over(self) -> None:
        """Gain 1, bias 0."""
        super().start_over()
        with torch.no_grad():
            self.gain.fill_(1.0)
            self.bias.zero_()


class ConditionalBatchNorm(StoredBatchNorm):
    """Batch norm whose gain, 1 + `gain`(condition), and `bias`(condition) are linear functions.

    With `of_classes` the condition is the number of a class, and each class has its own.

    Source: de Vries et al. 2017; BigGAN's release normalizes the two layers spectrally.
    """

    def __init__(self, channels: int, condition_size: int, *, of_classes: bool = False) -> None:
        super().__init__(channels)
        self.gain, self.bias = (
            nn.Embedding(condition_size, channels)
            if of_classes
            else SpectralLinear(condition_size, channels, bias=False)
            for _ in range(2)
        )

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """`(N, C, H, W)` and `(N, condition_size)`, or `(N,)`, to the features' shape and type."""
        return _scaled(self.normalize(features), 1 + self.gain(condition), self.bias(condition))

    def start_over(self) -> None:
        """Only the statistics; the two layers are drawn like all others of their kind."""
        super().start_over()


def _scaled(features: Tensor, gain_NC: Tensor, bias_NC: Tensor) -> Tensor:
    gain, bias = (item[:, :, None, None].to(features.dtype) for item in (gain_NC, bias_NC))
    return torch.addcmul(bias, features, gain)
