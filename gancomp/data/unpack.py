"""Unpacks an archive from the net without letting it write anywhere but into its own folder."""

from __future__ import annotations

import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gancomp.errors import DataError, one_line
from gancomp.files import FULL_DISK

CHUNK_BYTES = 1 << 20
MAX_MEMBERS = 1_000_000
ZIP_MAGIC = b"PK\x03\x04"


def unpack(archive: Path, folder: Path, *, max_bytes: int) -> None:
    """Unpacks a zip or (compressed) tar file into `folder`, which is made and must not exist.

    Only plain files and folders are accepted. What was written before an error stays in
    `folder`, for the caller to remove.

    Args:
        archive: the file; its first bytes tell the format.
        folder: where to.
        max_bytes: refuse an archive that unpacks to more.

    Raises:
        DataError: if a member is absolute, leaves the folder, is a link or a device, occurs
            twice, or they are too many or too large together; if the archive is damaged or
            encrypted; if the disk is full.
    """
    with _reporting(archive, folder):
        folder.mkdir()
        with archive.open("rb") as file:
            is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
        budget = _Budget(archive, max_bytes)
        if is_zip:
            _unpack_zip(archive, folder, budget)
        else:
            _unpack_tar(archive, folder, budget)


def safe_path(folder: Path, member: str) -> Path:
    """Where member `member` of an archive goes below `folder`.

    Raises:
        DataError: if the name is empty or absolute, has a drive letter, a NUL or a `..`.
    """
    parts = [part for part in re.split(r"[/\\]", member) if part not in ("", ".")]
    absolute = member.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", member)
    if absolute or ".." in parts or "\0" in member or not parts:
        raise DataError(f"member {member!r} does not stay in its folder; nothing was installed")
    return folder.joinpath(*parts)


class _Budget:
    """What an archive may still unpack; counts bytes that were written, not bytes declared."""

    def __init__(self, archive: Path, max_bytes: int) -> None:
        self.archive = archive
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.num_members = 0

    def count_member(self) -> None:
        self.num_members += 1
        if self.num_members > MAX_MEMBERS:
            raise DataError(f"more than {MAX_MEMBERS} members; nothing was installed")

    def copy(self, source: IO[bytes], target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while chunk := source.read(CHUNK_BYTES):
                self.num_bytes += len(chunk)
                if self.num_bytes > self.max_bytes:
                    raise DataError(
                        f"unpacks to more than {self.max_bytes} bytes; nothing was installed"
                    )
                file.write(chunk)


def _unpack_zip(archive: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            budget.count_member()
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"member {member.filename!r} is a link or a device; refused")
            target = safe_path(folder, member.filename)
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            with zipped.open(member) as source:
                budget.copy(source, target)


def _unpack_tar(archive: Path, folder: Path, budget: _Budget) -> None:
    with tarfile.open(archive, "r:*") as tarred:
        for member in tarred:
            budget.count_member()
            if member.isdir() and member.name in (".", "./"):
                continue
            target = safe_path(folder, member.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            source = tarred.extractfile(member) if member.isreg() else None
            if source is None:
                raise DataError(f"member {member.name!r} is a link or a device; refused")
            budget.copy(source, target)


@contextmanager
def _reporting(archive: Path, folder: Path) -> Iterator[None]:
    damage = (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        EOFError,
        ValueError,
        OverflowError,
    )
    try:
        yield
    except DataError as error:
        raise DataError(f"{archive}: {error}") from error
    except (*damage, RuntimeError, NotImplementedError) as error:  # the last two: encrypted zips
        raise DataError(f"{archive}: the archive cannot be unpacked ({one_line(error)})") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"{archive}: two members have the name {error.filename}") from error
    except OSError as error:
        if error.errno in FULL_DISK:
            raise DataError(
                f"{folder}: the disk is full; free some space, or choose another with "
                "XDG_CACHE_HOME, then start again (the download is kept)"
            ) from error
        raise DataError(f"{archive}: cannot be unpacked ({one_line(error)})") from error
