"""What stands between a student's feature maps and its teacher's while it learns; never deployed.

`Adaptors` change channels only, `GenerationBlock` (MGD) rebuilds a masked map, `AttentionFusion`
(ReviewKD) mixes a tap with those behind it. Initial weights come from a generator of the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.base import initialize

AdaptorKind = Literal["conv", "conv-without-bias", "conv-bn-relu"]
MaskKind = Literal["positions", "channels"]


class Adaptors(nn.Module):
    """One trained 1x1 convolution per tap, from the student's channels to the teacher's.

    Args:
        student_channels: tap name to its channels.
        teacher_channels: the same taps.
        kind: `conv` (GAN-Compression, FitNet), `conv-without-bias` (GCC) or `conv-bn-relu` (OMGD).
        generator: source of the initial weights: conv N(0, 0.02), BatchNorm weight N(1, 0.02).

    Raises:
        ValueError: if the taps differ.
    """

    def __init__(
        self,
        student_channels: Mapping[str, int],
        teacher_channels: Mapping[str, int],
        *,
        kind: AdaptorKind,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if student_channels.keys() != teacher_channels.keys():
            raise ValueError(f"taps {list(student_channels)} and {list(teacher_channels)} differ")
        self.taps = tuple(student_channels)
        with torch.device("meta"):  # default weights would be drawn from the global generator
            # a list, for module names must not contain dots and tap names do
            self.by_tap = nn.ModuleList(
                _adaptor(channels, teacher_channels[tap], kind)
                for tap, channels in student_channels.items()
            )
        self.to_empty(device="cpu")
        initialize(self, generator)

    def forward(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each tap's map `(N, C, H, W)` with the teacher's channels."""
        return {tap: adapt(maps[tap]) for tap, adapt in zip(self.taps, self.by_tap, strict=True)}


def _adaptor(source: int, target: int, kind: AdaptorKind) -> nn.Module:
    conv = nn.Conv2d(source, target, 1, bias=kind == "conv")
    if kind == "conv-bn-relu":
        return nn.Sequential(conv, nn.BatchNorm2d(target), nn.ReLU())
    return conv


class GenerationBlock(nn.Module):
    """Rebuilds the teacher's map from the student's, parts of which are masked (MGD).

    Parameter names are those of the released code; `align` exists only if channels differ.

    Args:
        student_channels: of the student's map.
        teacher_channels: of the teacher's.
        mask: `positions`, the same for all channels (dense tasks), or whole `channels`.
        dropped: share of what is masked: 0.65 or 0.75 of positions, 0.15 of channels.
        generator: source of the initial weights.

    Raises:
        ValueError: for an unknown mask, or a share that is not in [0, 1).

    Source: Yang et al. 2022 (MGD), eqs. 2 to 4.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        mask: MaskKind = "positions",
        dropped: float = 0.65,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if mask not in ("positions", "channels"):
            raise ValueError(f"unknown mask {mask!r}; choose positions or channels")
        if not 0 <= dropped < 1:
            raise ValueError(f"share {dropped} of what is masked must be at least 0 and below 1")
        self.mask, self.dropped, self.num_channels = mask, dropped, teacher_channels
        with torch.device("meta"):
            self.align = (
                nn.Conv2d(student_channels, teacher_channels, 1)
                if student_channels != teacher_channels
                else nn.Identity()
            )
            self.generation = nn.Sequential(
                nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
            )
        self.to_empty(device="cpu")
        initialize(self, generator)

    def uniform_shape(self, student: Tensor) -> tuple[int, int, int, int]:
        """The shape of the random numbers that `forward` takes for this map."""
        num, _, height, width = student.shape
        if self.mask == "positions":
            return (num, 1, height, width)
        return (num, self.num_channels, 1, 1)

    def forward(self, student: Tensor, uniform: Tensor) -> Tensor:
        """The rebuilt map.

        Args:
            student: `(N, student_channels, H, W)`.
            uniform: random numbers in [0, 1) of `uniform_shape(student)`, drawn by the caller.

        Returns: `(N, teacher_channels, H, W)`.
        """
        # the released code drops positions by large numbers and channels by small ones
        kept = uniform <= 1 - self.dropped if self.mask == "positions" else uniform >= self.dropped
        rebuilt: Tensor = self.generation(self.align(student) * kept)
        return rebuilt


class AttentionFusion(nn.Module):
    """Student maps mixed from the deepest tap to the shallowest, each in its teacher's shape.

    Each tap goes to `mid_channels`, is mixed with what comes from the tap behind it by two maps of
    attention, and handed on before it goes to the teacher's channels. State keys of `by_tap.k` are
    those of the released code's `abfs.k`: the deepest tap comes first.

    Args:
        student_channels: of the taps, shallowest first.
        teacher_channels: as many.
        mid_channels: default: the student's deepest channels, 512 at most.
        generator: source of the initial weights: Kaiming uniform with a = 1, PyTorch's default for
            the convolution that makes the attention.

    Raises:
        ValueError: if there is no tap, or the numbers differ.

    Source: Chen et al. 2021 (ReviewKD), section 3.2, "attention based fusion".
    """

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        mid_channels: int | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if not student_channels or len(student_channels) != len(teacher_channels):
            raise ValueError(
                f"{len(student_channels)} taps of the student and {len(teacher_channels)} of the "
                "teacher: both need the same, at least one"
            )
        mid = mid_channels or min(512, student_channels[-1])
        deepest_first = list(zip(student_channels, teacher_channels, strict=True))[::-1]
        with torch.device("meta"):
            self.by_tap = nn.ModuleList(
                FusionStep(source, mid, target, fuse=k > 0)
                for k, (source, target) in enumerate(deepest_first)
            )
        self.to_empty(device="cpu")
        for step in self.by_tap:
            assert isinstance(step, FusionStep)
            step.draw_weights(generator)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """As many maps, with the teacher's channels, in the same order: shallowest first."""
        residual, fused = None, []
        for step, features in zip(self.by_tap, reversed(maps), strict=True):
            output, residual = step(features, residual)
            fused.append(output)
        return fused[::-1]


class FusionStep(nn.Module):
    """One tap of `AttentionFusion`; parameter names are those of the released code's `ABF`."""

    def __init__(self, source: int, mid: int, target: int, *, fuse: bool) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(source, mid, 1, bias=False), nn.BatchNorm2d(mid))
        self.conv2 = nn.Sequential(
            nn.Conv2d(mid, target, 3, padding=1, bias=False), nn.BatchNorm2d(target)
        )
        self.att_conv = nn.Sequential(nn.Conv2d(2 * mid, 2, 1), nn.Sigmoid()) if fuse else None

    def draw_weights(self, generator: torch.Generator) -> None:
        """Draws fresh weights as the released code does, from `generator` alone."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # PyTorch's default is Kaiming uniform with a = sqrt(5)
                a = 5**0.5 if module.bias is not None else 1.0
                nn.init.kaiming_uniform_(module.weight, a=a, generator=generator)
                if module.bias is not None:
                    bound = module.in_channels**-0.5
                    nn.init.uniform_(module.bias, -bound, bound, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    def forward(self, features: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """The tap's map for the loss and what the next shallower tap is mixed with.

        Args:
            features: `(N, source, H, W)`.
            residual: `(N, mid, h, w)` from the tap behind, None for the deepest.

        Returns: `(N, target, H, W)` and `(N, mid, H, W)`.
        """
        mixed: Tensor = self.conv1(features)
        if self.att_conv is not None and residual is not None:
            residual = F.interpolate(residual, mixed.shape[2:], mode="nearest")
            attention = self.att_conv(torch.cat([mixed, residual], dim=1))
            mixed = mixed * attention[:, :1] + residual * attention[:, 1:]
        return self.conv2(mixed), mixed
