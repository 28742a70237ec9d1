"""CAT's generator: a ResNet whose blocks are six parallel branches of small kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork, construct, draw_normal_weights
from gancomp.networks.layers import ImageConv2d, ReflectionPad2d
from gancomp.networks.settings import GeneratorSettings

KERNELS = (1, 3, 5)
REDUCTION = 6  # a branch has a sixth of the block's channels: as many branches, as wide together
NUM_BLOCKS, NUM_BRANCHES = 9, 6
PARTS = ("down_sampling", "blocks", "up_sampling")


class InceptionBlock(nn.Module):
    """Dense and depthwise branches of each kernel, summed, normed and added to the input.

    Parameter names are those of the released checkpoints. A branch of width 0 is left out, and a
    block without branches is the identity.

    Args:
        channels: of input and output.
        inner: channels of each dense branch, then of each depthwise one, by kernel; default: a
            sixth of `channels` everywhere.
        norm: `"instance"` (with scale and shift) or `"batch"`.
        dropout: rate within the branches.

    Source: Jin et al. 2021 (CAT), figure 2.
    """

    def __init__(
        self,
        channels: int,
        inner: Sequence[int] = (),
        *,
        norm: str = "instance",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = inner or (channels // REDUCTION,) * NUM_BRANCHES
        branches = list(zip(widths, KERNELS * 2, strict=True))
        self.res_ops, self.dw_ops = (
            nn.ModuleList(
                make(channels, width, kernel, norm, dropout) for width, kernel in some if width
            )
            for make, some in (
                (_dense, branches[: len(KERNELS)]),
                (_depthwise, branches[len(KERNELS) :]),
            )
        )
        if any(widths):
            self.pw_bn = affine_norm(norm, channels)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, channels, H, W)` to the same shape."""
        branches = [branch(inputs) for branch in (*self.res_ops, *self.dw_ops)]
        if not branches:
            return inputs
        outputs: Tensor = inputs + self.pw_bn(sum(branches))
        return outputs


def affine_norm(norm: str, channels: int) -> nn.Module:
    """The norm with scale and shift: what CAT prunes by."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=True)


def _conv(
    source: int, target: int, kernel: int, norm: str, *, groups: int = 1, act: bool = True
) -> nn.Module:
    conv = nn.Conv2d(source, target, kernel, groups=groups, bias=norm == "instance")
    return nn.Sequential(conv, affine_norm(norm, target), nn.ReLU()) if act else conv


def _dense(channels: int, width: int, kernel: int, norm: str, dropout: float) -> nn.Module:
    return nn.Sequential(
        ReflectionPad2d(kernel // 2),
        _conv(channels, width, kernel, norm),
        nn.Dropout(dropout),
        ReflectionPad2d(kernel // 2),
        _conv(width, channels, kernel, norm, act=False),
    )


def _depthwise(channels: int, width: int, kernel: int, norm: str, dropout: float) -> nn.Module:
    return nn.Sequential(
        _conv(channels, width, 1, norm),
        ReflectionPad2d(kernel // 2),
        _conv(width, width, kernel, norm, groups=width),
        nn.Dropout(dropout),
        _conv(width, channels, 1, norm, act=False),
    )


class InceptionGenerator(TappedNetwork):
    """7x7 stem, two strided convolutions, nine inception blocks, two transposed, 7x7 head.

    Taps by default: the end of the stem and after blocks 3, 6 and 9. Maps images `(N, in, H, W)` in
    [-1, 1] to `(N, out, H, W)` in [-1, 1]. Parameter names are those of the released checkpoints,
    but for `blocks`, which are called `features` there.

    Source: Jin et al. 2021 (CAT), section 3.1. The teacher has ngf 64; a student is pruned out of
    it, to widths of its own in every layer and branch.
    """

    size_multiple = 4

    def __init__(
        self, settings: GeneratorSettings, branches: Sequence[Sequence[int]] | None
    ) -> None:
        uniform = [settings.width * times for times in (1, 2, 4, 2, 1)]
        chosen = settings.as_dict(uniform)
        stem, down1, down2, up1, up2 = settings.explicit_channels(
            uniform, "stem, down1, down2, up1, up2"
        )
        as_wide = [[down2 // REDUCTION] * NUM_BRANCHES] * NUM_BLOCKS
        if branches is not None and (given := [list(widths) for widths in branches]) != as_wide:
            chosen["branches"] = given
        super().__init__("inception-resnet9", chosen)
        self.layer_widths = {
            "channels": [stem, down1, down2, up1, up2],
            "branches": [list(widths) for widths in branches or as_wide],
        }
        norm = settings.norm
        self.width = stem
        bias = norm == "instance"

        def normed(conv: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
            return [conv, affine_norm(norm, conv.out_channels), nn.ReLU()]

        layers: list[nn.Module] = [ReflectionPad2d(3)]
        layers += normed(nn.Conv2d(settings.in_channels, stem, 7, bias=bias))
        for source, target in ((stem, down1), (down1, down2)):
            layers += normed(nn.Conv2d(source, target, 3, 2, padding=1, bias=bias))
        self.down_sampling = nn.Sequential(*layers)
        self.blocks = nn.Sequential(
            *(
                InceptionBlock(down2, inner, norm=norm, dropout=settings.dropout)
                for inner in branches or [()] * NUM_BLOCKS
            )
        )
        layers = []
        for source, target in ((down2, up1), (up1, up2)):
            layers += normed(
                nn.ConvTranspose2d(source, target, 3, 2, 1, output_padding=1, bias=bias)
            )
        layers += [ReflectionPad2d(3), ImageConv2d(up2, settings.out_channels, 7), nn.Tanh()]
        self.up_sampling = nn.Sequential(*layers)
        self.default_taps = ("down_sampling.9", "blocks.2", "blocks.5", "blocks.8")
        self.tap_channels = dict.fromkeys(self.default_taps, down2)

    def draw_weights(self, generator: torch.Generator) -> None:
        """As CycleGAN's; the scales and shifts of InstanceNorm start at 1 and 0."""
        draw_normal_weights(self, generator)
        for module in self.modules():
            if isinstance(module, nn.InstanceNorm2d):
                module.reset_parameters()

    def walk(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields the name and output of every layer of the three parts, in order."""
        output = images
        for part in PARTS:
            for name, layer in self.get_submodule(part).named_children():
                output = layer(output)
                yield f"{part}.{name}", output

    def tap_names(self) -> tuple[str, ...]:
        """`down_sampling.0` to `up_sampling.8`."""
        return tuple(
            f"{part}.{name}"
            for part in PARTS
            for name, _ in self.get_submodule(part).named_children()
        )


def inception_resnet9(
    width: int = 64,
    *,
    in_channels: int = 3,
    out_channels: int = 3,
    norm: str = "instance",
    dropout: float = 0.0,
    channels: Sequence[int] | None = None,
    branches: Sequence[Sequence[int]] | None = None,
) -> InceptionGenerator:
    """The generator of CAT: the teacher, or a student of given widths.

    Args:
        width: ngf, at least 2; the blocks have 4 times it, each of their branches a sixth of that.
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        norm: `"instance"` (with scale and shift, unlike the other networks') or `"batch"`.
        dropout: rate within the blocks.
        channels: explicit widths instead: stem, down1, down2, up1, up2.
        branches: of each of the nine blocks the widths of its branches: dense with kernels 1, 3 and
            5, then depthwise; 0 leaves one out.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    settings = GeneratorSettings(width, in_channels, out_channels, norm, dropout, channels)
    block = settings.explicit_channels([0, 0, 4 * width, 0, 0], "stem, down1, down2, up1, up2")[2]
    if branches is None and block < REDUCTION:
        raise ConfigError(
            f"`width` {width}: blocks of {block} channels have no six branches of a sixth of that; "
            "choose 2 or more"
        )
    if branches is not None:
        _check_branches(branches)
    return construct(lambda: InceptionGenerator(settings, branches))


def _check_branches(branches: Sequence[Sequence[int]]) -> None:
    if len(branches) != NUM_BLOCKS or any(len(widths) != NUM_BRANCHES for widths in branches):
        raise ConfigError(
            f"branches {branches}: need {NUM_BRANCHES} widths for each of {NUM_BLOCKS} blocks"
        )
    for width in (width for widths in branches for width in widths):
        if isinstance(width, bool) or not isinstance(width, int) or width < 0:
            raise ConfigError(f"branches {width!r}: must be a whole number, 0 or more")
