"""Turns any image file a user may have into an RGB image, or into one line that names the file."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Set
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from gancomp.data.formats import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    open_image,
    png_without_notes,
)
from gancomp.data.splits import Half
from gancomp.errors import ConfigError, DataError, printable

ARRAY_SUFFIX = ".npy"
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = range(5, 9)
NOTES_OF_FILE_MANAGERS = frozenset({"thumbs.db", "desktop.ini"})
MOST_SUFFIXES = 6  # named in one line
FULL_SCALE_16_BIT = 65535
TRANSPARENT_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})

Result = TypeVar("Result")
Say = Callable[[str], None]


def warn_on_stderr(message: str) -> None:
    """Prints `warning: message` to stderr, where it cannot spoil a JSON document on stdout."""
    print(f"warning: {printable(message)}", file=sys.stderr)


def say_on_stderr(message: str) -> None:
    """Prints `message` to stderr."""
    print(printable(message), file=sys.stderr)


def list_images(folder: Path) -> tuple[Path, ...]:
    """The image files directly inside `folder`, sorted by name; see `sort_folder`.

    Raises:
        DataError: if `folder` cannot be listed.
    """
    return sort_folder(folder)[0]


def sort_folder(
    folder: Path, suffixes: Set[str] = IMAGE_SUFFIXES
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files directly inside `folder` that are images by their suffix, and those that are not.

    Hidden files are in neither list, and with them the `._name.jpg` twins that macOS leaves
    behind; nor are the notes that file managers keep. Dangling links are listed, so that they are
    reported instead of silently missing.

    Args:
        folder: where to look.
        suffixes: of images, in lower case; upper case counts as well.

    Returns: images, or where there are none the arrays (`.npy`), and other files, each sorted by
        name.

    Raises:
        DataError: if `folder` cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _counts_as_file(entry))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
    # beside pictures, an array is something else about them
    for kinds in (suffixes, {ARRAY_SUFFIX}):
        images = tuple(folder / name for name in names if Path(name).suffix.lower() in kinds)
        if images:
            break
    found = set(images)
    others = tuple(folder / name for name in names if folder / name not in found)
    return images, others


def _counts_as_file(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or entry.name.lower() in NOTES_OF_FILE_MANAGERS:
        return False
    return entry.is_file() or (entry.is_symlink() and not entry.is_dir())


def count_suffixes(paths: Iterable[Path]) -> str:
    """How many files there are of each suffix, the most frequent first: `3 .txt, 1 .heic`."""
    counts = Counter(path.suffix.lower() or "without a suffix" for path in paths)
    shown = [f"{count} {suffix}" for suffix, count in counts.most_common(MOST_SUFFIXES)]
    return ", ".join(shown) + (", ..." if len(counts) > MOST_SUFFIXES else "")


def load_image(path: Path) -> Image.Image:
    """The RGB image in `path`, the right way up.

    Grayscale becomes three equal channels; 16-bit grayscale is scaled to 8 bits, not clipped;
    EXIF rotation is applied. Transparent pixels are blended onto white: what lies under them is
    undefined (often black), and white is the paper of edge drawings and cut-outs.

    Raises:
        DataError: if the file is missing, empty, truncated, no image, or large enough to be a
            decompression bomb.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        raise DataError(
            f"{path}: is an array; unpaired and paired translation read it with its own channels "
            "(`in_range`, `out_range`), nothing else does"
        )
    return decoded(path, as_rgb_image)


def load_image_as_pytorch_fid(path: Path) -> Image.Image:
    """The RGB image that pytorch-fid reads: neither EXIF nor transparency is looked at.

    Raises:
        DataError: as `load_image`.
    """
    return decoded(path, lambda image: image.convert("RGB"))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from the file's header, as stored (before any EXIF rotation).

    Raises:
        DataError: if the header is not that of an image. Damage further inside is not seen.
    """
    return decoded(path, lambda image: image.size)


def file_mode(path: Path) -> str:
    """Pillow's name for the stored pixels: "RGB", "L", "P", "CMYK" and so on.

    Raises:
        DataError: as `image_size`.
    """
    return decoded(path, lambda image: image.mode)


def is_stored_sideways(path: Path) -> bool:
    """Whether the EXIF orientation swaps width and height.

    Raises:
        DataError: as `image_size`.
    """
    return decoded(path, lambda image: _orientation(image) in SIDEWAYS)


def decoded(path: Path, use: Callable[[Image.Image], Result]) -> Result:
    """What `use` makes of the opened image; whatever is raised becomes one line.

    Raises:
        DataError: naming the file.
    """
    try:
        return _used(path, use)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except ConfigError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path}: too large to be decoded safely ({one_line(error)}); scale it down, or set "
            f"{MAX_PIXELS} to the number of pixels that you allow"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: {_os_reason(path, error)}") from error
    except Exception as error:  # decoders raise whatever the damage in the file provokes
        raise DataError(f"{path}: not a readable image ({one_line(error)})") from error


def _used(path: Path, use: Callable[[Image.Image], Result]) -> Result:
    """What `use` makes of the image; a PNG is tried again without its notes."""
    try:
        with open_image(path) as image:
            return use(image)
    except (DataError, ConfigError, Image.DecompressionBombError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        pixels = png_without_notes(path)
        if pixels is None:
            raise
        try:
            with open_image(pixels) as image:
                return use(image)
        except Exception:  # the picture itself is damaged: the first reason says how
            raise error from None


def _os_reason(path: Path, error: OSError) -> str:
    if error.errno is not None:
        return f"cannot be read ({error.strerror})"
    if path.is_file() and path.stat().st_size == 0:
        return "not a readable image (the file is empty)"
    if isinstance(error, UnidentifiedImageError):
        return "not a readable image (its first bytes are those of no format that is read)"
    return f"not a readable image ({one_line(error)})"


def one_line(error: Exception) -> str:
    """The error's text on one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def as_rgb_image(image: Image.Image) -> Image.Image:
    """The image the right way up, as `load_image` has it.

    Raises:
        DataError: for pixels without an agreed range.
    """
    image = upright(image)
    if image.mode in SIXTEEN_BIT_MODES:
        return _from_16_bits(image)
    if image.mode == "F":
        raise DataError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode in TRANSPARENT_MODES or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data say; as it is where these cannot be read."""
    image.load()  # a PNG's orientation may follow its pixels
    turn = UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none, or it cannot be read."""
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # notes of a good picture: Pillow's parser raises almost anything
        return 1
    return value if isinstance(value, int) else 1


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > FULL_SCALE_16_BIT:
        raise DataError("32-bit pixels have no agreed range; save it with 8 or 16 bits")
    scaled = np.round(values * (255 / FULL_SCALE_16_BIT)).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")


def load_half(path: Path, half: Half | None) -> Image.Image:
    """The image, or its left or right half.

    Raises:
        DataError: if it is unreadable, or its width too odd to be halved.
    """
    image = load_image(path)
    return image if half is None else cut_half(image, half, path)


def cut_half(image: Image.Image, half: Half, path: Path) -> Image.Image:
    """The left or right half of two images side by side; `path` is for the error's text.

    Raises:
        DataError: if the width is odd.
    """
    width, height = image.size
    if width % 2:
        raise DataError(f"{path}: {width} pixels wide; two images side by side need an even width")
    middle = width // 2
    return image.crop((0, 0, middle, height) if half == "left" else (middle, 0, width, height))
