"""SRGAN's discriminator: eight convolutions, then two dense layers, for crops of one size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.networks.base import SequentialNetwork, construct, draw_glorot_weights
from gancomp.networks.settings import check_count
from gancomp.networks.srresnet import BLOCK_MOMENTUM, EPS, check_batch_norm

NUM_HALVINGS = 4


class SRGANDiscriminator(SequentialNetwork):
    """3x3 convolutions, every second one strided, LeakyReLU 0.2, BN on all but the first; dense.

    Maps crops `(N, in, crop, crop)` in [-1, 1] to logits `(N, 1)`. Tap by default: the last
    LeakyReLU of the convolutions. BatchNorm and initial weights as in `SRResNet`.

    Source: Ledig et al. 2017 (SRGAN), figure 4. Its published Keras code ends in a sigmoid; here
    the sigmoid is in the loss, which is then exact for confident logits too.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("srgan-discriminator", settings)
        self.width, self.crop = settings["width"], settings["crop"]
        self.size_multiple = self.crop
        channels = settings["in_channels"]
        layers: list[nn.Module] = []
        for index in range(2 * NUM_HALVINGS):
            previous, channels = channels, self.width * 2 ** (index // 2)
            layers.append(nn.Conv2d(previous, channels, 3, stride=1 + index % 2, padding=1))
            if index > 0:
                layers.append(nn.BatchNorm2d(channels, EPS, BLOCK_MOMENTUM))
            layers.append(nn.LeakyReLU(0.2))
        self.default_taps = (f"model.{len(layers) - 1}",)
        self.tap_channels = {self.default_taps[0]: channels}
        side, hidden = self.crop // 2**NUM_HALVINGS, 16 * self.width
        layers += [
            nn.Flatten(),
            nn.Linear(side * side * channels, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        ]
        self.model = nn.Sequential(*layers)

    def draw_weights(self, generator: torch.Generator) -> None:
        """As Keras does, see `draw_glorot_weights`."""
        draw_glorot_weights(self, generator)

    def walk(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields `model.{index}` and the output of that layer, in order.

        Raises:
            ValueError: if the images are not of the one size that the dense layers take.
        """
        if images.shape[2:] != (self.crop, self.crop):
            raise ValueError(f"takes {self.crop}x{self.crop} crops only")
        return super().walk(images)


def srgan_discriminator(
    width: int = 64, *, in_channels: int = 3, norm: str = "batch", crop: int = 96
) -> SRGANDiscriminator:
    """The discriminator of SRGAN.

    Args:
        width: filters of the first two convolutions; each later pair has twice as many.
        in_channels: channels of what it judges.
        norm: `"batch"`; there is no other form.
        crop: height and width of what it judges, a multiple of 16.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    check_count("`d_width`", width)
    check_count("`in_channels`", in_channels)
    check_count("`size`", crop)
    if crop % 2**NUM_HALVINGS:
        raise ConfigError(
            f"`size` {crop}: srgan-discriminator needs crops of a multiple of {2**NUM_HALVINGS}"
        )
    check_batch_norm("srgan-discriminator", norm)
    settings = {"width": width, "in_channels": in_channels, "norm": norm, "crop": crop}
    return construct(lambda: SRGANDiscriminator(settings))
