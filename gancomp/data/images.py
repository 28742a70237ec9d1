"""Turns any image file a user may have into an RGB image, or into one line that names the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gancomp.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"})
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
EXIF_ORIENTATION = 0x0112
FULL_SCALE_16_BIT = 65535
TRANSPARENT_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})

Result = TypeVar("Result")
Warn = Callable[[str], None]


def warn_on_stderr(message: str) -> None:
    """Prints `warning: message` to stderr, where it cannot spoil a JSON document on stdout."""
    print(f"warning: {message}", file=sys.stderr)


def say_on_stderr(message: str) -> None:
    """Prints `message` to stderr."""
    print(message, file=sys.stderr)


def list_images(folder: Path) -> tuple[Path, ...]:
    """The image files directly inside `folder`, sorted by name.

    Hidden files are left out, and with them the `._name.jpg` twins that macOS leaves behind.
    Dangling links are listed, so that they are reported instead of silently missing.

    Raises:
        DataError: if `folder` cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _looks_like_image(entry))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
    return tuple(folder / name for name in names)


def _looks_like_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in IMAGE_SUFFIXES:
        return False
    return entry.is_file() or (entry.is_symlink() and not entry.is_dir())


def load_image(path: Path) -> Image.Image:
    """The RGB image in `path`, the right way up.

    Greyscale becomes three equal channels; 16-bit greyscale is scaled to 8 bits, not clipped;
    EXIF rotation is applied. Transparent pixels are blended onto white: what lies under them is
    undefined (often black), and white is the paper of edge drawings and cut-outs.

    Raises:
        DataError: if the file is missing, empty, truncated, no image, or large enough to be a
            decompression bomb.
    """
    return _decoded(path, _as_rgb)


def load_image_as_pytorch_fid(path: Path) -> Image.Image:
    """The RGB image that pytorch-fid reads: neither EXIF nor transparency is looked at.

    Raises:
        DataError: as `load_image`.
    """
    return _decoded(path, lambda image: image.convert("RGB"))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from the file's header, as stored (before any EXIF rotation).

    Raises:
        DataError: if the header is not that of an image. Damage further inside is not seen.
    """
    return _decoded(path, lambda image: image.size)


def file_mode(path: Path) -> str:
    """Pillow's name for the stored pixels: "RGB", "L", "P", "CMYK" and so on.

    Raises:
        DataError: as `image_size`.
    """
    return _decoded(path, lambda image: image.mode)


def is_stored_sideways(path: Path) -> bool:
    """Whether the EXIF orientation swaps width and height.

    Raises:
        DataError: as `image_size`.
    """
    return _decoded(path, lambda image: int(image.getexif().get(EXIF_ORIENTATION, 1)) >= 5)


def _decoded(path: Path, use: Callable[[Image.Image], Result]) -> Result:
    try:
        with Image.open(path) as image:
            return use(image)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path}: too large to be decoded safely ({one_line(error)}); scale it down"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: {_os_reason(path, error)}") from error
    except Exception as error:  # decoders raise whatever the damage in the file provokes
        raise DataError(f"{path}: not a readable image ({one_line(error)})") from error


def _os_reason(path: Path, error: OSError) -> str:
    if error.errno is not None:
        return f"cannot be read ({error.strerror})"
    if path.is_file() and path.stat().st_size == 0:
        return "not a readable image (the file is empty)"
    if isinstance(error, UnidentifiedImageError):
        return "not a readable image (its first bytes are those of no known format)"
    return f"not a readable image ({one_line(error)})"


def one_line(error: Exception) -> str:
    """The error's text on one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _as_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode in SIXTEEN_BIT_MODES:
        return _from_16_bits(image)
    if image.mode == "F":
        raise DataError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode in TRANSPARENT_MODES or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > FULL_SCALE_16_BIT:
        raise DataError("32-bit pixels have no agreed range; save it with 8 or 16 bits")
    scaled = np.round(values * (255 / FULL_SCALE_16_BIT)).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")
