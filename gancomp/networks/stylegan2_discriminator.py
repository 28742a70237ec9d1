"""StyleGAN2's discriminator, the residual one of configuration F, in any width."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.networks.base import construct
from gancomp.networks.equalized import EqualConv, EqualLinear, full_precision
from gancomp.networks.resample import Blur
from gancomp.networks.stylegan2 import channels_at, check_size, draw_parts
from gancomp.networks.synthesis import SynthesisDiscriminator
from gancomp.ranks import current

GROUP = 4  # images whose features are compared with each other
EPS = 1e-8


class ResidualBlock(nn.Module):
    """`(N, out, H / 2, W / 2)` out of `(N, in, H, W)`: two convolutions beside a plain one.

    Args:
        in_channels: of the maps it takes.
        out_channels: of the maps it gives.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = 1 / math.sqrt(2)  # of the sum's variance; on the weights it costs no pass
        self.conv1 = EqualConv(in_channels, in_channels, 3)
        self.conv2 = EqualConv(in_channels, out_channels, 3, before=Blur(2), stride=2, gain=half)
        # a 1x1 convolution needs only every second value of what is blurred for it
        self.skip = EqualConv(
            in_channels, out_channels, 1, before=Blur(1, stride=2), activate=False, gain=half
        )

    def forward(self, features: Tensor) -> Tensor:
        """`(N, out, H / 2, W / 2)`."""
        deep: Tensor = self.conv2(self.conv1(features))
        plain: Tensor = self.skip(features)
        return deep + plain


class StyleGAN2Discriminator(SynthesisDiscriminator):
    """Residual blocks down to 4 pixels, how much the images of a group differ, two dense layers.

    Maps images `(N, 3, resolution, resolution)` in [-1, 1] to logits `(N, 1)`. Taps: `convs.0`, the
    convolution from RGB, `convs.1` on, one block per resolution, `final_conv` and `final_linear`.
    By default all blocks.

    N must be at most 4 or a multiple of it, see `group_deviation`.

    Source: Karras et al. 2020 (StyleGAN2), figure 7 and table 1, configuration F.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("stylegan2-discriminator", settings)
        self.width, self.resolution = settings["width"], settings["resolution"]
        multiplier = settings.get("channel_multiplier", 2)
        channels = channels_at(self.width, self.resolution, multiplier)
        blocks: list[nn.Module] = [EqualConv(3, channels, 1)]
        self.tap_channels = {}
        size = self.resolution
        while size > 4:
            size //= 2
            previous, channels = channels, channels_at(self.width, size, multiplier)
            self.tap_channels[f"convs.{len(blocks)}"] = channels
            blocks.append(ResidualBlock(previous, channels))
        self.convs = nn.Sequential(*blocks)
        self.default_taps = tuple(self.tap_channels)
        self.final_conv = EqualConv(channels + 1, channels, 3)
        self.final_linear = nn.Sequential(
            EqualLinear(16 * channels, channels, activate=True), EqualLinear(channels, 1)
        )

    def draw_weights(self, generator: torch.Generator) -> None:
        """Draws all weights."""
        draw_parts(self, generator)

    def tap_names(self) -> tuple[str, ...]:
        """Every block, then the last convolution and the logits."""
        return (
            *(f"convs.{index}" for index in range(len(self.convs))),
            "final_conv",
            "final_linear",
        )

    def walk(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each block's output, that of the last convolution and the logits `(N, 1)`.

        Raises:
            ValueError: for images of another size, or a number of them without whole groups.
        """
        if images.shape[1:] != (3, self.resolution, self.resolution):
            size = f"{self.resolution}x{self.resolution}"
            raise ValueError(f"takes RGB images of {size}, not {tuple(images.shape[1:])}")
        features = images
        for index, block in enumerate(self.convs):
            features = block(features)
            yield f"convs.{index}", features
        features = self.final_conv(with_group_deviation(features))
        yield "final_conv", features
        with full_precision(features):
            vectors = features.flatten(1).to(self.final_linear[0].weight.dtype)
            logits = self.final_linear(vectors)
        yield "final_linear", logits


def group_size(count: int) -> int:
    """How many images of a batch of `count` are compared with each other: 4, or all if fewer.

    Raises:
        ValueError: if the groups would not be whole.
    """
    group = min(count, GROUP)
    if count == 0 or count % group:
        raise ValueError(
            f"a batch of {count} images has no whole groups of {GROUP} to compare; take a "
            f"multiple of {GROUP}, or fewer than {GROUP}"
        )
    return group


def with_group_deviation(features: Tensor) -> Tensor:
    """`(N, C + 1, H, W)`: the features `(N, C, H, W)` and how much they differ within the group.

    Image i is in group i mod N / 4, of 4 images, or all in one if there are fewer. The deviation is
    that over the images of a group, averaged over channels, rows and columns. Ranks that share a
    batch have its groups: there, N and i count the images of all.

    Raises:
        ValueError: if the groups would not be whole.

    Source: Karras et al. 2018 (progressive GAN), section 3; groups: StyleGAN2's release.
    """
    ranks = current()
    whole, (height, width) = ranks.gathered(features), features.shape[2:]
    count = len(whole)
    group = group_size(count)
    grouped = whole.float() if whole.dtype in (torch.bfloat16, torch.float16) else whole
    grouped = grouped.reshape(group, count // group, *features.shape[1:])
    variance = grouped.var(0, correction=0)
    deviation = (variance + EPS).sqrt().mean((1, 2, 3)).to(features.dtype)
    of_own = ranks.own(deviation.repeat(group))
    maps = of_own.view(-1, 1, 1, 1).expand(-1, 1, height, width)
    return torch.cat([features, maps], 1)


def together(first: Tensor, second: Tensor) -> Tensor:
    """Two batches `(N, ...)` as one `(2 N, ...)` in which each group is still of one of them.

    So a discriminator judges both in one pass as it would in two; `apart` undoes it.

    Raises:
        ValueError: if N is not a multiple of 4: below, the two would share a group.
    """
    count = len(first)
    if count == 0 or count % GROUP or first.shape != second.shape:
        raise ValueError(
            f"two batches go together if both are of one size, a multiple of {GROUP}; "
            f"given {count} and {len(second)}"
        )
    rows = [batch.reshape(GROUP, count // GROUP, *batch.shape[1:]) for batch in (first, second)]
    return torch.cat(rows, 1).flatten(0, 1)


def apart(both: Tensor) -> tuple[Tensor, Tensor]:
    """The two batches `(N, ...)`, or what was found for them, out of one by `together`."""
    rows = both.reshape(GROUP, 2, len(both) // (2 * GROUP), *both.shape[1:])
    return rows[:, 0].flatten(0, 1), rows[:, 1].flatten(0, 1)


def stylegan2_discriminator(
    width: int = 512, *, resolution: int = 256, channel_multiplier: int = 2
) -> StyleGAN2Discriminator:
    """StyleGAN2's discriminator of configuration F.

    Args:
        width: channels up to 64 pixels, halved with every resolution beyond; 512 is the published
            network.
        resolution: height and width of the images, a power of two from 16 to 1024.
        channel_multiplier: 1 halves the channels from 64 pixels on instead of from 128 on.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    arch = "stylegan2-discriminator"
    settings = check_size(arch, "`d_width`", width, resolution, channel_multiplier)
    return construct(lambda: StyleGAN2Discriminator(settings))
