"""TIFF files that Pillow opens with 8 bits or not at all: deep, of floats, of many channels."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gancomp.data.transforms import MOST_CHANNELS, Raw
from gancomp.errors import DataError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS_PER_STRIP, COUNTS, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
ORIENTATION, TILE_WIDTH, EXTRA, SAMPLE_FORMAT = 274, 322, 338, 339
NUMBER_FORMATS = {1: "B", 3: "H", 4: "I"}  # TIFF 6.0, section 2: BYTE, SHORT, LONG
NONE, DEFLATE = 1, (8, 32946)
MIN_IS_BLACK, RGB, SEPARATED, ALPHA = 1, 2, 5, (1, 2)
KINDS = {1: "u", 2: "i", 3: "f"}
MOST_ENTRIES, MOST_NUMBERS = 4096, 1 << 20


@dataclass(frozen=True)
class Layout:
    """Where and how a file's first picture is stored."""

    width: int
    height: int
    channels: int
    dtype: np.dtype[Any]
    tags: dict[int, tuple[int, ...]]

    def tag(self, number: int, default: int) -> int:
        """The first value of a tag."""
        return self.tags.get(number, (default,))[0]


def is_tiff(path: Path) -> bool:
    """Whether the first bytes are those of a TIFF file; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"II*\0", b"MM\0*")
    except OSError:
        return False


def tiff_layout(path: Path) -> Layout | None:
    """How a TIFF file holds its first picture; None for what Pillow reads as it is.

    That is 8-bit gray and color, palettes, and one channel in a compression of Pillow's own.

    Raises:
        DataError: if it is damaged, or of a kind that neither reads.
    """
    tags = _tags(path)
    layout = _layout(tags)
    if layout is None or _is_of_pillow(layout):
        return None
    if _is_simple(layout):
        return layout
    if layout.channels == 1:
        return None
    raise DataError(
        f"a TIFF file of {layout.channels} channels in tiles or a compression other than deflate "
        "is not supported; save it in strips without compression, or as .npy"
    )


def _is_simple(layout: Layout) -> bool:
    predictors = (1,) if layout.dtype.kind == "f" else (1, 2)
    return (
        TILE_WIDTH not in layout.tags
        and layout.tag(COMPRESSION, NONE) in (NONE, *DEFLATE)
        and layout.tag(PREDICTOR, 1) in predictors
        and layout.tag(PHOTOMETRIC, MIN_IS_BLACK) in (MIN_IS_BLACK, RGB)
    )


def _is_of_pillow(layout: Layout) -> bool:
    """Whether it has 8 bits in gray or color, with or without alpha, or in CMYK."""
    if layout.dtype.itemsize > 1:
        return False
    photometric = layout.tag(PHOTOMETRIC, MIN_IS_BLACK)
    has_alpha = layout.tag(EXTRA, 0) in ALPHA and photometric in (MIN_IS_BLACK, RGB)
    is_known = photometric == SEPARATED or has_alpha
    return layout.channels in (1, 3) or (layout.channels in (2, 4) and is_known)


def is_gray_or_color(layout: Layout) -> bool:
    """Whether Pillow opens it, with whatever depth."""
    photometric = layout.tag(PHOTOMETRIC, MIN_IS_BLACK)
    return layout.channels == (3 if photometric == RGB else 1)


def read_tiff(path: Path) -> Raw | None:
    """`(H, W, C)` of the first picture, the right way up, or None where Pillow is to read it.

    Raises:
        DataError: if it is damaged, or of a kind that neither reads.
    """
    layout = tiff_layout(path)
    if layout is None:
        return None
    planes = layout.channels if layout.tag(PLANAR, 1) == 2 else 1
    per_pixel = layout.channels // planes
    rows = max(1, min(layout.tag(ROWS_PER_STRIP, layout.height), layout.height))
    strips = _strips(path, layout, planes=planes, rows=rows)
    parts = []
    per_plane = -(-layout.height // rows)
    for index, content in enumerate(strips):
        count = min(rows, layout.height - index % per_plane * rows)
        part = np.frombuffer(content, layout.dtype).reshape(count, layout.width, per_pixel)
        if layout.tag(PREDICTOR, 1) == 2:
            part = np.add.accumulate(part, axis=1, dtype=layout.dtype)
        parts.append(part)
    planes_HWC = [
        np.concatenate(parts[first : first + per_plane])
        for first in range(0, len(parts), per_plane)
    ]
    picture = np.concatenate(planes_HWC, axis=2)
    native = picture.astype(layout.dtype.newbyteorder("="))
    return _upright(native, layout.tag(ORIENTATION, 1))


def _strips(path: Path, layout: Layout, *, planes: int, rows: int) -> list[bytes]:
    """The bytes of each strip, unpacked to the size they must have."""
    offsets, counts = layout.tags.get(OFFSETS, ()), layout.tags.get(COUNTS, ())
    per_plane = -(-layout.height // rows)
    if len(offsets) != planes * per_plane or len(counts) != len(offsets):
        raise DataError("a damaged TIFF file: the number of its strips does not fit its size")
    row_bytes = layout.width * layout.channels // planes * layout.dtype.itemsize
    packed = layout.tag(COMPRESSION, NONE) != NONE
    strips = []
    with path.open("rb") as file:
        for index, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
            needed = min(rows, layout.height - index % per_plane * rows) * row_bytes
            file.seek(offset)
            content = file.read(count if packed else min(count, needed))
            if packed:
                try:
                    content = zlib.decompressobj().decompress(content, needed)
                except zlib.error as error:
                    raise DataError(f"a damaged TIFF file ({error})") from error
            if len(content) != needed:
                raise DataError("a damaged TIFF file: a strip is shorter than its rows")
            strips.append(content)
    return strips


def _layout(tags: dict[int, tuple[int, ...]]) -> Layout | None:
    channels = tags.get(SAMPLES, (1,))[0]
    bits, kinds = set(tags.get(BITS, (1,))), set(tags.get(SAMPLE_FORMAT, (1,)))
    sizes = tags.get(WIDTH, (0,))[0], tags.get(HEIGHT, (0,))[0]
    if len(bits) > 1 or len(kinds) > 1 or min(sizes) < 1:
        raise DataError("a TIFF file of mixed channels, or a damaged one, is not supported")
    (number,), (kind,) = bits, kinds
    if number < 8:
        return None
    name = f"{KINDS.get(kind, '?')}{number // 8}"
    if kind not in KINDS or name not in ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"):
        raise DataError(f"a TIFF file of {number}-bit values of kind {kind} is not supported")
    if not 1 <= channels <= MOST_CHANNELS:
        raise DataError(f"has {channels} channels; at most {MOST_CHANNELS} are supported")
    order = "<" if tags[0] == (0,) else ">"
    return Layout(*sizes, channels, np.dtype(order + name), tags)


def _tags(path: Path) -> dict[int, tuple[int, ...]]:
    """The whole numbers of the first directory; tag 0 is 0 for little-endian files, else 1."""
    try:
        with path.open("rb") as file:
            order = "<" if file.read(2) == b"II" else ">"
            (start,) = struct.unpack(order + "2xI", file.read(6))
            file.seek(start)
            (entries,) = struct.unpack(order + "H", file.read(2))
            directory = file.read(12 * min(entries, MOST_ENTRIES))
            tags: dict[int, tuple[int, ...]] = {0: (int(order == ">"),)}
            for tag, kind, count, value in struct.iter_unpack(order + "HHI4s", directory):
                if kind not in NUMBER_FORMATS or not 0 < count <= MOST_NUMBERS:
                    continue
                form = f"{order}{count}{NUMBER_FORMATS[kind]}"
                size = struct.calcsize(form)
                if size > 4:
                    file.seek(struct.unpack(order + "I", value)[0])
                    value = file.read(size)
                tags[tag] = struct.unpack(form, value[:size])
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from error
    except struct.error as error:
        raise DataError("a damaged TIFF file: its directory is cut off") from error
    return tags


def _upright(picture: Raw, orientation: int) -> Raw:
    """TIFF 6.0's eight orientations undone."""
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return picture


def tiff_bytes(picture: Raw) -> bytes:
    """A TIFF file, uncompressed in one strip, of `(H, W, C)` numbers of any depth."""
    height, width, channels = picture.shape
    dtype = picture.dtype.newbyteorder("<")
    content = np.ascontiguousarray(picture, dtype).tobytes()
    kind = {letter: number for number, letter in KINDS.items()}[dtype.kind]
    is_color = channels in (3, 4)
    entries: list[tuple[int, str, tuple[int, ...]]] = [
        (WIDTH, "I", (width,)),
        (HEIGHT, "I", (height,)),
        (BITS, "H", (8 * dtype.itemsize,) * channels),
        (COMPRESSION, "H", (NONE,)),
        (PHOTOMETRIC, "H", (RGB if is_color else MIN_IS_BLACK,)),
        (OFFSETS, "I", (8,)),
        (SAMPLES, "H", (channels,)),
        (ROWS_PER_STRIP, "I", (height,)),
        (COUNTS, "I", (len(content),)),
        (PLANAR, "H", (1,)),
    ]
    if extra := channels - (3 if is_color else 1):
        entries.append((EXTRA, "H", (0,) * extra))  # of no stated meaning: not transparency
    entries.append((SAMPLE_FORMAT, "H", (kind,) * channels))
    content += b"\0" * (len(content) % 2)
    behind = 8 + len(content) + 2 + 12 * len(entries) + 4
    directory, values = struct.pack("<H", len(entries)), b""
    for tag, form, numbers in entries:
        packed = struct.pack(f"<{len(numbers)}{form}", *numbers)
        if len(packed) > 4:
            place = struct.pack("<I", behind + len(values))
            values += packed
        else:
            place = packed.ljust(4, b"\0")
        directory += struct.pack("<HHI", tag, {"H": 3, "I": 4}[form], len(numbers)) + place
    start = struct.pack("<2sHI", b"II", 42, 8 + len(content))
    return start + content + directory + b"\0\0\0\0" + values
