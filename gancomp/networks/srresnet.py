"""SRResNet, the generator of SRGAN: residual blocks at low resolution, then pixel shuffles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork, construct, draw_glorot_weights
from gancomp.networks.settings import MAX_BLOCKS, check_count

SCALES = (2, 4)
# Keras' momentum is the share that is kept, torch's the share that is new: 0.8 there is 0.2 here
BLOCK_MOMENTUM, TRUNK_MOMENTUM, EPS = 0.2, 0.01, 1e-3


class SRBlock(nn.Module):
    """conv, BN, PReLU, conv, BN; the input is added and no activation follows the sum."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(filters, filters, 3, padding=1),
            nn.BatchNorm2d(filters, EPS, BLOCK_MOMENTUM),
            nn.PReLU(filters),
            nn.Conv2d(filters, filters, 3, padding=1),
            nn.BatchNorm2d(filters, EPS, BLOCK_MOMENTUM),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, filters, H, W)` to the same shape."""
        outputs: Tensor = inputs + self.body(inputs)
        return outputs


class SRResNet(TappedNetwork):
    """9x9 head, residual blocks, trunk with a long skip, pixel shuffles by 2, 9x9 tail, tanh.

    Maps `(N, 3, H, W)` to `(N, 3, scale H, scale W)`, both in [-1, 1]; inside, the input is taken
    to [0, 1], as its authors have it. Tap by default: the trunk.

    PReLU has one slope per channel that begins at 0, BatchNorm momentum 0.2 in the blocks and 0.01
    in the trunk and eps 1e-3, weights are drawn by Glorot's rule: Keras' choices and defaults,
    under which the published figures came about (torch's: one slope of 0.25, 0.1, 1e-5, He).

    Source: Ledig et al. 2017 (SRGAN), figure 4; details from the Keras code that Lee and Park
    2021 distill with.
    """

    size_multiple = 1

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("srresnet", settings)
        self.width, self.scale = settings["width"], settings["scale"]
        filters = self.width
        self.head = nn.Sequential(
            nn.Conv2d(settings["in_channels"], filters, 9, padding=4), nn.PReLU(filters)
        )
        self.blocks = nn.ModuleList(SRBlock(filters) for _ in range(settings["blocks"]))
        self.trunk = nn.Sequential(
            nn.Conv2d(filters, filters, 3, padding=1),
            nn.BatchNorm2d(filters, EPS, TRUNK_MOMENTUM),
        )
        self.upsample = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(filters, 4 * filters, 3, padding=1),
                nn.PixelShuffle(2),
                nn.PReLU(filters),
            )
            for _ in range(self.scale // 2)
        )
        self.tail = nn.Sequential(
            nn.Conv2d(filters, settings["out_channels"], 9, padding=4), nn.Tanh()
        )
        self.default_taps = ("trunk",)
        self.tap_channels = {"trunk": filters}

    def draw_weights(self, generator: torch.Generator) -> None:
        """As Keras does, see `draw_glorot_weights`."""
        draw_glorot_weights(self, generator)

    def walk(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields `head`, `blocks.{i}`, `trunk` (its skip added), `upsample.{i}` and `tail`."""
        first = features = self.head((images + 1) / 2)
        yield "head", first
        for index, block in enumerate(self.blocks):
            features = block(features)
            yield f"blocks.{index}", features
        features = first + self.trunk(features)
        yield "trunk", features
        for index, layer in enumerate(self.upsample):
            features = layer(features)
            yield f"upsample.{index}", features
        yield "tail", self.tail(features)

    def tap_names(self) -> tuple[str, ...]:
        """`head` to `tail`."""
        blocks = [f"blocks.{index}" for index in range(len(self.blocks))]
        upsample = [f"upsample.{index}" for index in range(len(self.upsample))]
        return ("head", *blocks, "trunk", *upsample, "tail")


def srresnet(
    width: int = 64,
    *,
    blocks: int = 16,
    scale: int = 4,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "batch",
) -> SRResNet:
    """The generator of SRGAN; 64 filters and 16 blocks are the teacher's, 32 and 8 the student's.

    The student's numbers are in no published source: they are read from the byte-code that Lee and
    Park's repository holds beside its incomplete sources, dated before the paper's submission.

    Args:
        width: filters of every layer.
        blocks: residual blocks.
        scale: 2 or 4, how many times higher and wider the output is.
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        norm: `"batch"`; there is no other form.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    check_count("`width`", width)
    check_count("`blocks`", blocks, at_most=MAX_BLOCKS)
    check_count("`in_channels`", in_channels)
    check_count("`out_channels`", out_channels)
    if isinstance(scale, bool) or scale not in SCALES:
        raise ConfigError(f"`scale` {scale!r}: srresnet enlarges 2 or 4 times; choose one of them")
    check_batch_norm("srresnet", norm)
    settings = {
        "width": width,
        "blocks": blocks,
        "scale": scale,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "norm": norm,
    }
    return construct(lambda: SRResNet(settings))


def check_batch_norm(arch: str, norm: object) -> None:
    """Refuses any norm but BatchNorm, the only one that SRGAN's networks have.

    Raises:
        ConfigError: naming `norm`.
    """
    if norm != "batch":
        raise ConfigError(f"`norm` {norm}: {arch} has batch norm only; remove the option")
