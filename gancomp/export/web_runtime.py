"""ONNX Runtime Web, which pages compute with: fetched once and verified, or taken from a path.

Its npm package (MIT License, 33 MB) is no part of gancomp. Two of its files go into a page.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from gancomp.data.download import fetch_file
from gancomp.data.registered import RemoteFile
from gancomp.errors import ConfigError
from gancomp.files import replacing
from gancomp.paths import cache_folder, expanded

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
VARIABLE = "GANCOMP_ONNXRUNTIME_WEB"  # a path to it, as --runtime
MODULE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
WASM_MAGIC, GZIP_MAGIC = b"\0asm", b"\x1f\x8b"
BANNER = re.compile(rb"ONNX Runtime Web v(\d[\w.-]*)")
SOURCE_MAP = re.compile(rb"\n//# sourceMappingURL=.*\s*$")
PACKED = ".gz"  # of files in the cache
WAY_OUT = (
    f"Fetch it elsewhere with npm pack {PACKAGE}@{VERSION} and give that file, or a folder "
    f"node_modules/{PACKAGE}, by `runtime` or ${VARIABLE}"
)
# size and integrity as the registry has them
REMOTE = RemoteFile(
    PACKAGE,
    (f"https://registry.npmjs.org/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz",),
    WAY_OUT,
    33_106_585,
    {
        "sha512": base64.b64decode(
            "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
        ).hex()
    },
)


@dataclass(frozen=True)
class WebRuntime:
    """What a page takes of ONNX Runtime Web.

    Attributes:
        version: of the package.
        module: its JavaScript, gzip.
        wasm: what that computes with, gzip.
    """

    version: str
    module: bytes
    wasm: bytes


def packed(content: bytes) -> bytes:
    """`content` by gzip, the same bytes every time."""
    return gzip.compress(content, 9, mtime=0)


def find_runtime(given: Path | None = None, remote: RemoteFile = REMOTE) -> WebRuntime:
    """The runtime: at `given`, else where the environment says, else in the cache, else fetched.

    Args:
        given: the package's file (.tgz), its folder, or a folder with the two files.
        remote: what is downloaded.

    Raises:
        ConfigError: if what was given is not the package, or there is no folder for a cache.
        DataError: if it cannot be downloaded.
    """
    if given is not None:
        return _read(given, f"`runtime` {given}")
    if named := os.environ.get(VARIABLE):
        return _read(expanded(named), f"${VARIABLE} {named}")
    cache = cache_folder()
    if cache is None:
        raise ConfigError(
            f"there is no home folder to keep {PACKAGE} in: set XDG_CACHE_HOME to a folder, or "
            "give it by `runtime`"
        )
    folder = cache / f"{PACKAGE}-{VERSION}"
    if not all((folder / f"{name}{PACKED}").exists() for name in (MODULE, WASM)):
        archive = fetch_file(remote, cache / f"{PACKAGE}-{VERSION}.tgz")
        _keep(_read(archive, str(archive)), folder)
        archive.unlink(missing_ok=True)  # its other files are of no use here
    return _read(folder, str(folder))


def _keep(runtime: WebRuntime, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((MODULE, runtime.module), (WASM, runtime.wasm)):
        with replacing(folder / f"{name}{PACKED}") as aside:
            aside.write_bytes(content)


def _read(place: Path, named: str) -> WebRuntime:
    """The runtime at a path.

    Raises:
        ConfigError: beginning with `named`, if it is not there.
    """
    try:
        found = _of_folder(place) if place.is_dir() else _of_archive(place)
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError(f"{named}: {reason or f'not a .tgz ({error})'}; {WAY_OUT}") from error
    missing = [name for name in (MODULE, WASM) if name not in found]
    if missing:
        raise ConfigError(f"{named}: holds no {' and no '.join(missing)} of {PACKAGE}; {WAY_OUT}")
    banner = BANNER.search(found[MODULE][:1000])
    if banner is None or not found[WASM].startswith((WASM_MAGIC, GZIP_MAGIC)):
        raise ConfigError(f"{named}: is not {PACKAGE}, or damaged; {WAY_OUT}")
    module, wasm = SOURCE_MAP.sub(b"\n", found[MODULE]), found[WASM]  # a page has no map to load
    kept = wasm.startswith(GZIP_MAGIC)
    return WebRuntime(banner[1].decode(), packed(module), wasm if kept else packed(wasm))


def _of_folder(folder: Path) -> dict[str, bytes]:
    found = {}
    for name in (MODULE, WASM):
        for path in (folder / name, folder / "dist" / name, folder / f"{name}{PACKED}"):
            if name not in found and path.exists():
                found[name] = path.read_bytes()
    if found.get(MODULE, b"").startswith(GZIP_MAGIC):
        found[MODULE] = gzip.decompress(found[MODULE])  # the other, large one stays as it is kept
    return found


def _of_archive(file: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(file, "r:gz") as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            content = archive.extractfile(member) if member.name.endswith((MODULE, WASM)) else None
            if content is not None and name in (MODULE, WASM):
                found[name] = content.read()
            if len(found) == 2:
                break
    return found
