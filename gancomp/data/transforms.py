"""The only place where files' numbers become the float images of training, and back.

Plain pixels are 8-bit RGB; `PixelFormat` says what those of deeper files stand for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gancomp.errors import DataError
from gancomp.sizes import Size, sides

Values = NDArray[np.float32]
Raw = NDArray[Any]  # as stored
FULL_RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}
MOST_CHANNELS = 8


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


@dataclass(frozen=True)
class PixelFormat:
    """How one side's files hold their images, where that is not plain 8-bit RGB.

    Attributes:
        channels: 1 to 8.
        low: the value that becomes -1.
        high: the value that becomes 1; those beyond either are clipped.
        dtype: "uint8", "uint16", "int32" (any other integers), "float32" (any floats); None where
            files of any of them are taken.
    """

    channels: int
    low: float
    high: float
    dtype: str | None

    def __str__(self) -> str:
        kind = f" {self.dtype}" if self.dtype else ""
        return f"{self.channels}-channel{kind} from {self.low:g} to {self.high:g}"

    @property
    def name(self) -> str:
        """The type to write: what was read, or floats where that may be anything."""
        return self.dtype or "float32"

    @property
    def is_8_bit(self) -> bool:
        """Whether 8 bits hold it without any loss."""
        return self.dtype == "uint8" and (self.low, self.high) == FULL_RANGES["uint8"]

    def to_unit(self, raw: Raw) -> Values:
        """`raw` mapped to [-1, 1], values beyond the range clipped.

        Args:
            raw: `(H, W, C)` of any numeric type.

        Raises:
            DataError: if it holds NaN or infinities.
        """
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise DataError("holds NaN or infinite values; replace them, e.g. by the lowest value")
        unit = (raw.astype(np.float64) - self.low) * (2 / (self.high - self.low)) - 1
        return unit.clip(-1, 1).astype(np.float32)

    def from_unit(self, unit: Values) -> Raw:
        """The way back: the range's values, integers rounded.

        Args:
            unit: `(H, W, C)`; values outside [-1, 1] are clipped.

        Raises:
            ValueError: if it holds a NaN.
        """
        if np.isnan(unit).any():
            raise ValueError("images hold NaN: the generator diverged")
        if self.is_8_bit:  # truncated in float32, as the FID protocol has 8-bit images
            return ((unit.clip(-1, 1) + 1) / 2 * 255).astype(np.uint8)
        share = (unit.astype(np.float64).clip(-1, 1) + 1) / 2
        raw = self.low + share * (self.high - self.low)
        kind = np.dtype(self.name)
        if kind.kind == "f":
            return raw.astype(kind)
        limits = np.iinfo(kind)
        return raw.round().clip(limits.min, limits.max).astype(kind)

    def to_8_bits(self, raw: Raw) -> NDArray[np.uint8]:
        """`(H, W, 3)` as Inception takes images: the range in 256 levels, truncated, gray repeated.

        Args:
            raw: `(H, W, C)` with 1 or 3 channels.
        """
        levels = (raw.astype(np.float64) - self.low) * 255 / (self.high - self.low)
        return as_rgb(levels.clip(0, 255).astype(np.uint8))


def holds(dtype: str, limits: tuple[float, float]) -> bool:
    """Whether numbers of `dtype` reach from one limit to the other."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return True
    least, most = np.iinfo(kind).min, np.iinfo(kind).max
    return bool(least <= limits[0] and limits[1] <= most)


def as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`(..., C)` as `(..., 3)`: gray repeated, two channels averaged, of more the first three."""
    channels = pixels.shape[-1]
    if channels == 2:
        pixels = pixels.mean(axis=-1, keepdims=True).astype(np.uint8)
    return pixels[..., :3] if channels >= 3 else np.repeat(pixels, 3, axis=-1)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """`uint8`, `uint16`, `int32` or `float32`: what numbers of `dtype` count as.

    Raises:
        DataError: if they are no numbers.
    """
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return dtype.name
    if dtype.kind in "ui":
        return "int32"
    if dtype.kind == "f" and dtype.itemsize <= 8:
        return "float32"
    raise DataError(f"holds {dtype}; needed are integers or floating-point numbers")


def resized(unit: Values, size: Size) -> Values:
    """`(height, width, C)`: bicubic and antialiased as Pillow has it, in floating point.

    Args:
        unit: `(H, W, C)` in [-1, 1], which the result keeps.
        size: of the result.
    """
    height, width = sides(size)
    if unit.shape[:2] == (height, width):
        return unit
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(unit[..., channel])).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for channel in range(unit.shape[2])
    ]
    return np.stack(channels, axis=-1).clip(-1, 1)
