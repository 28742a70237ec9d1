"""BigGAN's discriminator: judges whether an image is real, and of the class it claims to be of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.networks.attention import SelfAttention
from gancomp.networks.base import construct
from gancomp.networks.biggan import check_attention, check_settings, draw_weights
from gancomp.networks.equalized import full_precision
from gancomp.networks.spectral import SpectralConv2d, SpectralEmbedding, SpectralLinear
from gancomp.networks.synthesis import LabeledImages, SynthesisDiscriminator


@dataclass(frozen=True)
class Layout:
    """What the blocks of a discriminator are like, by the size of its images.

    Attributes:
        channels: after each block, in multiples of the width.
        num_halvings: how many of them, the first ones, halve the height and width.
        attention: the block, counted from 0, behind which attention stands: where maps of 64
            pixels are, or of half the size of smaller images.
    """

    channels: tuple[int, ...]
    num_halvings: int
    attention: int


LAYOUTS = {
    32: Layout((4, 4, 4, 4), num_halvings=2, attention=0),
    64: Layout((1, 2, 4, 8, 16), num_halvings=4, attention=0),
    128: Layout((1, 2, 4, 8, 16, 16), num_halvings=5, attention=0),
    256: Layout((1, 2, 4, 8, 8, 16, 16), num_halvings=6, attention=1),
}


class DiscriminatorBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, then half as many rows and columns, if it halves.

    The first block of a network takes images, which are not activated, and pools them before its
    shortcut; the others after. Without a change of size or channels the shortcut is the input.
    """

    def __init__(
        self, inputs: int, outputs: int, *, first: bool, halves: bool, wide: bool = True
    ) -> None:
        super().__init__()
        self.first, self.halves = first, halves
        hidden = outputs if wide else inputs
        self.conv1 = SpectralConv2d(inputs, hidden, 3)
        self.conv2 = SpectralConv2d(hidden, outputs, 3)
        if halves or inputs != outputs:
            self.conv_sc = SpectralConv2d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """`(N, in, H, W)` to `(N, out, H, W)` or half of that height and width."""
        hidden = self.conv1(features if self.first else F.relu(features))
        hidden = self._pooled(self.conv2(F.relu(hidden)))
        output: Tensor = hidden + self._shortcut(features)
        return output

    def _shortcut(self, features: Tensor) -> Tensor:
        if self.first:
            features = self._pooled(features)
        if hasattr(self, "conv_sc"):
            features = self.conv_sc(features)
        return features if self.first else self._pooled(features)

    def _pooled(self, features: Tensor) -> Tensor:
        return F.avg_pool2d(features, 2) if self.halves else features


class BigGANDiscriminator(SynthesisDiscriminator):
    """Blocks down to 4x4 (8x8 at 32 pixels), a sum over all positions, a projection on the class.

    Maps `LabeledImages` to logits `(N, 1)`. Taps by default: the attended maps and the last
    block's. State keys are those of BigGAN's release.

    Source: Brock et al. 2019, appendix B; Miyato and Koyama 2018 (projection).
    """

    num_classes: int

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("biggan-discriminator", settings)
        self.width, self.resolution = settings["width"], settings["resolution"]
        self.num_classes = settings["num_classes"]
        layout = LAYOUTS[self.resolution]
        channels = [3, *(self.width * times for times in layout.channels)]
        num_blocks = len(channels) - 1
        self.blocks, self.tap_channels = nn.ModuleList(), {}
        for index, (inputs, outputs) in enumerate(zip(channels[:-1], channels[1:], strict=True)):
            halves = index < layout.num_halvings
            layers: list[nn.Module] = [
                DiscriminatorBlock(
                    inputs,
                    outputs,
                    first=index == 0,
                    halves=halves,
                    wide=settings.get("wide", True),
                )
            ]
            if index in settings.get("attention", (layout.attention,)):
                layers.append(SelfAttention(outputs))
                self.tap_channels[f"blocks.{index}.1"] = outputs
            self.blocks.append(nn.Sequential(*layers))
        self.tap_channels[f"blocks.{num_blocks - 1}.0"] = channels[-1]
        self.default_taps = tuple(self.tap_channels)
        self.linear = SpectralLinear(channels[-1], 1)
        self.embed = SpectralEmbedding(settings["num_classes"], channels[-1])

    def walk(self, labeled: LabeledImages) -> Iterator[tuple[str, Tensor]]:
        """Yields the layers' names and outputs: blocks, `relu`, `sum`, `logits`.

        Raises:
            ValueError: if the images are not of the size that it judges.
        """
        if labeled.images.shape[2:] != (self.resolution, self.resolution):
            raise ValueError(f"takes {self.resolution}x{self.resolution} images only")
        output = labeled.images
        for index, block in enumerate(self.blocks):
            assert isinstance(block, nn.Sequential)
            for depth, layer in enumerate(block):
                output = layer(output)
                yield f"blocks.{index}.{depth}", output
        output = F.relu(output)
        yield "relu", output
        with full_precision(output):  # the logits are worth more than bfloat16's 8 bits
            summed = output.to(self.linear.weight.dtype).sum(dim=(2, 3))
        yield "sum", summed
        yield "logits", self._logits(summed, labeled.classes)

    def _logits(self, summed: Tensor, classes: Tensor) -> Tensor:
        with full_precision(summed):
            projection = torch.sum(self.embed(classes) * summed, dim=1, keepdim=True)
            logits: Tensor = self.linear(summed) + projection
        return logits

    def tap_names(self) -> tuple[str, ...]:
        """`blocks.0.0` and on, `relu`, `sum`, `logits`."""
        blocks = [
            f"blocks.{index}.{depth}"
            for index, block in enumerate(self.blocks)
            if isinstance(block, nn.Sequential)
            for depth in range(len(block))
        ]
        return (*blocks, "relu", "sum", "logits")

    def draw_weights(self, generator: torch.Generator) -> None:
        """Orthogonal weights, biases 0, attention of no weight."""
        draw_weights(self, generator)


def biggan_discriminator(
    width: int = 96,
    *,
    resolution: int = 128,
    num_classes: int = 1000,
    attention: Sequence[int] | None = None,
    wide: bool = True,
) -> BigGANDiscriminator:
    """The projection discriminator of BigGAN.

    Args:
        width: ch; the blocks have 1 to 16 times it (4 times at 32 pixels).
        resolution: height and width of what it judges: 32, 64, 128 or 256.
        num_classes: classes.
        attention: the blocks, counted from 0, behind which attention stands, if not the usual one.
        wide: whether a block has its later channels in between its convolutions, not its first.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    settings = check_settings("biggan-discriminator", width, resolution, num_classes)
    if attention is not None:
        settings |= check_attention(attention, len(LAYOUTS[resolution].channels))
    if not isinstance(wide, bool):
        raise ConfigError(f"wide {wide!r}: must be true or false")
    settings |= {} if wide else {"wide": False}
    return construct(lambda: BigGANDiscriminator(settings))
