"""Runs a generator on images of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.errors import GancompError
from gancomp.networks.accelerate import FastGenerator
from gancomp.networks.base import TappedNetwork, device_of
from gancomp.networks.tiling import upscale

SMALLEST = 8  # pixels: two at a quarter of the size, which reflection and InstanceNorm need


@torch.no_grad()
def run_generator(network: TappedNetwork | FastGenerator, images: Tensor) -> Tensor:
    """The generator's output for images of any size, on the network's device, cut to their size.

    Images whose height and width are multiples of the network's `size_multiple` are passed on as
    they are; others are extended to the next ones by reflection (by their edge pixels where they
    are too small for that), which InstanceNorm notices.

    Args:
        network: in eval mode, or what `accelerate` made of it: once, for many images.
        images: `(N, 3, H, W)` in [-1, 1].

    Returns: `(N, 3, H, W)` in [-1, 1] on the CPU; `scale` times as high and wide from a network
        for super-resolution, which takes large images in tiles.

    Raises:
        GancompError: if the output is not finite.
    """
    itself = network.network if isinstance(network, FastGenerator) else network
    if itself.scale > 1:
        return finite(upscale(itself, images))
    height, width = images.shape[2:]
    bottom, right = (
        -max(length, SMALLEST) % network.size_multiple + max(length, SMALLEST) - length
        for length in (height, width)
    )
    images = images.to(device_of(itself))
    if bottom or right:
        mode = "reflect" if bottom < height and right < width else "replicate"
        images = F.pad(images, (0, right, 0, bottom), mode=mode)
    return finite(network(images)[..., :height, :width].cpu())


def finite(fake: Tensor) -> Tensor:
    """`fake` itself.

    Raises:
        GancompError: if a value is not finite.
    """
    if not bool(torch.isfinite(fake).all()):
        raise GancompError("the model's output is not finite; its weights are damaged or diverged")
    return fake
