"""Self-attention between the positions of a map, as SAGAN and BigGAN have it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.spectral import SpectralConv2d


class SelfAttention(nn.Module):
    """Adds to each position a mixture of what every 2x2 block of positions holds.

    Layers: `theta` asks, `phi` and `g` answer after max-pooling, `o` brings the mixture back to the
    map's channels; `gamma`, 0 at first, weighs it. Scores are not divided by a square root.

    Source: Zhang et al. 2019 (SAGAN), section 3; the pooling and the widths (an eighth and a half
    of the channels, at least 1) are those of BigGAN's release.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few, half = max(1, channels // 8), max(1, channels // 2)
        self.theta = SpectralConv2d(channels, few, 1, bias=False)
        self.phi = SpectralConv2d(channels, few, 1, bias=False)
        self.g = SpectralConv2d(channels, half, 1, bias=False)
        self.o = SpectralConv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` of even height and width to the same shape and layout."""
        queries = self.theta(features).flatten(2)
        keys = F.max_pool2d(self.phi(features), 2).flatten(2)
        values = F.max_pool2d(self.g(features), 2).flatten(2)
        weights = torch.softmax(torch.bmm(queries.transpose(1, 2), keys), dim=-1)
        mixture = torch.bmm(weights, values.transpose(1, 2)).transpose(1, 2)
        shape = features.shape  # len() would make a constant of the first in a traced graph
        mixture = mixture.reshape(shape[0], -1, *shape[2:])  # lies in channels_last
        if features.is_contiguous():
            mixture = mixture.contiguous()
        attended: Tensor = self.gamma * self.o(mixture) + features
        return attended
