"""OMGD's discriminator of two teachers: a PatchGAN whose blocks are shared or stand twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork, construct
from gancomp.networks.layers import CONV_BEFORE
from gancomp.networks.settings import check_count, check_norm, norm_layer

NUM_BLOCKS = 5
Teacher = Literal["wide", "deep"]
BRANCHES: dict[Teacher, int] = {"wide": 0, "deep": 1}
SHARED = 1  # the branch of a shared block that is used; the other one is never trained, but saved


class BranchBlock(nn.Module):
    """One convolution with its norm and activation, under the released code's name."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(N, in, H, W)` to `(N, out, h, w)`."""
        outputs: Tensor = self.block(inputs)
        return outputs


class TwoBranchPatchGAN(TappedNetwork):
    """PatchGAN of five blocks, the first `num_shared` of which judge both teachers' images.

    Maps `(N, in, H, W)` to logits `(N, 1, h, w)` by the branch of `teacher`, which is the wide one
    until `judge` says else. Parameter names are those of the released checkpoints.

    Source: Ren et al. 2021 (OMGD); the released code's discriminator of several heads.
    """

    size_multiple = 1

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("two-branch-patchgan", settings)
        self.width, norm = settings["width"], settings["norm"]
        self.num_shared: int = settings["num_shared"]
        self.teacher: Teacher = "wide"
        widths = (settings["in_channels"], *(self.width * k for k in (1, 2, 4, 8)), 1)
        for k in range(NUM_BLOCKS):
            branches = [BranchBlock(_layers(k, widths[k], widths[k + 1], norm)) for _ in range(2)]
            self.add_module(f"block{k + 1}s", nn.ModuleList(branches))
        self.default_taps = ("block4",)
        self.tap_channels = {"block4": widths[4]}

    def judge(self, teacher: Teacher) -> None:
        """Chooses whose branch runs from now on.

        Raises:
            ValueError: for another teacher.
        """
        if teacher not in BRANCHES:
            raise ValueError(f"unknown teacher {teacher!r}; choose one of {', '.join(BRANCHES)}")
        self.teacher = teacher

    def branch(self, teacher: Teacher, block: int) -> BranchBlock:
        """What judges images of `teacher` at `block`, 0 to 4."""
        branches = self.get_submodule(f"block{block + 1}s")
        assert isinstance(branches, nn.ModuleList)
        chosen = branches[SHARED if block < self.num_shared else BRANCHES[teacher]]
        assert isinstance(chosen, BranchBlock)
        return chosen

    def walk(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields `block1` to `block5` and their outputs, in order."""
        return self.walk_as(self.teacher, images)

    def walk_as(self, teacher: Teacher, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The same by the branch of `teacher`, whoever is judged else."""
        output = images
        for k in range(NUM_BLOCKS):
            output = self.branch(teacher, k)(output)
            yield f"block{k + 1}", output

    def tap_names(self) -> tuple[str, ...]:
        """`block1` to `block5`."""
        return tuple(f"block{k + 1}" for k in range(NUM_BLOCKS))


class BranchOf(TappedNetwork):
    """The discriminator as one teacher's task sees it: `whole` with that teacher's branch."""

    size_multiple = 1

    def __init__(self, whole: TwoBranchPatchGAN, teacher: Teacher) -> None:
        super().__init__(whole.arch, whole.settings())
        self.whole, self.teacher = whole, teacher
        self.width, self.default_taps = whole.width, whole.default_taps
        self.tap_channels = whole.tap_channels

    def walk(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """As `whole` does when this teacher is judged."""
        return self.whole.walk_as(self.teacher, images)

    def tap_names(self) -> tuple[str, ...]:
        """`block1` to `block5`."""
        return self.whole.tap_names()


def _layers(block: int, source: int, target: int, norm: str) -> list[nn.Module]:
    """As the layers of a PatchGAN: the first block has no norm, the last is a bare convolution."""
    if block == NUM_BLOCKS - 1:
        return [nn.Conv2d(source, target, 4, padding=1)]
    if block == 0:
        return [nn.Conv2d(source, target, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    stride = 2 if block < NUM_BLOCKS - 2 else 1
    conv = CONV_BEFORE[norm](source, target, 4, stride, padding=1, bias=norm == "instance")
    return [conv, norm_layer(norm, target), nn.LeakyReLU(0.2)]


def two_branch_patchgan(
    width: int = 128, *, in_channels: int = 6, norm: str = "instance", num_shared: int = 3
) -> TwoBranchPatchGAN:
    """OMGD's discriminator of a wide and a deep teacher.

    Args:
        width: ndf; the convolutions have 1, 2, 4 and then 8 times it.
        in_channels: channels of what it judges: condition and image together.
        norm: `"instance"` or `"batch"`.
        num_shared: how many of the five blocks both teachers share, from the first on.

    Raises:
        ConfigError: for a setting that no network can be built with.
    """
    check_count("`d_width`", width)
    check_count("`in_channels`", in_channels)
    check_norm(norm)
    if isinstance(num_shared, bool) or num_shared not in range(NUM_BLOCKS + 1):
        raise ConfigError(f"num_shared {num_shared!r}: must be a whole number from 0 to 5")
    settings = {
        "width": width,
        "in_channels": in_channels,
        "norm": norm,
        "num_shared": num_shared,
    }
    return construct(lambda: TwoBranchPatchGAN(settings))
