"""The ResNet generators of CycleGAN, dense and with separable convolutions ("mobile").

Layer indices and parameter names are those of the published checkpoints. A residual block always
has a dropout slot at index 4, so its second convolution is `conv_block.6`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gancomp.networks.base import SequentialNetwork, construct
from gancomp.networks.fused import Chain
from gancomp.networks.layers import (
    CONV_BEFORE,
    RELU_AFTER,
    TRANSPOSED_CONV_BEFORE,
    ConvBeforeNorm2d,
    ImageConv2d,
    InstanceNorm2d,
    ReflectionPad2d,
)
from gancomp.networks.settings import GeneratorSettings, norm_layer

FIRST_BLOCK = 10  # index in `model`: stem and two strided convolutions come before


class SeparableConv(nn.Module):
    """A 3x3 depthwise and a 1x1 pointwise convolution with an InstanceNorm between them.

    The norm between is InstanceNorm and both convolutions have a bias whatever the network's norm.
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: str) -> None:
        super().__init__()
        self.conv = Chain(
            ConvBeforeNorm2d(in_channels, in_channels, 3, groups=in_channels),
            InstanceNorm2d(in_channels),
            CONV_BEFORE[norm](in_channels, out_channels, 1),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, in, H, W)` to `(N, out, H - 2, W - 2)`."""
        outputs: Tensor = self.conv(inputs)
        return outputs


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with norms; the input is added and no activation follows the sum."""

    def __init__(
        self, channels: int, inner_channels: int, *, norm: str, dropout: float, mobile: bool
    ) -> None:
        super().__init__()

        def conv(source: int, target: int) -> nn.Module:
            if mobile:
                return SeparableConv(source, target, norm=norm)
            return CONV_BEFORE[norm](source, target, 3, bias=norm == "instance")

        self.conv_block = Chain(
            ReflectionPad2d(1),
            conv(channels, inner_channels),
            norm_layer(norm, inner_channels),
            RELU_AFTER[norm](),
            nn.Dropout(dropout) if dropout else nn.Identity(),
            ReflectionPad2d(1),
            conv(inner_channels, channels),
            norm_layer(norm, channels),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, channels, H, W)` to the same shape."""
        outputs: Tensor = inputs + self.conv_block(inputs)
        return outputs


class ResNetGenerator(SequentialNetwork):
    """7x7 stem, two strided convolutions, residual blocks, two transposed convolutions, 7x7 head.

    Taps by default: the end of the stem and after each third of the blocks. Maps images
    `(N, in, H, W)` in [-1, 1] to `(N, out, H, W)` in [-1, 1].

    Source: Zhu et al. 2017 (CycleGAN); the mobile form: Li et al. 2020 (GAN Compression).
    """

    size_multiple = 4

    def __init__(
        self, arch: str, settings: GeneratorSettings, *, num_blocks: int, mobile: bool
    ) -> None:
        uniform = [settings.width * times for times in (1, 2, 4, *[4] * num_blocks, 2, 1)]
        super().__init__(arch, settings.as_dict(uniform))
        stem, down1, down2, *inner, up1, up2 = settings.explicit_channels(
            uniform,
            f"stem, down1, down2, the inner width of {num_blocks} blocks, up1, up2",
            removable=range(3, 3 + num_blocks),
        )
        self.layer_widths = {"channels": [stem, down1, down2, *inner, up1, up2]}
        inner = [width for width in inner if width]  # the others were pruned away, as GCC does
        norm = settings.norm
        self.width = stem
        layers: list[nn.Module] = [ReflectionPad2d(3)]
        layers += _conv_norm_relu(settings.in_channels, stem, 7, norm=norm)
        layers += _conv_norm_relu(stem, down1, 3, norm=norm, stride=2, padding=1)
        layers += _conv_norm_relu(down1, down2, 3, norm=norm, stride=2, padding=1)
        layers += [
            ResidualBlock(down2, width, norm=norm, dropout=settings.dropout, mobile=mobile)
            for width in inner
        ]
        layers += _upconv_norm_relu(down2, up1, norm=norm)
        layers += _upconv_norm_relu(up1, up2, norm=norm)
        layers += [ReflectionPad2d(3), ImageConv2d(up2, settings.out_channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        taps = (f"model.{FIRST_BLOCK - 1 + len(inner) * k // 3}" for k in range(4))
        self.default_taps = tuple(dict.fromkeys(taps))
        self.tap_channels = dict.fromkeys(self.default_taps, down2)


def _conv_norm_relu(
    source: int, target: int, kernel: int, *, norm: str, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    conv = CONV_BEFORE[norm](source, target, kernel, stride, padding, bias=norm == "instance")
    return [conv, norm_layer(norm, target), RELU_AFTER[norm]()]


def _upconv_norm_relu(source: int, target: int, *, norm: str) -> list[nn.Module]:
    conv = TRANSPOSED_CONV_BEFORE[norm](
        source, target, 3, stride=2, padding=1, output_padding=1, bias=norm == "instance"
    )
    return [conv, norm_layer(norm, target), RELU_AFTER[norm]()]


def resnet9(
    width: int = 64,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "instance",
    dropout: float = 0.0,
    channels: Sequence[int] | None = None,
) -> ResNetGenerator:
    """The generator of CycleGAN with 9 residual blocks of dense 3x3 convolutions.

    Args:
        width: ngf; the later widths are 2 and 4 times it.
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        norm: `"instance"` or `"batch"`.
        dropout: rate within the residual blocks.
        channels: explicit widths instead: stem, down1, down2, inner width of each block (0: there
            is no such block), up1, up2.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    settings = GeneratorSettings(width, in_channels, out_channels, norm, dropout, channels)
    return construct(lambda: ResNetGenerator("resnet9", settings, num_blocks=9, mobile=False))


def resnet6(
    width: int = 64,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "instance",
    dropout: float = 0.0,
    channels: Sequence[int] | None = None,
) -> ResNetGenerator:
    """The same as `resnet9` with 6 residual blocks, CycleGAN's choice for 128x128 images."""
    settings = GeneratorSettings(width, in_channels, out_channels, norm, dropout, channels)
    return construct(lambda: ResNetGenerator("resnet6", settings, num_blocks=6, mobile=False))


def mobile_resnet9(
    width: int = 64,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "instance",
    dropout: float = 0.0,
    channels: Sequence[int] | None = None,
) -> ResNetGenerator:
    """`resnet9` with separable convolutions in its blocks, the default network of OMGD and DCD."""
    settings = GeneratorSettings(width, in_channels, out_channels, norm, dropout, channels)
    return construct(lambda: ResNetGenerator("mobile-resnet9", settings, num_blocks=9, mobile=True))


def mobile_resnet6(
    width: int = 64,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "instance",
    dropout: float = 0.0,
    channels: Sequence[int] | None = None,
) -> ResNetGenerator:
    """`mobile_resnet9` with 6 residual blocks."""
    settings = GeneratorSettings(width, in_channels, out_channels, norm, dropout, channels)
    return construct(lambda: ResNetGenerator("mobile-resnet6", settings, num_blocks=6, mobile=True))
