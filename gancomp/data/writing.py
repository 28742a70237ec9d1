"""Image files out of numbers of any depth: PNG, TIFF and NumPy arrays."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from gancomp.data.tiff import tiff_bytes
from gancomp.data.transforms import Raw
from gancomp.errors import ConfigError

SUFFIXES = {"png": ".png", "tiff": ".tif", "npy": ".npy"}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRUECOLOR = 2


def fitting_format(wanted: str | None, channels: int, dtype: str) -> str:
    """The wanted format, or png where that holds the numbers whole, and npy where not.

    Raises:
        ConfigError: for an unknown format, or one that cannot hold them.
    """
    fits_png = channels in (1, 3) and dtype in ("uint8", "uint16")
    if wanted is None:
        return "png" if fits_png else "npy"
    if wanted not in SUFFIXES:
        raise ConfigError(f"`format` {wanted}: not one of {', '.join(SUFFIXES)}")
    if wanted == "png" and not fits_png:
        raise ConfigError(
            f"`format` png: holds 8 or 16 bits in 1 or 3 channels, not {dtype} in {channels}; use "
            "tiff or npy"
        )
    return wanted


def encoded(raw: Raw, format: str) -> bytes:
    """The file's content.

    Args:
        raw: `(H, W, C)` in a type that `fitting_format` has passed.
        format: png, tiff or npy; an array of one channel is `(H, W)`.
    """
    if format == "tiff":
        return tiff_bytes(raw)
    flat = raw[..., 0] if raw.shape[2] == 1 else raw
    content = io.BytesIO()
    if format == "npy":
        np.save(content, np.ascontiguousarray(flat), allow_pickle=False)
    elif raw.dtype == np.uint16 and raw.shape[2] == 3:
        return deep_color_png(raw)
    else:
        Image.fromarray(np.ascontiguousarray(flat)).save(content, format="PNG")
    return content.getvalue()


def deep_color_png(raw: Raw) -> bytes:
    """A PNG file of `(H, W, 3)` uint16, which Pillow cannot write."""
    height, width, _ = raw.shape
    rows = raw.astype(">u2").reshape(height, -1).view(np.uint8)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, TRUECOLOR, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(unfiltered.tobytes())), (b"IEND", b"")
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
