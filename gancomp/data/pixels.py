"""What the numbers in deep image files stand for: channels, value range, and the way to [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gancomp.errors import DataError
from gancomp.sizes import Size, sides

Values = NDArray[np.float32]
Raw = NDArray[Any]  # as stored
FULL_RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}
DTYPES = ("uint8", "uint16", "int32", "float32")
MOST_CHANNELS = 8


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
    """Which of `DTYPES` numbers of `dtype` count as.

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
