"""The image formats that are read, by content and by suffix: one list, and it is ours.

Pillow alone would choose among all its formats by a file's first bytes, whatever it is called: a
"photo.jpg" can then be PostScript, which starts Ghostscript. None of the formats here runs a
program, opens a second file or asks a plug-in of somebody else.
"""

from __future__ import annotations

import functools
import importlib
import os
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

from gancomp.errors import ConfigError

# Pillow's name, the module of Pillow that reads it, and the suffixes of such files
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "JPEG": ("JpegImagePlugin", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    "PNG": ("PngImagePlugin", (".png", ".apng")),
    "WEBP": ("WebPImagePlugin", (".webp",)),
    "BMP": ("BmpImagePlugin", (".bmp", ".dib")),
    "DIB": ("BmpImagePlugin", ()),
    "TIFF": ("TiffImagePlugin", (".tif", ".tiff")),
    "GIF": ("GifImagePlugin", (".gif",)),
    "PPM": ("PpmImagePlugin", (".pbm", ".pgm", ".ppm", ".pnm")),
    "AVIF": ("AvifImagePlugin", (".avif",)),  # Pillow 11.3 and later
    "JPEG2000": ("Jpeg2KImagePlugin", (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx")),
    "PCX": ("PcxImagePlugin", (".pcx",)),
    "SGI": ("SgiImagePlugin", (".sgi", ".rgb", ".rgba", ".bw")),
    "QOI": ("QoiImagePlugin", (".qoi",)),
    "TGA": ("TgaImagePlugin", (".tga",)),  # last: without a signature, anything might be one
}
IMAGE_SUFFIXES = frozenset(suffix for _, suffixes in FORMATS.values() for suffix in suffixes)
# Source: pytorch-fid 0.3.0, IMAGE_EXTENSIONS
PYTORCH_FID_SUFFIXES = frozenset(
    {".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
MAX_PIXELS = "GANCOMP_MAX_PIXELS"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


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
