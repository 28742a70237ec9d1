"""OMGD's deep teachers: as narrow as the student, with more layers, for paired images.

What makes them deep are expansion blocks: residual blocks whose middle is four times as wide.
"""

from __future__ import annotations

from torch import Tensor, nn

from gancomp.networks.base import SequentialNetwork, construct
from gancomp.networks.layers import (
    CONV_BEFORE,
    RELU_AFTER,
    TRANSPOSED_CONV_BEFORE,
    ImageConv2d,
    ReflectionPad2d,
)
from gancomp.networks.resnet import ResidualBlock
from gancomp.networks.settings import GeneratorSettings, norm_layer
from gancomp.networks.unet import OUTER_TIMES, UNetGenerator, UNetLevel

EXPANSION = 4
MOBILE_BLOCKS = (4, 5)  # before and after the two expansion blocks in the middle
NUM_LEVELS = 8
UP_RELU = 6  # of the deep U-Net's middle levels: behind 5 layers and the level below


class ExpansionBlock(nn.Module):
    """Residual: 1x1 to four times the channels, 3x3, 1x1 back, 3x3.

    The reflected border is there before the first 1x1 already, so that its norm counts it, too.
    """

    def __init__(self, channels: int, *, norm: str) -> None:
        super().__init__()
        wide = EXPANSION * channels

        def conv(source: int, target: int, kernel: int) -> list[nn.Module]:
            layer = CONV_BEFORE[norm](source, target, kernel, bias=norm == "instance")
            return [layer, norm_layer(norm, target)]

        relu = RELU_AFTER[norm]
        self.conv_block = nn.Sequential(
            ReflectionPad2d(1),
            *conv(channels, wide, 1),
            relu(),
            *conv(wide, wide, 3),
            relu(),
            *conv(wide, channels, 1),
            relu(),
            ReflectionPad2d(1),
            *conv(channels, channels, 3),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, channels, H, W)` to the same shape."""
        outputs: Tensor = inputs + self.conv_block(inputs)
        return outputs


class DeepResNetGenerator(SequentialNetwork):
    """`mobile-resnet9` with expansion blocks behind each change of size and amid its blocks.

    Taps by default: the end of the stem, and after 4, 6 and 11 blocks. Maps images `(N, in, H, W)`
    in [-1, 1] to `(N, out, H, W)` in [-1, 1].

    Source: Ren et al. 2021 (OMGD); order and paddings as in its released code.
    """

    size_multiple = 4

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__("deep-resnet9", settings.as_dict([]))
        norm, width = settings.norm, settings.width
        self.width = width
        channels = 4 * width
        layers: list[nn.Module] = [ReflectionPad2d(3)]
        layers += _normed(CONV_BEFORE[norm](settings.in_channels, width, 7, bias=_bias(norm)), norm)
        for source in (width, 2 * width):
            strided = CONV_BEFORE[norm](source, 2 * source, 3, 2, padding=1, bias=_bias(norm))
            layers += [*_normed(strided, norm), *_deepened(2 * source, norm)]
        stem = len(layers) - 1
        before, after = MOBILE_BLOCKS

        def mobile() -> ResidualBlock:
            dropout = settings.dropout
            return ResidualBlock(channels, channels, norm=norm, dropout=dropout, mobile=True)

        layers += [mobile() for _ in range(before)]
        layers += [ExpansionBlock(channels, norm=norm) for _ in range(2)]
        layers += [mobile() for _ in range(after)]
        for source in (channels, channels // 2):
            up = TRANSPOSED_CONV_BEFORE[norm](
                source, source // 2, 3, 2, padding=1, output_padding=1, bias=_bias(norm)
            )
            layers += [*_normed(up, norm), *_deepened(source // 2, norm)]
        layers += [ReflectionPad2d(3), ImageConv2d(width, settings.out_channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        ends = (0, before, before + 2, before + 2 + after)
        self.default_taps = tuple(f"model.{stem + end}" for end in ends)
        self.tap_channels = dict.fromkeys(self.default_taps, channels)


def _bias(norm: str) -> bool:
    return norm == "instance"


def _normed(conv: nn.Conv2d | nn.ConvTranspose2d, norm: str) -> list[nn.Module]:
    return [conv, norm_layer(norm, conv.out_channels), RELU_AFTER[norm]()]


def _deepened(channels: int, norm: str) -> list[nn.Module]:
    conv = CONV_BEFORE[norm](channels, channels, 3, padding=1, bias=_bias(norm))
    return [ExpansionBlock(channels, norm=norm), *_normed(conv, norm)]


class DeepUNetGenerator(UNetGenerator):
    """`unet256` with two expansion blocks on each side of every level but the innermost.

    They come after a level's norms; in the outermost level, which has none, after its convolution
    down, and on the way up before its ReLU and convolution, where there are twice as many channels.
    Taps by default: those of `unet256`. Images as there.

    Source: Ren et al. 2021 (OMGD); order as in its released code.
    """

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__("deep-unet256", settings, num_levels=NUM_LEVELS)
        times = [*OUTER_TIMES, *[8] * (NUM_LEVELS - len(OUTER_TIMES))]
        level = self.model
        for depth in range(NUM_LEVELS - 1):
            down = settings.width * times[depth]
            # a level's way up ends in what the level above has on its way down
            up = settings.width * times[depth - 1] if depth else 2 * down
            level = _add_expansions(level, down, up, norm=settings.norm, outermost=depth == 0)
        paths = [name for name, module in self.named_modules() if isinstance(module, UNetLevel)]
        ends = [(2, 0), (4, 0), (3, UP_RELU), (1, UP_RELU)]
        self.default_taps = tuple(f"{paths[level]}.model.{layer}" for level, layer in ends)
        self.tap_channels = dict(zip(self.default_taps, self.tap_channels.values(), strict=True))

    def tap_names(self) -> tuple[str, ...]:
        """Every layer and level, as in `unet256`; an expansion block is one layer."""
        return tuple(name for name in super().tap_names() if ".conv_block." not in name)


def _add_expansions(
    level: UNetLevel, down: int, up: int, *, norm: str, outermost: bool
) -> UNetLevel:
    """Puts the expansion blocks of `level` in their places and returns the level below it."""
    layers = list(level.model)
    at = next(k for k, layer in enumerate(layers) if isinstance(layer, UNetLevel))
    before, below, behind = layers[:at], layers[at], layers[at + 1 :]
    going_down, going_up = (
        [ExpansionBlock(channels, norm=norm) for _ in range(2)] for channels in (down, up)
    )
    behind = [*going_up, *behind] if outermost else [*behind, *going_up]
    level.model = nn.Sequential(*before, *going_down, below, *behind)
    assert isinstance(below, UNetLevel)
    return below


def deep_resnet9(
    width: int = 16,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "instance",
    dropout: float = 0.0,
) -> DeepResNetGenerator:
    """OMGD's deep teacher of a `mobile-resnet9` student of the same width.

    Args:
        width: ngf; the later widths are 2 and 4 times it.
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        norm: `"instance"` or `"batch"`.
        dropout: rate within the separable blocks.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    settings = GeneratorSettings(width, in_channels, out_channels, norm, dropout, None)
    return construct(lambda: DeepResNetGenerator(settings))


def deep_unet256(
    width: int = 16,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "batch",
    dropout: float = 0.0,
) -> DeepUNetGenerator:
    """OMGD's deep teacher of a `unet256` student of the same width; arguments as `deep_resnet9`."""
    settings = GeneratorSettings(width, in_channels, out_channels, norm, dropout, None)
    return construct(lambda: DeepUNetGenerator(settings))
