"""The Inception-v3 that FID is defined with, for inference alone: norms folded, channels_last."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.winograd import FrozenConv2d

INPUT_SIZE = 299
LEAST_SIZE = 75  # all layers have a position left
FIRST = "Conv2d_1a_3x3"
NORM_EPS = 1e-3
# all other convolutions keep the size
UNPADDED = frozenset(
    (FIRST, "Conv2d_2a_3x3", "Conv2d_4a_3x3", "Mixed_6a.branch3x3")
    + ("Mixed_6a.branch3x3dbl_3", "Mixed_7a.branch3x3_2", "Mixed_7a.branch7x7x3_4")
)
HALVING = UNPADDED - {"Conv2d_2a_3x3", "Conv2d_4a_3x3"}


class FoldedConvolution(nn.Module):
    """Convolution, batch norm and ReLU of an evaluated network, as one convolution and a ReLU.

    An evaluated batch norm multiplies each channel by a constant and adds another; both can be
    done to the weights beforehand, which is exact but for rounding.

    Args:
        state: the weights of all units, by pytorch-fid's names.
        name: of this unit, without `.conv.weight`.
    """

    def __init__(self, state: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        norm = {key: state[f"{name}.bn.{key}"] for key in ("weight", "running_mean", "running_var")}
        scale = norm["weight"] * torch.rsqrt(norm["running_var"] + NORM_EPS)
        weight = state[f"{name}.conv.weight"] * scale.view(-1, 1, 1, 1)
        bias = state[f"{name}.bn.bias"] - norm["running_mean"] * scale
        if name == FIRST:  # the same for pixels x in [0, 1] in place of 2 x - 1
            bias = bias - weight.sum(dim=(1, 2, 3))
            weight = 2 * weight
        # several times faster than the usual layout on CPUs with wide vectors, and on tensor cores
        weight = weight.contiguous(memory_format=torch.channels_last)
        height, width = weight.shape[2:]
        padding = (0, 0) if name in UNPADDED else ((height - 1) // 2, (width - 1) // 2)
        stride = (2, 2) if name in HALVING else (1, 1)
        self.conv = FrozenConv2d.of(weight, bias, stride=stride, padding=padding)

    def forward(self, features: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C', H', W')`."""
        return self.linear(features).relu_()

    def linear(self, features: Tensor) -> Tensor:
        """The same before its ReLU."""
        output: Tensor = self.conv(features)
        return output


class FoldedInception(nn.Module):
    """pytorch-fid's `InceptionV3` up to its last average pool, frozen, equal but for rounding.

    Args:
        state: pytorch-fid's state dict; its last layer is not used.

    Raises:
        KeyError, RuntimeError: if the weights are not those of this network.

    Source: Szegedy et al. 2016, with the pools of the TensorFlow network that FID was published
    with: averages leave the padding out, and the last block takes a maximum instead.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        names = [key.removesuffix(".conv.weight") for key in state if key.endswith(".conv.weight")]
        # a module's own names may hold no dots
        self.units = nn.ModuleDict(
            {name.replace(".", "/"): FoldedConvolution(state, name) for name in names}
        )
        self.requires_grad_(False)

    def forward(self, images_01: Tensor) -> Tensor:
        """Pool3 features `(N, 2048)` of images `(N, 3, H, W)` in [0, 1], resized to 299x299."""
        images = images_01.contiguous(memory_format=torch.channels_last)
        if images.shape[2:] != (INPUT_SIZE, INPUT_SIZE):
            size = (INPUT_SIZE, INPUT_SIZE)
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        return self.pooled(images)

    def pooled(self, images: Tensor) -> Tensor:
        """Pool3 features of images in [0, 1] as large as they are, from 75x75 on."""
        features = self._in_turn(images, FIRST, "Conv2d_2a_3x3")
        features = self._highest(features, "Conv2d_2b_3x3")
        features = self._in_turn(features, "Conv2d_3b_1x1")
        features = self._highest(features, "Conv2d_4a_3x3")
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            features = self._mixed_5(features, f"{block}/")
        features = self._mixed_6a(features, "Mixed_6a/")
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            features = self._mixed_6(features, f"{block}/")
        features = self._mixed_7a(features, "Mixed_7a/")
        features = self._mixed_7(features, "Mixed_7b/", self._average)
        features = self._mixed_7(features, "Mixed_7c/", self._maximum)
        return features.mean(dim=(2, 3))

    def _in_turn(self, features: Tensor, *names: str) -> Tensor:
        for name in names:
            features = self.units[name](features)
        return features

    def _highest(self, features: Tensor, name: str) -> Tensor:
        """Convolution `name`, its ReLU and a maximum over 3x3: swapped, for the ReLU of fewer."""
        unit = self.units[name]
        assert isinstance(unit, FoldedConvolution)
        return F.max_pool2d(unit.linear(features), 3, 2).relu_()

    def _average(self, features: Tensor, name: str) -> Tensor:
        """A mean over 3x3, then convolution `name`: swapped, for the mean of fewer channels.

        Both are linear, the convolution is 1x1, and its bias is its own mean.
        """
        unit = self.units[name]
        assert isinstance(unit, FoldedConvolution)
        return F.avg_pool2d(
            unit.linear(features), 3, stride=1, padding=1, count_include_pad=False
        ).relu_()

    def _maximum(self, features: Tensor, name: str) -> Tensor:
        return self._in_turn(F.max_pool2d(features, 3, stride=1, padding=1), name)

    def _mixed_5(self, x: Tensor, block: str) -> Tensor:
        double = [f"{block}branch3x3dbl_{index}" for index in (1, 2, 3)]
        branches = [
            self._in_turn(x, f"{block}branch1x1"),
            self._in_turn(x, f"{block}branch5x5_1", f"{block}branch5x5_2"),
            self._in_turn(x, *double),
            self._average(x, f"{block}branch_pool"),
        ]
        return torch.cat(branches, dim=1)

    def _mixed_6a(self, x: Tensor, block: str) -> Tensor:
        double = [f"{block}branch3x3dbl_{index}" for index in (1, 2, 3)]
        branches = [
            self._in_turn(x, f"{block}branch3x3"),
            self._in_turn(x, *double),
            F.max_pool2d(x, 3, 2),
        ]
        return torch.cat(branches, dim=1)

    def _mixed_6(self, x: Tensor, block: str) -> Tensor:
        branches = [
            self._in_turn(x, f"{block}branch1x1"),
            self._in_turn(x, *(f"{block}branch7x7_{index}" for index in (1, 2, 3))),
            self._in_turn(x, *(f"{block}branch7x7dbl_{index}" for index in (1, 2, 3, 4, 5))),
            self._average(x, f"{block}branch_pool"),
        ]
        return torch.cat(branches, dim=1)

    def _mixed_7a(self, x: Tensor, block: str) -> Tensor:
        branches = [
            self._in_turn(x, *(f"{block}branch3x3_{index}" for index in (1, 2))),
            self._in_turn(x, *(f"{block}branch7x7x3_{index}" for index in (1, 2, 3, 4))),
            F.max_pool2d(x, 3, 2),
        ]
        return torch.cat(branches, dim=1)

    def _mixed_7(self, x: Tensor, block: str, pooled: Callable[[Tensor, str], Tensor]) -> Tensor:
        single = self._in_turn(x, f"{block}branch3x3_1")
        double = self._in_turn(x, f"{block}branch3x3dbl_1", f"{block}branch3x3dbl_2")
        branches = [
            self._in_turn(x, f"{block}branch1x1"),
            self._in_turn(single, f"{block}branch3x3_2a"),
            self._in_turn(single, f"{block}branch3x3_2b"),
            self._in_turn(double, f"{block}branch3x3dbl_3a"),
            self._in_turn(double, f"{block}branch3x3dbl_3b"),
            pooled(x, f"{block}branch_pool"),
        ]
        return torch.cat(branches, dim=1)
