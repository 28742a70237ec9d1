"""1x1 convolutions that turn a generator's feature map into what a discriminator takes as input."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gancomp.methods.shared_options import ConnectorKind
from gancomp.networks.base import initialize


class Connectors(nn.Module):
    """One connector per tap, to the discriminator's number of input channels (DCD, `f` in eq. 6).

    Args:
        tap_channels: tap name to its channels.
        out_channels: input channels of the discriminator (3, or 6 if it is conditional).
        kind: `conv-bn-relu` as in the authors' release, `conv` as the paper writes it.
        trained: trained ones follow train and eval mode; the others keep their random weights and
            stay in eval mode for good, where BatchNorm is a fixed scale close to 1.
        generator: source of the initial weights: conv N(0, 0.02), BatchNorm weight N(1, 0.02).
    """

    def __init__(
        self,
        tap_channels: Mapping[str, int],
        out_channels: int,
        *,
        kind: ConnectorKind,
        trained: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.trained = trained
        self.taps = tuple(tap_channels)
        with torch.device("meta"):  # default weights would be drawn from the global generator
            # a list, for module names must not contain dots and tap names do
            self.by_tap = nn.ModuleList(
                _connector(channels, out_channels, kind) for channels in tap_channels.values()
            )
        self.to_empty(device="cpu")
        initialize(self, generator)
        self.requires_grad_(trained)
        self.train()

    def train(self, mode: bool = True) -> Connectors:
        """Sets the mode; connectors that are not trained stay in eval mode."""
        super().train(mode and self.trained)
        return self

    def forward(self, taps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each tap's map `(N, C, H, W)` brought to `(N, out_channels, H, W)`."""
        return {
            tap: connector(taps[tap]) for tap, connector in zip(self.taps, self.by_tap, strict=True)
        }


def _connector(in_channels: int, out_channels: int, kind: ConnectorKind) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    if kind == "conv-bn-relu":
        layers["norm"] = nn.BatchNorm2d(out_channels)
        layers["relu"] = nn.ReLU()
    return nn.Sequential(layers)
