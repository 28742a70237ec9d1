"""AGD's generators: a ResNet's frame around nine cells, each one operation of a chosen width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.networks.base import SequentialNetwork, construct
from gancomp.networks.layers import ImageConv2d, InstanceNorm2d, ReLUAfterNorm
from gancomp.networks.settings import check_count

NUM_CELLS = 9
DEPTHWISE_TIMES = 4
FULL_WIDTHS = (64, 128, 256, *[256] * NUM_CELLS, 128, 64)
NUM_LAYERS = len(FULL_WIDTHS) + 1
CELLS = range(3, 3 + NUM_CELLS)  # which of the layers they are
FIRST_CELL = 9  # index in `model`: stem and two strided convolutions come before


class Cell(nn.Module):
    """One searchable operation: convolutions without biases, InstanceNorm, a ReLU at the end.

    `skip` is a 1x1 convolution, `conv3x3` one, `residual` two of these, `dwsblock` a 1x1 to four
    times the channels, a 3x3 by channel and a 1x1. The last two add their input, through a 1x1
    convolution where the channels change. Parameter names are those of the released code.

    Args:
        operation: one of `OPERATIONS`.
        source: channels of the input.
        target: channels of the output.
        wide: channels inside a `dwsblock`; by default four times the input's.
        widens: whether the sum has that 1x1 convolution; by default where the channels change.

    Source: Fu et al. 2020 (AutoGAN-Distiller), section 4.2; paddings as in its released code.
    """

    def __init__(
        self,
        operation: str,
        source: int,
        target: int,
        *,
        wide: int | None = None,
        widens: bool | None = None,
    ) -> None:
        super().__init__()
        self.operation = operation
        if operation == "skip":
            self.conv = nn.Conv2d(source, target, 1, bias=False)
            self.bn = InstanceNorm2d(target)
        elif operation == "conv3x3":
            self.conv1 = nn.Conv2d(source, target, 3, padding=1, bias=False)
            self.bn1 = InstanceNorm2d(target)
        elif operation == "residual":
            self.conv1 = nn.Conv2d(source, target, 3, padding=1, bias=False)
            self.bn1 = InstanceNorm2d(target)
            self.conv2 = nn.Conv2d(target, target, 3, padding=1, bias=False)
            self.bn2 = InstanceNorm2d(target)
        else:
            wide = wide or DEPTHWISE_TIMES * source
            self.conv1 = nn.Conv2d(source, wide, 1, bias=False)
            self.bn1 = InstanceNorm2d(wide)
            self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
            self.bn2 = InstanceNorm2d(wide)
            self.conv3 = nn.Conv2d(wide, target, 1, bias=False)
            self.bn3 = InstanceNorm2d(target)
        widens = source != target if widens is None else widens
        self.widens = operation in ("residual", "dwsblock") and widens
        if self.widens:
            self.skip = nn.Conv2d(source, target, 1, bias=False)
            self.bn_skip = InstanceNorm2d(target)
        self.relu = ReLUAfterNorm()

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, source, H, W)` to `(N, target, H, W)`, not negative."""
        outputs: Tensor = self.relu(self._sum(inputs))
        return outputs

    def _sum(self, inputs: Tensor) -> Tensor:
        if self.operation == "skip":
            only: Tensor = self.bn(self.conv(inputs))
            return only
        outputs: Tensor = self.bn1(self.conv1(inputs))
        if self.operation == "conv3x3":
            return outputs
        outputs = self.bn2(self.conv2(self.relu(outputs)))
        if self.operation == "dwsblock":
            outputs = self.bn3(self.conv3(self.relu(outputs)))
        return outputs + (self.bn_skip(self.skip(inputs)) if self.widens else inputs)


OPERATIONS = ("skip", "conv3x3", "residual", "dwsblock")


class AgdGenerator(SequentialNetwork):
    """7x7 stem, two strided convolutions, nine cells, two transposed convolutions, 7x7 head.

    Unlike `resnet9` it pads with zeros and has no biases. Taps by default: before the cells and
    after each third of them. Maps images `(N, in, H, W)` in [-1, 1] to `(N, out, H, W)` in [-1, 1].

    Source: AGD, figure 2; the cells' operations and widths were searched, and are given here.
    """

    size_multiple = 4

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("agd", settings)
        cells = settings["operations"]
        widths = settings.get("channels") or uniform_widths(settings["width"])
        stem, _, down2, *inner, _, _ = widths
        self.width = stem
        around = (settings["in_channels"], *widths, settings["out_channels"])
        layers: list[nn.Module] = []
        for layer in range(NUM_LAYERS):
            source, target = around[layer], around[layer + 1]
            if layer in CELLS:
                layers.append(Cell(cells[layer - CELLS[0]], source, target))
            else:
                layers += frame_layer(layer, source, target)
        self.model = nn.Sequential(*layers)
        ends = range(0, NUM_CELLS + 1, NUM_CELLS // 3)
        self.default_taps = tuple(f"model.{FIRST_CELL - 1 + end}" for end in ends)
        self.tap_channels = {
            tap: (down2, *inner)[end] for tap, end in zip(self.default_taps, ends, strict=True)
        }


def frame_layer(layer: int, source: int, target: int) -> list[nn.Module]:
    """The modules of a layer around the cells: one of the first three or the last three."""
    if layer == NUM_LAYERS - 1:
        return [nn.ZeroPad2d(3), ImageConv2d(source, target, 7, bias=False), nn.Tanh()]
    conv: nn.Conv2d | nn.ConvTranspose2d
    if layer == 0:
        conv = nn.Conv2d(source, target, 7, padding=3, bias=False)
    elif layer < CELLS[0]:
        conv = nn.Conv2d(source, target, 3, 2, padding=1, bias=False)
    else:
        conv = nn.ConvTranspose2d(source, target, 3, 2, 1, output_padding=1, bias=False)
    return [conv, InstanceNorm2d(conv.out_channels), ReLUAfterNorm()]


def divisible_width(channels: int, times: float) -> int:
    """`times` of `channels` to the nearest multiple of 8, but not under 90 percent of it."""
    wanted = channels * times
    width = max(8, int(wanted + 4) // 8 * 8)
    return width + 8 if width < 0.9 * wanted else width


def uniform_widths(width: int) -> list[int]:
    """Stem, down1, down2, nine cells, up1 and up2 with `width` / 64 of the full widths."""
    return [divisible_width(full, width / FULL_WIDTHS[0]) for full in FULL_WIDTHS]


def agd_generator(
    width: int = 64,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    operations: Sequence[str] = ("residual",) * NUM_CELLS,
    channels: Sequence[int] | None = None,
) -> AgdGenerator:
    """A generator out of AGD's search space.

    Args:
        width: ngf; the layers have 1, 2 and 4 times it, each as a multiple of 8.
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        operations: of the nine cells, each out of `OPERATIONS`.
        channels: explicit widths instead: stem, down1, down2, nine cells, up1, up2.

    Raises:
        ConfigError: for a choice that no network can be built with.
    """
    if len(operations) != NUM_CELLS or not set(operations) <= set(OPERATIONS):
        raise ConfigError(
            f"operations {list(operations)}: need {NUM_CELLS}, each out of {', '.join(OPERATIONS)}"
        )
    check_count("`width`", width)
    check_count("`in_channels`", in_channels)
    check_count("`out_channels`", out_channels)
    settings: dict[str, Any] = {
        "width": width,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "operations": list(operations),
    }
    if channels is not None and list(channels) != uniform_widths(width):
        for count in channels:
            check_count("channels", count)
        if len(channels) != len(FULL_WIDTHS):
            raise ConfigError(
                f"channels: {len(channels)} widths given, {len(FULL_WIDTHS)} needed: stem, down1, "
                "down2, nine cells, up1, up2"
            )
        settings |= {"width": channels[0], "channels": list(channels)}
    return construct(lambda: AgdGenerator(settings))
