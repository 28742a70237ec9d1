"""The image formats that are read, one list, and it is ours; and the files of a folder by suffix.

Pillow alone would choose among all its formats by a file's first bytes, whatever it is called: a
"photo.jpg" can then be PostScript, which starts Ghostscript. None of the formats here runs a
program, opens a second file or asks a plug-in of somebody else.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Set
from pathlib import Path

from gancomp.errors import DataError

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
ARRAY_SUFFIX = ".npy"
NOTES_OF_FILE_MANAGERS = frozenset({"thumbs.db", "desktop.ini"})
MOST_SUFFIXES = 6  # named in one line


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
