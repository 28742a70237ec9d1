"""The only place where files' uint8 pixels become the float images of training, and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gancomp.data.pixels import Values
from gancomp.sizes import Size, sides


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as float32 `(3, H, W)` in [-1, 1]."""
    return to_float(to_pixels(image)).contiguous()


def picture_tensor(picture: Image.Image | Values) -> Tensor:
    """A decoded image, 8-bit RGB or `(H, W, C)` in [-1, 1], as float32 `(C, H, W)`."""
    if isinstance(picture, np.ndarray):
        return torch.from_numpy(picture).movedim(-1, 0).contiguous()
    return to_tensor(picture)


def to_pixels(image: Image.Image) -> Tensor:
    """An RGB image as uint8 `(H, W, 3)`."""
    return torch.from_numpy(np.array(image, dtype=np.uint8))  # a copy: PIL's memory is read-only


def to_float(pixels: Tensor) -> Tensor:
    """Images as float32 `(..., 3, H, W)` in [-1, 1], on the device they are on.

    A batch comes out in channels_last, the layout that pixels have anyway.

    Args:
        pixels: uint8 `(..., H, W, 3)`.
    """
    return pixels.movedim(-1, -3).to(torch.float32).div_(255).sub_(0.5).div_(0.5)


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Generated images as the FID protocol of CycleGAN's descendants quantizes them.

    `(x + 1) / 2 * 255`, clipped and truncated (not rounded), in float32: a float image made by
    `to_tensor` comes back up to one level darker.

    Args:
        images: `(N, 3, H, W)`; values outside [-1, 1] are clipped.

    Returns: `(N, H, W, 3)` uint8, contiguous.

    Raises:
        ValueError: if `images` is not 4-D or holds a NaN.
    """
    return _quantized((_checked(images) + 1) / 2.0 * 255.0)


def to_nearest_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Enlarged images rounded to the nearest level, as super-resolution is scored and saved.

    Args, returns and raises as `to_uint8`.
    """
    return _quantized(((_checked(images) + 1) * 127.5).clamp(0, 255).round())


def _checked(images: Tensor) -> Tensor:
    if images.ndim != 4:
        raise ValueError(f"images of shape {tuple(images.shape)}: expected (N, C, H, W)")
    images = images.detach().to("cpu", torch.float32)
    if torch.isnan(images).any():
        raise ValueError("images hold NaN: the generator diverged")
    return images


def _quantized(levels: Tensor) -> NDArray[np.uint8]:
    levels = levels.clamp(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def resize(image: Image.Image, size: Size) -> Image.Image:
    """The image squeezed to `size` (bicubic), whatever its aspect, as CycleGAN does."""
    height, width = sides(size)
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)


def square(image: Image.Image, size: int) -> Image.Image:
    """The largest square in the middle of the image, brought to `size` x `size` in one go.

    Antialiased, with Lanczos' filter; an image of that size comes back as it is.

    Source: the dataset tools of StyleGAN and StyleGAN2.
    """
    width, height = image.size
    side = min(width, height)
    if width != height:
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    return image if side == size else image.resize((size, size), Image.Resampling.LANCZOS)


class Window(NamedTuple):
    """Where a crop is taken from an image, and whether it is mirrored then."""

    top: int
    left: int
    mirrored: bool


def choose_window(draws: tuple[float, float, float], *, load_size: Size, size: Size) -> Window:
    """The crop that three numbers in [0, 1) choose: its column, its row and the flip.

    Args:
        draws: of column, row and flip (below 0.5: mirrored).
        load_size: height and width of the image.
        size: height and width of the crop, at most `load_size`.
    """
    column, row, mirror = draws
    down, across = (
        loaded - length + 1 for loaded, length in zip(sides(load_size), sides(size), strict=True)
    )
    return Window(top=int(row * down), left=int(column * across), mirrored=mirror < 0.5)


def cut_window(pixels: Tensor, window: Window, size: Size) -> Tensor:
    """The window of an image, `(height, width, 3)`; a view where it is not mirrored.

    Args:
        pixels: `(H, W, 3)`.
        window: of `choose_window`.
        size: height and width of the window.
    """
    top, left, mirrored = window
    height, width = sides(size)
    crop = pixels[top : top + height, left : left + width]
    return crop.flip(1) if mirrored else crop
