"""Files that are either the old one or the whole new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gancomp.errors import RunError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_PLACE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; synced and renamed over `path` when the block ends well.

    If the block raises, the aside file is removed and `path` stays as it was.

    Raises:
        RunError: if the folder cannot be written or the disk is full.
    """
    with reporting_disk_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(handle)
        aside = Path(name)
        try:
            yield aside
            umask = os.umask(0)
            os.umask(umask)
            aside.chmod(0o666 & ~umask)  # mkstemp makes private files; ours are like any other
            sync_file(aside)
            aside.replace(path)
            sync_folder(path.parent)
        finally:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def reporting_disk_errors(path: Path) -> Iterator[None]:
    """Turns a full disk or a folder that cannot be written into one line about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise RunError(
                f"{path}: not written, the disk is full ({error.strerror}); what was there before "
                "is untouched. Free some space, then go on with --resume"
            ) from error
        if error.errno in NO_PLACE:
            raise RunError(
                f"{path}: cannot be written ({error.strerror}); choose another place with --out"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by a file that holds `text` in UTF-8, or leaves it as it was."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def sync_file(path: Path) -> None:
    """Waits until the content of `path` is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Waits until the names in folder `path` are on the disk (a rename is a change of names)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
