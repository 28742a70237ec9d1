"""Reads images of any depth and channel number: gray and color files, TIFF, NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageFile

from gancomp.data.formats import ARRAY_SUFFIX
from gancomp.data.images import (
    SIDEWAYS,
    TRANSPARENT_MODES,
    as_rgb_image,
    decoded,
    image_size,
    is_stored_sideways,
    upright,
)
from gancomp.data.splits import Half
from gancomp.data.tiff import (
    ORIENTATION,
    Layout,
    is_gray_or_color,
    is_tiff,
    read_tiff,
    tiff_layout,
)
from gancomp.data.transforms import MOST_CHANNELS, PixelFormat, Raw, Values, dtype_name
from gancomp.errors import DataError, one_line

Found = TypeVar("Found")
BANDS = {"LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
DEEP_PNG = {"RGB;16B": 3, "RGBA;16B": 4, "LA;16B": 2}  # Pillow's names for 16 bits a channel


def is_array(path: Path) -> bool:
    """Whether the file is a NumPy array by its name."""
    return path.suffix.lower() == ARRAY_SUFFIX


class Stored(NamedTuple):
    """What a file holds, by its header.

    Attributes:
        channels: 1 to 8.
        dtype: see `PixelFormat.dtype`.
        is_plain: whether `load_image` makes RGB of it, with 8 bits.
    """

    channels: int
    dtype: str
    is_plain: bool


def stored_format(path: Path) -> Stored:
    """How the file's numbers are stored.

    Raises:
        DataError: if it cannot be read.
    """
    if is_array(path):
        array = _array(path)
        return Stored(array.shape[2], dtype_name(array.dtype), False)
    if layout := _deep_tiff(path):
        dtype = dtype_name(layout.dtype)
        return Stored(layout.channels, dtype, dtype == "uint16" and is_gray_or_color(layout))
    channels, dtype = decoded(path, _format_of)
    return Stored(channels, dtype, dtype in ("uint8", "uint16"))


def can_become(stored: Stored, channels: int) -> bool:
    """Whether such a file is read with that many channels; see `read_values`."""
    if stored.channels == channels or (stored.channels == 1 and channels == 3):
        return True
    # pictures of 8 bits lose their transparency, and their colors where gray is wanted
    return stored.is_plain and stored.dtype == "uint8" and channels in (1, 3)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of an image, an array or any TIFF, from its header.

    Raises:
        DataError: if it cannot be read.
    """
    if is_array(path):
        height, width, _ = _array(path).shape
        return width, height
    if layout := _deep_tiff(path):
        return layout.width, layout.height
    return image_size(path)


def is_sideways(path: Path) -> bool:
    """Whether `picture_size` has width and height swapped.

    Raises:
        DataError: if it cannot be read.
    """
    if is_array(path):
        return False
    if layout := _deep_tiff(path):
        return layout.tag(ORIENTATION, 1) in SIDEWAYS
    return is_stored_sideways(path)


def _deep_tiff(path: Path) -> Layout | None:
    return _naming(path, lambda: tiff_layout(path)) if is_tiff(path) else None


def read_values(path: Path, pixels: PixelFormat, half: Half | None = None) -> Values:
    """`(H, W, C)` float32 in [-1, 1]: what the file, or its left or right half, holds.

    Gray is repeated where three channels are wanted; 8-bit color becomes gray where one is (ITU-R
    601, as CycleGAN's code has it). Any other mismatch is refused.

    Raises:
        DataError: if it is unreadable, of another type or channel number, holds NaN, or is of odd
            width and to be halved.
    """
    raw = read_raw(path, pixels, half)
    return _naming(path, lambda: pixels.to_unit(raw))


def read_raw(path: Path, pixels: PixelFormat, half: Half | None = None) -> Raw:
    """The numbers as stored, `(H, W, C)`, with the wanted channels; see `read_values`.

    Raises:
        DataError: as `read_values`, except for NaN.
    """
    raw = _stored(path, pixels.channels)
    return _naming(path, lambda: _half(_fitting(raw, pixels), half))


def _stored(path: Path, channels: int) -> Raw:
    if is_array(path):
        return np.array(_array(path))
    if is_tiff(path):
        found = _naming(path, lambda: read_tiff(path))
        if found is not None:
            return found
    deep = decoded(path, _raw_mode)
    if deep in DEEP_PNG:
        return _both_bytes(path, deep)
    return decoded(path, lambda image: _numbers(image, channels))


def _array(path: Path) -> Raw:
    """The array in a `.npy` file, `(H, W, C)`, mapped: its header is checked against its bytes."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # NumPy's parser raises whatever the damage provokes
        raise DataError(f"{path}: not a readable array ({one_line(error)})") from error
    if not isinstance(array, np.memmap):
        raise DataError(f"{path}: not a readable array (a .npz archive; save a single array)")
    _naming(path, lambda: dtype_name(array.dtype))
    shape = array.shape if array.ndim != 2 else (*array.shape, 1)
    if len(shape) != 3 or not 1 <= shape[2] <= MOST_CHANNELS:
        raise DataError(
            f"{path}: has shape {array.shape}; needed is (height, width) or (height, width, "
            f"channels) with at most {MOST_CHANNELS} channels"
        )
    return array.reshape(shape)


def _format_of(image: Image.Image) -> tuple[int, str]:
    if deep := DEEP_PNG.get(_raw_mode(image)):
        return deep, "uint16"
    if image.mode in BANDS:
        return BANDS[image.mode], "uint8"
    if image.mode == "P":
        return 3, "uint8"
    return 1, dtype_name(_gray(image).dtype)


def _raw_mode(image: Image.Image) -> str:
    """How the decoder finds the pixels in a PNG file."""
    tiles = getattr(image, "tile", [])
    found = tiles[0][3] if image.format == "PNG" and tiles else ""
    return found if isinstance(found, str) else ""


def _numbers(image: Image.Image, channels: int) -> Raw:
    image = upright(image)
    if image.mode == "P" or (image.mode in TRANSPARENT_MODES and BANDS[image.mode] != channels):
        image = as_rgb_image(image)
    if image.mode in BANDS:
        if channels == 1 and image.mode != "LA":
            image = image.convert("L")
        elif BANDS[image.mode] != channels:
            image = image.convert("RGB")
        return np.atleast_3d(np.asarray(image))
    return _gray(image)[..., None]


def _gray(image: Image.Image) -> Raw:
    if image.mode == "1":
        image = image.convert("L")
    raw: Raw = np.asarray(image)
    # older versions of Pillow open 16-bit PNG files as 32-bit integers
    is_16_bit = image.mode == "I" and image.format == "PNG"
    return raw.astype(np.uint16) if is_16_bit else raw


def _both_bytes(path: Path, raw_mode: str) -> Raw:
    """16 bits a channel, of which Pillow decodes the upper or the lower 8 at a time."""
    if raw_mode == "LA;16B":
        raise DataError(
            f"{path}: 16-bit gray with transparency is not supported; remove its alpha channel"
        )

    def lower_bytes(image: Image.Image) -> Raw:
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [image.tile[0]._replace(args=raw_mode[:-1] + "L")]
        return np.asarray(upright(image))

    upper = decoded(path, lambda image: np.asarray(upright(image)).astype(np.uint16))
    both: Raw = upper << 8 | decoded(path, lower_bytes)
    return both


def _fitting(raw: Raw, pixels: PixelFormat) -> Raw:
    found = dtype_name(raw.dtype)
    if pixels.dtype is not None and found != pixels.dtype:
        raise DataError(
            f"holds {found} values, not {pixels.dtype} from {pixels.low:g} to {pixels.high:g}; "
            "convert it"
        )
    if raw.shape[2] == pixels.channels:
        return raw
    if raw.shape[2] == 1 and pixels.channels == 3:
        return np.repeat(raw, 3, axis=2)
    raise DataError(f"has {raw.shape[2]} channels; {pixels.channels} are needed")


def _half(raw: Raw, half: Half | None) -> Raw:
    if half is None:
        return raw
    width = raw.shape[1]
    if width % 2:
        raise DataError(f"{width} pixels wide; two images side by side need an even width")
    return raw[:, : width // 2] if half == "left" else raw[:, width // 2 :]


def _naming(path: Path, compute: Callable[[], Found]) -> Found:
    """`compute()`, with the file named in what it raises."""
    try:
        return compute()
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
