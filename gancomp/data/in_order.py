"""Reads files in order, some ahead in threads, with a bound on the memory that waits."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gancomp.data.images import Say, image_size
from gancomp.errors import DataError

FILES_AHEAD = 32
BYTES_AHEAD = 256 << 20  # of decoded pixels; of photographs with 36 megapixels two wait
BYTES_PER_PIXEL = 3

Read = TypeVar("Read")


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
        where = f"{paths[0].parent}: " if paths else ""
        raise DataError(f"{where}none of {len(paths)} files is a readable image")


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
