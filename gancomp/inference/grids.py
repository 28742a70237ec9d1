"""Pictures of what generators can do: images at one size, in colors, side by side."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.data.transforms import to_uint8
from gancomp.files import replacing
from gancomp.inference.sampling import grid


def resized(images: Tensor, size: torch.Size) -> Tensor:
    """The images `(N, 3, H, W)` at `size`, height and width (bicubic), within [-1, 1]."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic").clamp(-1, 1)


def as_colors(images: Tensor) -> Tensor:
    """Images `(N, C, H, W)` as `(N, 3, H, W)`: gray repeated, two averaged, else the first 3."""
    if images.shape[1] == 2:
        images = images.mean(dim=1, keepdim=True)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]


def draw_grid(images: Tensor, path: Path, columns: int) -> None:
    """Writes `images` `(N, C, H, W)` in [-1, 1] as one PNG with that many columns."""
    with replacing(path) as aside:
        grid(list(to_uint8(images.float())), columns).save(aside, format="PNG")
