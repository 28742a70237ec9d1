"""Images as evaluations read them: each file once, in order, without crops or flips.

Some are read ahead in threads, with a bound on the memory that waits.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gancomp.data.deep import read_raw, read_values
from gancomp.data.images import (
    Say,
    cut_half,
    image_size,
    load_half,
    load_image_as_pytorch_fid,
    warn_on_stderr,
)
from gancomp.data.indexed import Picture
from gancomp.data.splits import Half, Split
from gancomp.data.transforms import PixelFormat, picture_tensor, resize, resized
from gancomp.errors import DataError
from gancomp.sizes import Size

FILES_AHEAD = 32
BYTES_AHEAD = 256 << 20  # of decoded pixels; of photographs with 36 megapixels two wait
BYTES_PER_PIXEL = 3

Read = TypeVar("Read")


def evaluation_batches(
    files: Split | Sequence[Path],
    *,
    size: Size,
    batch_size: int,
    half: Half | None = None,
    say: Say = warn_on_stderr,
    strict: bool = False,
    skipped: list[Path] | None = None,
    pixels: PixelFormat | None = None,
) -> Iterator[tuple[list[str], Tensor]]:
    """Names and images `(N, C, height, width)` in [-1, 1] of every readable file, in order.

    Bicubic resize straight to `size`, no crop, no flip; the last batch may be smaller.

    Args:
        files: a split, whose sources are read, or paths.
        size: height and width.
        batch_size: images per batch.
        half: for paths of two images side by side, the half to read.
        say: is told about each unreadable file, which is left out.
        strict: raise instead.
        skipped: the files left out are added to it.
        pixels: how the files are read, if not as 8-bit RGB.

    Raises:
        DataError: at an unreadable file if `strict`; if not one file is readable.

    Source: the test transform of CycleGAN and its descendants. Their released compression code
    leaves out the last file of each folder; this reads all.
    """
    if isinstance(files, Split):
        paths, half = files.source, files.side_by_side
    else:
        paths = tuple(files)

    def read(path: Path) -> Picture:
        return read_resized(path, size, half=half, pixels=pixels)

    names: list[str] = []
    tensors: list[Tensor] = []
    for path, picture in read_in_order(paths, read, say, strict, skipped=skipped):
        names.append(path.name)
        tensors.append(picture_tensor(picture))
        if len(names) == batch_size:
            yield names, torch.stack(tensors)
            names, tensors = [], []
    if names:
        yield names, torch.stack(tensors)


def read_resized(
    path: Path, size: Size, *, half: Half | None = None, pixels: PixelFormat | None = None
) -> Picture:
    """One image of `evaluation_batches`.

    Raises:
        DataError: if it is unreadable.
    """
    if pixels is not None:
        return resized(read_values(path, pixels, half), size)
    return resize(load_half(path, half), size)


def uint8_folder(
    paths: Sequence[Path],
    *,
    say: Say = warn_on_stderr,
    strict: bool = False,
    half: Half | None = None,
    skipped: list[Path] | None = None,
    pixels: PixelFormat | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """`(H, W, 3)` uint8 images at native size, exactly as pytorch-fid reads the files.

    Neither EXIF rotation nor transparency is looked at, since pytorch-fid does not either.

    Args:
        paths: image files.
        say: is told about each unreadable file, which is left out.
        strict: raise instead.
        half: for files of two images side by side, the half to read.
        skipped: the files left out are added to it.
        pixels: how other than 8-bit files are read: their range becomes 256 levels.

    Raises:
        DataError: at an unreadable file if `strict`; if not one file is readable.
    """

    def read(path: Path) -> NDArray[np.uint8]:
        return read_as_pytorch_fid(path, half=half, pixels=pixels)

    for _, image in read_in_order(paths, read, say, strict, skipped=skipped):
        yield image


def read_as_pytorch_fid(
    path: Path, *, half: Half | None = None, pixels: PixelFormat | None = None
) -> NDArray[np.uint8]:
    """One image of `uint8_folder`.

    Raises:
        DataError: if it is unreadable.
    """
    if pixels is not None:
        return pixels.to_8_bits(read_raw(path, pixels, half))
    image = load_image_as_pytorch_fid(path)
    return np.array(image if half is None else cut_half(image, half, path))


def read_in_order(
    paths: Sequence[Path],
    read: Callable[[Path], Read],
    say: Say,
    strict: bool,
    *,
    skipped: list[Path] | None = None,
) -> Iterator[tuple[Path, Read]]:
    """Each path that can be read with what `read` makes of it, in order, read ahead in threads.

    Args:
        paths: image files.
        read: raises DataError for what is unreadable; computes nothing with torch.
        say: is told about each unreadable file, which is left out.
        strict: raise instead.
        skipped: the files left out are added to it.

    Raises:
        DataError: at an unreadable file if `strict`; if not one file is readable.
    """
    num_read = 0
    for path, pending in _read_ahead(paths, read):
        try:
            result = pending.result()
        except DataError as error:
            if strict:
                raise
            say(f"{error}; skipped")
            if skipped is not None:
                skipped.append(path)
            continue
        num_read += 1
        yield path, result
    if not num_read:
        raise none_readable(paths)


def none_readable(paths: Sequence[Path]) -> DataError:
    """The error that not one of `paths` is a readable image."""
    where = f"{paths[0].parent}: " if paths else ""
    return DataError(f"{where}none of {len(paths)} files is a readable image")


def _read_ahead(
    paths: Sequence[Path], read: Callable[[Path], Read]
) -> Iterator[tuple[Path, Future[Read]]]:
    """Each path with what is read from it, a few at a time in threads: decoders free the lock.

    How few depends on the pixels that the headers announce, not on the number of files alone: 32
    photographs of 6000x6000 pixels would take 20 GB, as each is there twice while it is decoded.
    `read` computes nothing with torch: each thread would start as many threads of its own.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        pending: deque[tuple[Path, Future[Read], int]] = deque()
        waiting = 0
        try:
            for path in paths:
                size_bytes = _decoded_bytes(path)
                while pending and (
                    len(pending) > FILES_AHEAD or waiting + size_bytes > BYTES_AHEAD
                ):
                    first, future, less = pending.popleft()
                    yield first, future
                    waiting -= less
                    del future  # with the pixels, before the next are asked for
                pending.append((path, pool.submit(read, path), size_bytes))
                waiting += size_bytes
            while pending:
                first, future, _ = pending.popleft()
                yield first, future
                del future
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _decoded_bytes(path: Path) -> int:
    try:
        width, height = image_size(path)
    except DataError:  # `read` will say so
        return 0
    return width * height * BYTES_PER_PIXEL
