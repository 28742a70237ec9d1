"""Turns any image file a user may have into an RGB image, or into one line that names the file."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from gancomp.data.formats import ARRAY_SUFFIX, FORMATS
from gancomp.data.splits import Half
from gancomp.errors import ConfigError, DataError, one_line, printable

MAX_PIXELS = "GANCOMP_MAX_PIXELS"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
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


def num_frames(path: Path) -> int:
    """How many pictures follow each other in the file; of a photograph with previews (MPO) one.

    Raises:
        DataError: as `image_size`.
    """
    return decoded(
        path, lambda image: 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    )


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


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that the installed Pillow has."""
    for module, _ in FORMATS.values():
        try:
            importlib.import_module(f"PIL.{module}")
        except ImportError:  # an older Pillow
            continue
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_image(file: Path | BytesIO) -> Image.Image:
    """The image in `file`, its header read; of a file with several pictures the first.

    Raises:
        Exception: whatever Pillow's decoders raise.
        DecompressionBombError: for more pixels than are allowed (`$GANCOMP_MAX_PIXELS`, else twice
            Pillow's `MAX_IMAGE_PIXELS`).
        ConfigError: if the variable is no number of pixels.
    """
    limit = allowed_pixels()
    if limit is not None:
        Image.MAX_IMAGE_PIXELS = limit
    image = Image.open(file, formats=readable_formats())
    if limit is not None and image.width * image.height > limit:
        image.close()
        raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
    return image


def allowed_pixels() -> int | None:
    """What `$GANCOMP_MAX_PIXELS` says, None where it is not set.

    Raises:
        ConfigError: if it is no positive whole number.
    """
    text = os.environ.get(MAX_PIXELS, "").strip()
    if not text:
        return None
    digits = text.replace("_", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18 and int(digits)):
        raise ConfigError(
            f"${MAX_PIXELS} {text}: must be a number of pixels, such as 200000000 for pictures of "
            "up to 200 megapixels"
        )
    return int(digits)


def png_without_notes(path: Path) -> BytesIO | None:
    """A PNG's pixels without its notes, which may be damaged where the picture is not.

    Color profiles, texts and the like decide nothing here, but Pillow refuses the whole picture
    for one of them. An orientation (`eXIf`) is kept if its checksum holds.

    Returns: a PNG file, or None if `path` is none.
    """
    with path.open("rb") as stream:
        if stream.read(len(PNG_SIGNATURE)) != PNG_SIGNATURE:
            return None
        content = memoryview(stream.read())
    kept = BytesIO()
    kept.write(PNG_SIGNATURE)
    for name, chunk in _png_chunks(content):
        if name in PNG_PIXELS or (name == b"eXIf" and _is_sound(chunk)):
            kept.write(chunk)
    kept.seek(0)
    return kept


def _png_chunks(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    start = 0
    while start + 8 <= len(content):
        length = int.from_bytes(content[start : start + 4], "big")
        end = start + 12 + length  # length, name, data and checksum
        yield bytes(content[start + 4 : start + 8]), content[start:end]
        start = end


def _is_sound(chunk: memoryview) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _os_reason(path: Path, error: OSError) -> str:
    if error.errno is not None:
        return f"cannot be read ({error.strerror})"
    if path.is_file() and path.stat().st_size == 0:
        return "not a readable image (the file is empty)"
    if isinstance(error, UnidentifiedImageError):
        return "not a readable image (its first bytes are those of no format that is read)"
    return f"not a readable image ({one_line(error)})"


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
