"""The only place where files' uint8 pixels become the float images of training, and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as float32 `(3, H, W)` in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))  # a copy: PIL's memory is read-only
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div_(255).sub_(0.5).div_(0.5)


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Generated images as the FID protocol of CycleGAN's descendants quantises them.

    `(x + 1) / 2 * 255`, clipped and truncated (not rounded), in float32: a float image made by
    `to_tensor` comes back up to one level darker.

    Args:
        images: `(N, 3, H, W)`; values outside [-1, 1] are clipped.

    Returns: `(N, H, W, 3)` uint8, contiguous.

    Raises:
        ValueError: if `images` is not 4-D or holds a NaN.
    """
    if images.ndim != 4:
        raise ValueError(f"images of shape {tuple(images.shape)}: expected (N, C, H, W)")
    images = images.detach().to("cpu", torch.float32)
    if torch.isnan(images).any():
        raise ValueError("images hold NaN: the generator diverged")
    levels = ((images + 1) / 2.0 * 255.0).clamp(0, 255)
    pixels: NDArray[np.uint8] = levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def resize(image: Image.Image, size: int) -> Image.Image:
    """The image squeezed to `size` x `size` (bicubic), whatever its aspect, as CycleGAN does."""
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BICUBIC)


def augment(
    image: Image.Image, *, load_size: int, size: int, draws: tuple[float, float, float]
) -> Image.Image:
    """The image resized to `load_size`, cropped to `size` and perhaps flipped left to right.

    Args:
        image: RGB, any size.
        load_size: height and width before the crop, at least `size`.
        size: height and width of the result.
        draws: three numbers in [0, 1) that choose the crop's column, its row and the flip
            (below 0.5: flipped).
    """
    column, row, mirror = draws
    image = resize(image, load_size)
    if load_size > size:
        room = load_size - size + 1
        left, top = int(column * room), int(row * room)
        image = image.crop((left, top, left + size, top + size))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror < 0.5 else image
