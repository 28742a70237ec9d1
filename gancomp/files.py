"""Files that are either the old one or the whole new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from gancomp.errors import DEFECTS, WAYS_OUT, RunError

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


# of these, what the next file would meet, too; in folders of many users, EPERM is of one file
NO_FOLDER = (errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST)
# what file systems of networks, containers and buckets answer to what they cannot do
LACKING = (
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EBADF,
)
ASIDE = ".gancomp-*.partial"  # short, as the name that is replaced may be as long as names can be

_told: set[str] = set()


class UnwritableError(RunError):
    """Nothing can be written there: a full disk, or a folder that is missing or forbidden."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; synced and renamed over `path` when the block ends well.

    If the block raises, the aside file is removed and `path` stays as it was. A link is followed,
    and a file that was there before leaves its permissions to the new one.

    Raises:
        RunError: if the folder cannot be written, the disk is full, or `path` is a device, a pipe
            or a folder.
    """
    with reporting_disk_errors(path):
        final, mode = _final(path)
        aside = _new_file(final.parent, 0o666 if mode is None else mode | stat.S_IWUSR)
        try:
            yield aside
            sync_file(aside)
            if mode is not None:
                _set_mode(aside, mode)
            aside.replace(final)
            sync_folder(final.parent)
        finally:
            aside.unlink(missing_ok=True)


def _final(path: Path) -> tuple[Path, int | None]:
    """Where `path` leads, and the permissions of the file there, if there is one."""
    check_replaceable(path)
    final = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        return final, stat.S_IMODE(final.stat().st_mode)
    except FileNotFoundError:
        return final, None


def check_replaceable(path: Path) -> None:
    """Raises RunError if something other than a file is at `path`: renaming would destroy it."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}); choose another place"
        ) from error
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device" if _is_device(mode) else "pipe"
        raise RunError(
            f"{path}: cannot be written, it is a {kind}; give the name of a file, new or old"
        )


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _new_file(folder: Path, mode: int) -> Path:
    """A file of its own name in `folder`; `tempfile` makes private ones, which need a chmod."""
    while True:
        aside = folder / ASIDE.replace("*", secrets.token_hex(4))
        with contextlib.suppress(FileExistsError):
            os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode | stat.S_IRUSR))
            return aside


def _set_mode(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) == mode:
        return
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in LACKING:
            raise
        tell_of_lacking(path.parent, "permissions")


def tell_of_lacking(folder: Path, what: str) -> None:
    """Warns, once in a process, that the file system of `folder` cannot do all that it should."""
    if not _told:
        print(
            f"warning: {folder}: this file system has no {what}; going on without (a second "
            "writer is kept out by a file that names the first, and a power cut may cost more)",
            file=sys.stderr,
        )
    _told.add(what)


@contextlib.contextmanager
def reporting_disk_errors(path: Path) -> Iterator[None]:
    """Turns a full disk, or whatever else keeps `path` from being written, into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise UnwritableError(
                f"{path}: not written, the disk is full ({error.strerror}); what was there before "
                "is untouched. Free some space, then go on with `resume=True`"
            ) from error
        if error.errno is None or error.errno in DEFECTS:
            raise
        way_out = (
            "choose another place with `out`"
            if error.errno in NO_PLACE
            else WAYS_OUT.get(error.errno, "check the disk")
        )
        kind = UnwritableError if error.errno in NO_FOLDER else RunError
        raise kind(f"{path}: cannot be written ({error.strerror}); {way_out}") from error


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by a file that holds `text` in UTF-8, or leaves it as it was."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def sync_file(path: Path) -> None:
    """Waits until the content of `path` is on the disk, where the file system can tell."""
    with path.open("r+b") as file:  # Windows syncs only what is open for writing
        sync(file.fileno(), path.parent)


def sync_folder(path: Path) -> None:
    """Waits until the names in folder `path` are on the disk (a rename is a change of names)."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder; others may forbid reading this one
        return
    try:
        sync(handle, path)
    finally:
        os.close(handle)


def sync(handle: int, folder: Path) -> None:
    """`os.fsync`, which some file systems do not have for folders or at all."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in LACKING:
            raise
        tell_of_lacking(folder, "sync")
