"""What `torch.save` writes, as a zip archive or (before PyTorch 1.6) as pickles in a row."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from gancomp.export.pickles import Named, Reader
from gancomp.export.unpickled import NAMES, STORAGES, Storage

MAGIC = 0x1950A86A20F9469CFC6C
ITEM_COUNT = struct.Struct("<q")
CHUNK = 1 << 22  # bytes read at once
EXPORTED = "is a program of torch.export, which is code"
OTHER_KINDS = {  # how the names in an archive end
    "constants.pkl": "is a TorchScript archive, which is code",
    "archive_format": EXPORTED,
    "serialized_exported_program.json": EXPORTED,
    "models/model.json": EXPORTED,
    ".npy": "holds NumPy arrays",
}


class OtherKindError(ValueError):
    """A zip archive that holds something else than weights; the message says what it is."""


def read_archive(path: Path) -> Any:
    """What the zip archive `path` holds.

    Raises:
        UnknownNameError: for anything beside tensors, plain containers and numbers.
        OtherKindError: if something else than `torch.save` wrote it.
        ValueError, and whatever else a damaged archive may raise.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        described = [name for name in entries if name.endswith("data.pkl") and name.count("/") < 2]
        for ending, what in OTHER_KINDS.items():
            if any(name.endswith(ending) for name in entries):
                raise OtherKindError(what)
        if len(described) != 1:
            raise OtherKindError("is a zip archive, but none that torch.save wrote")
        root = described[0].removesuffix("data.pkl")
        size = path.stat().st_size
        for name, entry in entries.items():
            if name.startswith(root) and entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed, as torch.save writes nothing")
            if entry.compress_type == zipfile.ZIP_STORED and entry.file_size > size:
                raise ValueError(f"{name} claims {entry.file_size:,} bytes")
        order = entries.get(f"{root}byteorder")
        if order is not None and archive.read(order)[:6] != b"little":
            raise ValueError("written on a machine of another byte order")
        storages = _Storages(size)

        def storage(reference: Any) -> Storage:
            dtype, key, count, _ = _storage_id(reference)
            if (known := storages.known.get(key)) is not None:
                return known
            found, buffer = storages.add(key, dtype, count)
            entry = entries[f"{root}data/{key}"]
            if entry.file_size != len(buffer):
                raise ValueError(
                    f"storage {key} has {entry.file_size:,} bytes, not {len(buffer):,}"
                )
            with archive.open(entry) as content:
                _fill(content, buffer)
            return found

        return Reader(io.BytesIO(archive.read(described[0])), NAMES, storage).read()


def read_row(path: Path) -> Any:
    """What the older format in `path` holds: pickles in a row, then the numbers of the tensors.

    Raises:
        UnknownNameError: for anything beside tensors, plain containers and numbers.
        ValueError, and whatever else a damaged file may raise.
    """
    storages = _Storages(path.stat().st_size)
    buffers: dict[str, bytearray] = {}
    sizes: dict[str, int] = {}

    def storage(reference: Any) -> Storage:
        dtype, key, count, part = _storage_id(reference)
        if key not in storages.known:
            _, buffers[key] = storages.add(key, dtype, count)
            sizes[key] = dtype.itemsize
        known = storages.known[key]
        if part is None:
            return known
        _, first, length = part
        return Storage(known.row[first : first + length])

    with path.open("rb") as file:
        if Reader(file, {}).read() != MAGIC:
            raise ValueError("no file of torch.save")
        for _ in range(2):  # the format's version and the machine it was written on
            Reader(file, {}).read()
        content = Reader(file, NAMES, storage).read()
        for key in Reader(file, {}).read():
            (count,) = ITEM_COUNT.unpack(file.read(ITEM_COUNT.size))
            if count * sizes[key] != len(buffers[key]):
                raise ValueError(f"storage {key} has {count:,} numbers")
            _fill(file, buffers[key])
    return content


class _Storages:
    """The storages of a file so far, which together are never larger than it."""

    def __init__(self, file_size: int) -> None:
        self.known: dict[str, Storage] = {}
        self._left = file_size

    def add(self, key: str, dtype: torch.dtype, count: int) -> tuple[Storage, bytearray]:
        """A storage and the memory its numbers are to be written to."""
        if count * dtype.itemsize > self._left:
            raise ValueError(f"a storage of {count:,} numbers, more than the file has bytes for")
        buffer = bytearray(count * dtype.itemsize)
        self._left -= len(buffer)
        row = torch.frombuffer(buffer, dtype=dtype) if buffer else torch.empty(0, dtype=dtype)
        self.known[key] = Storage(row)
        return self.known[key], buffer


def _storage_id(reference: Any) -> tuple[torch.dtype, str, int, tuple[Any, int, int] | None]:
    """Type, key, count and (of the older format) the part of it that is meant."""
    if (
        not isinstance(reference, tuple)
        or len(reference) not in (5, 6)
        or reference[0] != "storage"
    ):
        raise ValueError("a reference to something that is no storage")
    kind, key, _, count = reference[1:5]
    if not isinstance(kind, Named) or isinstance(count, bool) or not isinstance(count, int):
        raise ValueError("a storage of no known type or size")
    if not isinstance(key, str | int):
        raise ValueError("a storage whose key is no text")
    if count < 0:
        raise ValueError(f"a storage of {count} numbers")
    part = reference[5] if len(reference) == 6 else None
    if part is not None and (
        not isinstance(part, tuple)
        or len(part) != 3
        or not all(isinstance(n, int) and 0 <= n <= count for n in part[1:])
    ):
        raise ValueError("a part of a storage that is none")
    dtype = STORAGES.get(kind.name.rpartition(".")[2], torch.uint8)  # bytes of no type
    return dtype, str(key), count, part


def _fill(file: IO[bytes], buffer: bytearray) -> None:
    """Reads exactly as many bytes as `buffer` has room for."""
    done = 0
    while done < len(buffer):
        piece = file.read(min(CHUNK, len(buffer) - done))
        if not piece:
            raise EOFError("it ends early")
        buffer[done : done + len(piece)] = piece
        done += len(piece)
