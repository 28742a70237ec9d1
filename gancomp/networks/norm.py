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
        return F.instance_norm(features, eps=eps)
    if features.device.type == "cpu":
        # of one image, the statistics of a batch are those of the instance, and that kernel is the
        # only fast one the CPU has for channels_last
        images = [
            F.batch_norm(image, None, None, training=True, eps=eps)
            for image in torch.split(features, 1)
        ]
        return images[0] if len(images) == 1 else torch.cat(images)
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
    return (features - mean) * torch.rsqrt(variance + eps)
