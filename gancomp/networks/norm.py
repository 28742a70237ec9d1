"""Instance normalisation that keeps the memory layout of its input, with float32 statistics.

`F.instance_norm` makes its input contiguous: in a channels_last network every norm would then copy
its map twice, and every convolution behind it would run in the slower layout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without parameters or running statistics, for any memory layout."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)

    def forward(self, input: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape, layout and type."""
        return instance_norm(input, self.eps)


def instance_norm(features: Tensor, eps: float = 1e-5) -> Tensor:
    """Each channel of each image shifted to mean 0 and scaled to variance 1.

    Args:
        features: `(N, C, H, W)` with more than one position, of any memory layout and type.
        eps: added to the variance.

    Returns: the same shape, layout and type; statistics are computed in float32 at least.

    Raises:
        ValueError: if there is only one position, which has no variance.

    Source: Ulyanov et al. 2016; equal to `F.instance_norm`.
    """
    if features.shape[2] * features.shape[3] == 1:
        raise ValueError(f"instance norm of {tuple(features.shape)}: needs more than 1 position")
    if features.dtype in (torch.bfloat16, torch.float16):
        return instance_norm(features.float(), eps).to(features.dtype)
    if features.is_contiguous() or not features.is_contiguous(memory_format=torch.channels_last):
        # without rows and columns: given a single image's gradient in channels_last, torch 2.15's
        # backward pass on CPUs would be wrong
        return F.instance_norm(features.flatten(2), eps=eps).view(features.shape)
    if features.device.type == "cpu":
        return _one_image_at_a_time(features, eps)
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
    return (features - mean) * torch.rsqrt(variance + eps)


def _one_image_at_a_time(features: Tensor, eps: float) -> Tensor:
    """By the batch norm kernel, the only fast one that the CPU has for channels_last.

    Of a single image, the statistics of the batch are those of the instance.
    """
    if len(features) == 1:  # split's backward pass would copy the whole gradient
        return F.batch_norm(features, None, None, training=True, eps=eps)
    images = torch.split(features, 1)
    return torch.cat([F.batch_norm(item, None, None, training=True, eps=eps) for item in images])


class ConvBeforeNorm2d(nn.Conv2d):
    """`nn.Conv2d` with an InstanceNorm right behind it, in whose bias nothing is to be learnt.

    The bias shifts a whole map, and the norm takes that off again: the exact gradient is 0. torch
    would read the map's gradient once more to find rounding errors of that 0, which Adam would then
    scale to full steps.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`(N, in, H, W)` to `(N, out, h, w)`; the bias gets no gradient."""
        bias = None if self.bias is None else self.bias.detach()
        output: Tensor = self._conv_forward(input, self.weight, bias)
        return output


class TransposedConvBeforeNorm2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`, else as `ConvBeforeNorm2d`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """`(N, in, H, W)` to `(N, out, h, w)`; the bias gets no gradient."""
        assert output_size is None, "the output's size follows from the input's"
        return F.conv_transpose2d(
            input,
            self.weight,
            None if self.bias is None else self.bias.detach(),
            self.stride,
            self.padding,  # type: ignore[arg-type]  # a word only for convolutions
            self.output_padding,
            self.groups,
            self.dilation,
        )


# by the name of the norm that follows: BatchNorm's running statistics do notice a bias
CONV_BEFORE: dict[str, type[nn.Conv2d]] = {"instance": ConvBeforeNorm2d, "batch": nn.Conv2d}
TRANSPOSED_CONV_BEFORE: dict[str, type[nn.ConvTranspose2d]] = {
    "instance": TransposedConvBeforeNorm2d,
    "batch": nn.ConvTranspose2d,
}
