"""The U-Net generators of pix2pix, with the nested parameter names of the published checkpoints.

The published code activates in place, so a level's skip connection carries the activated input;
here the activation makes a new tensor and the skip carries that one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor, nn

from gancomp.networks.base import TappedNetwork, construct
from gancomp.networks.settings import GeneratorSettings, norm_layer

OUTER_TIMES = (1, 2, 4)  # width of the outer levels over ngf; every deeper one has 8
FIXED_LEVELS = 4  # the outer ones, which pruned networks have, too


class UNetLevel(nn.Module):
    """One level: down, the level below, up; all but the outermost put their input beside it."""

    def __init__(self, layers: Sequence[nn.Module], *, skip: bool) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)
        self.skip = skip

    def walk(self, name: str, inputs: Tensor) -> Generator[tuple[str, Tensor], None, Tensor]:
        """Yields each layer's name and output, then (with a skip) its own; returns the output."""
        output = activated = inputs
        for index, layer in enumerate(self.model):
            path = f"{name}.model.{index}"
            if isinstance(layer, UNetLevel):
                output = yield from layer.walk(path, output)
            else:
                output = layer(output)
                yield path, output
            if index == 0:
                activated = output
        if self.skip:
            output = torch.cat([activated, output], dim=1)
            yield name, output
        return output


class UNetGenerator(TappedNetwork):
    """4x4 strided convolutions down to one pixel and back, with skip connections.

    Taps by default are OMGD's four: two activated inputs on the way down (levels 2 and 4), two
    activated concatenations on the way up (levels 3 and 1). Maps images `(N, in, H, W)` in [-1, 1]
    to `(N, out, H, W)` in [-1, 1].

    Source: Isola et al. 2017 (pix2pix); taps: Ren et al. 2021 (OMGD).
    """

    def __init__(self, arch: str, settings: GeneratorSettings, *, num_levels: int) -> None:
        times = [*OUTER_TIMES, *[8] * (num_levels - len(OUTER_TIMES))]
        uniform = [settings.width * factor for factor in (*times, *times[-2::-1])]
        super().__init__(arch, settings.as_dict(uniform))
        removable = range(FIXED_LEVELS, 2 * num_levels - FIXED_LEVELS)
        widths = settings.explicit_channels(
            uniform,
            f"{num_levels} down convolutions, then {num_levels - 1} up, innermost first",
            removable=removable,
        )
        self.layer_widths = {"channels": list(widths)}
        normed = not (widths[num_levels - 1] and widths[num_levels])
        levels = _kept_levels(widths, num_levels)
        down = [widths[level] for level in levels]
        up = [settings.out_channels, *(widths[2 * num_levels - 1 - level] for level in levels[1:])]
        self.width = down[0]
        self.size_multiple = 2 ** len(levels)
        self.model = _innermost(down, settings.norm, up[-1], normed=normed)
        for depth in range(len(levels) - 2, 0, -1):
            dropout = settings.dropout if times[levels[depth] - 1] == 8 else 0.0
            self.model = _middle(self.model, depth, down, up, norm=settings.norm, dropout=dropout)
        self.model = _outermost(self.model, settings, down, up)
        self.default_taps = (
            f"{_level_path(2)}.model.0",
            f"{_level_path(min(4, len(levels) - 1))}.model.0",
            f"{_level_path(3)}.model.4",
            f"{_level_path(1)}.model.4",
        )
        deeper = up[4] if len(levels) > 4 else 0
        tap_widths = (down[1], down[min(3, len(levels) - 2)], down[3] + deeper, down[1] + up[2])
        self.tap_channels = dict(zip(self.default_taps, tap_widths, strict=True))

    def walk(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields the name and output of every layer and level, in the order they are computed."""
        yield from self.model.walk("model", images)

    def tap_names(self) -> tuple[str, ...]:
        """Every layer, and every level but the outermost, whose output is the network's."""
        return tuple(
            name
            for name, module in self.named_modules()
            if name not in ("", "model") and not isinstance(module, nn.Sequential)
        )


def _level_path(depth: int) -> str:
    return "model.model.1" + ".model.3" * (depth - 1)


def _down_conv(source: int, target: int, norm: str) -> nn.Conv2d:
    return nn.Conv2d(source, target, 4, stride=2, padding=1, bias=norm == "instance")


def _up_conv(source: int, target: int, *, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(source, target, 4, stride=2, padding=1, bias=bias)


def _kept_levels(widths: Sequence[int], num_levels: int) -> list[int]:
    """The levels, counted from the outermost, that have a width on both of their sides."""
    return [
        level
        for level in range(num_levels)
        if level == 0 or (widths[level] and widths[2 * num_levels - 1 - level])
    ]


def _innermost(down: Sequence[int], norm: str, up_width: int, *, normed: bool) -> UNetLevel:
    """The deepest level; `normed`: one that had another below it, which was pruned away."""
    layers = [
        nn.LeakyReLU(0.2),
        _down_conv(down[-2], down[-1], norm),
        *([norm_layer(norm, down[-1]), nn.Identity()] if normed else []),
        nn.ReLU(),
        _up_conv(down[-1], up_width, bias=norm == "instance"),
        norm_layer(norm, up_width),
    ]
    return UNetLevel(layers, skip=True)


def _middle(
    inner: UNetLevel,
    depth: int,
    down: Sequence[int],
    up: Sequence[int],
    *,
    norm: str,
    dropout: float,
) -> UNetLevel:
    layers = [
        nn.LeakyReLU(0.2),
        _down_conv(down[depth - 1], down[depth], norm),
        norm_layer(norm, down[depth]),
        inner,
        nn.ReLU(),
        _up_conv(down[depth] + up[depth + 1], up[depth], bias=norm == "instance"),
        norm_layer(norm, up[depth]),
    ]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return UNetLevel(layers, skip=True)


def _outermost(
    inner: UNetLevel, settings: GeneratorSettings, down: Sequence[int], up: Sequence[int]
) -> UNetLevel:
    layers = [
        _down_conv(settings.in_channels, down[0], settings.norm),
        inner,
        nn.ReLU(),
        _up_conv(down[0] + up[1], up[0], bias=True),
        nn.Tanh(),
    ]
    return UNetLevel(layers, skip=False)


def unet256(
    width: int = 64,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "batch",
    dropout: float = 0.0,
    channels: Sequence[int] | None = None,
) -> UNetGenerator:
    """The 8-level U-Net of pix2pix, for sizes that are multiples of 256.

    Args:
        width: ngf; the levels have 1, 2, 4 and then 8 times it.
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        norm: `"instance"` or `"batch"`.
        dropout: rate in the middle levels of full width (pix2pix 0.5, OMGD and DCD 0).
        channels: explicit widths instead: 8 convolutions down, then 7 up, innermost first; 0 for
            those of a level below the fourth that is not there.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    settings = GeneratorSettings(width, in_channels, out_channels, norm, dropout, channels)
    return construct(lambda: UNetGenerator("unet256", settings, num_levels=8))


def unet128(
    width: int = 64,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "batch",
    dropout: float = 0.0,
    channels: Sequence[int] | None = None,
) -> UNetGenerator:
    """The same as `unet256` with 7 levels, for sizes that are multiples of 128."""
    settings = GeneratorSettings(width, in_channels, out_channels, norm, dropout, channels)
    return construct(lambda: UNetGenerator("unet128", settings, num_levels=7))
