"""Fetches a known dataset: resumed after any interruption, verified, and in place whole or not."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from gancomp.data.formats import list_images
from gancomp.data.images import Say, warn_on_stderr
from gancomp.data.registered import KnownDataset, RemoteFile
from gancomp.data.unpack import unpack
from gancomp.errors import DataError, one_line
from gancomp.files import FULL_DISK
from gancomp.locks import locked

CHUNK_BYTES = 1 << 20
NUMBER = "[0-9]{1,18}"  # \\d and isdigit() take more than int() does
RETRIED_STATUSES = (408, 416, 425, 429)  # of the 4xx: the others will not change by asking again

Progress = Callable[[int, int | None], None]


class _MismatchError(Exception):
    """The file arrived, but it is not the one on record."""


def fetch(
    dataset: KnownDataset,
    destination: Path,
    *,
    progress: Progress | None = None,
    say: Say = warn_on_stderr,
    attempts: int = 3,
    timeout_s: float = 30.0,
    pause_s: float = 1.0,
) -> Path:
    """`destination`, holding the dataset: at once if it is there, else downloaded and unpacked.

    It can be killed at any moment: the archive grows in a hidden `.part` file beside
    `destination`, which the next call continues; the verified archive is unpacked aside and
    renamed in one step. A lock makes a second process wait for the first.

    Args:
        dataset: what to fetch.
        destination: the folder to be made; its parents are made too.
        progress: is told (bytes so far, bytes in all or None) as they arrive.
        say: is told when another process holds the lock.
        attempts: tries without any progress before giving up.
        timeout_s: of a silent connection.
        pause_s: before the second try; doubled for each one after.

    Raises:
        DataError: if no address answers, the file is not the one on record, the archive is unsafe
            or incomplete, the disk is full, or `destination` holds something else.
    """
    parent, name = destination.parent, destination.name
    part, aside = parent / f".{name}.part", parent / f".{name}.unpacking"
    with _reporting_disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
    with _locked(parent / f".{name}.lock", say):
        if not destination.exists():
            _Download(dataset.archive, part, progress, timeout_s).run(attempts, pause_s)
            _install(dataset, part, aside, destination)
        elif wrong := _wrong_counts(dataset, destination):
            raise DataError(
                f"{destination}: {wrong}; move the folder away and fetch again, or give it as a "
                "path to use it as it is"
            )
        shutil.rmtree(aside, ignore_errors=True)
        part.unlink(missing_ok=True)
    return destination


def fetch_file(
    remote: RemoteFile,
    path: Path,
    *,
    say: Say = warn_on_stderr,
    attempts: int = 3,
    timeout_s: float = 30.0,
    pause_s: float = 1.0,
) -> Path:
    """`path`, holding the file: at once if it is there, else downloaded, resumed as by `fetch`.

    Args:
        remote: what to fetch.
        path: where to; its folders are made.
        say: told size and address before a download, then each 10 %.
        attempts: tries without any progress before giving up.
        timeout_s: of a silent connection.
        pause_s: before the second try; doubled for each one after.

    Raises:
        DataError: if no address answers, the file is not the one on record, or the disk is full.
    """
    part = path.parent / f".{path.name}.part"
    with _reporting_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent / f".{path.name}.lock", say):
        if not path.exists():
            _tell_begin(remote, path, say)
            download = _Download(remote, part, each_tenth(say, remote.what), timeout_s)
            download.run(attempts, pause_s)
            with _reporting_disk_errors(path):
                part.replace(path)
    return path


def _tell_begin(remote: RemoteFile, path: Path, say: Say) -> None:
    size = f"{remote.num_bytes / 1e6:.0f} MB" if remote.num_bytes else "size unknown"
    say(f"downloading {remote.what} ({size}) from {remote.urls[0]} to {path}")


def fetch_announced(dataset: KnownDataset, destination: Path, say: Say) -> Path:
    """What `fetch` returns, telling `say` size and address before a download, then each 10 %."""
    if not destination.exists():
        _tell_begin(replace(dataset.archive, what=dataset.name), destination, say)
    return fetch(dataset, destination, progress=each_tenth(say, dataset.name), say=say)


def each_tenth(say: Say, name: str) -> Progress:
    """A progress that tells `say` each further tenth, or 100 MB where the size is unknown."""
    told = 0

    def advance(done: int, total: int | None) -> None:
        nonlocal told
        reached = 10 * done // total if total else done // 100_000_000
        if reached > told:
            share = f"{100 * done // total} % of {total / 1e6:.0f} MB" if total else None
            say(f"{name}: {share or f'{done / 1e6:.0f} MB'}")
        told = reached  # which is less than before where a download starts again

    return advance


class _Download:
    """One file on its way into one `.part` file."""

    def __init__(
        self, remote: RemoteFile, part: Path, progress: Progress | None, timeout_s: float
    ) -> None:
        self.remote = remote
        self.part = part
        self.progress = progress
        self.timeout_s = timeout_s

    def run(self, attempts: int, pause_s: float) -> None:
        """Ends with the verified file in `part`, or raises DataError."""
        urls = list(self.remote.urls)
        failures: dict[str, str] = {}
        most_bytes, fruitless = self._size(), 0
        while urls and fruitless < attempts:
            if fruitless:
                time.sleep(pause_s * 2 ** (fruitless - 1))
            for url in tuple(urls):
                resumed = self._size() > 0
                try:
                    self._transfer(url)
                    self._verify()
                except _MismatchError as error:
                    self.part.unlink(missing_ok=True)
                    failures[url] = str(error)
                    if not resumed:  # a resumed one may have been glued together from two versions
                        urls.remove(url)
                except urllib.error.HTTPError as error:
                    failures[url] = f"HTTP {error.code} {error.reason}"
                    if 400 <= error.code < 500 and error.code not in RETRIED_STATUSES:
                        urls.remove(url)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    # the last: addresses that a server sent and no library can take apart
                    failures[url] = _network_reason(error)
                else:
                    return
            fruitless = 0 if self._size() > most_bytes else fruitless + 1
            most_bytes = max(most_bytes, self._size())
        raise DataError(self._failure(failures))

    def _failure(self, failures: dict[str, str]) -> str:
        reasons = "; ".join(f"{url}: {reason}" for url, reason in failures.items())
        kept = f" What has arrived ({self._size()} bytes) is kept." if self._size() else ""
        return f"{self.remote.what} cannot be downloaded ({reasons}).{kept} {self.remote.way_out}"

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _transfer(self, url: str) -> None:
        """Appends to `part` what it lacks; raises OSError if the connection ends too early."""
        have = self._size()
        if have and have == self.remote.num_bytes:
            return
        headers = {"User-Agent": "gancomp"} | ({"Range": f"bytes={have}-"} if have else {})
        request = urllib.request.Request(url, headers=headers)
        try:
            response = urllib.request.urlopen(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not have:
                raise
            if _total_in(error.headers.get("Content-Range")) != have:
                self.part.unlink()  # longer than the file there: not a part of it
                raise
            return
        with response:
            if response.status != 206 or _first_in(response.headers["Content-Range"]) != have:
                have = 0
            length = response.headers["Content-Length"]
            # whatever is no number is no length: the end of the file is checked anyway
            total = have + int(length) if re.fullmatch(NUMBER, length or "") else None
            expected = self.remote.num_bytes
            if total is not None and expected is not None and total != expected:
                # a login page, say; the part we have may be good, so it is left alone
                raise ConnectionError(f"offers {total} bytes, {expected} are on record")
            self._append(response, have, total)
        if total is not None and self._size() < total:
            raise ConnectionError(f"the connection ended after {self._size()} of {total} bytes")

    def _append(self, response: http.client.HTTPResponse, have: int, total: int | None) -> None:
        limit = self.remote.num_bytes or total
        with _reporting_disk_errors(self.part):
            # unbuffered: closing a buffered file on a full disk raises once more
            file = self.part.open("ab" if have else "wb", buffering=0)
        with file:
            while chunk := response.read1(CHUNK_BYTES):  # read() would lose what precedes a stall
                rest = memoryview(chunk)
                with _reporting_disk_errors(self.part):
                    while rest:
                        rest = rest[file.write(rest) :]
                have += len(chunk)
                if limit is not None and have > limit:
                    raise _MismatchError(f"sent more than the {limit} bytes on record")
                if self.progress is not None:
                    self.progress(have, total or self.remote.num_bytes)

    def _verify(self) -> None:
        expected_bytes = self.remote.num_bytes
        if expected_bytes is not None and self._size() != expected_bytes:
            raise _MismatchError(f"has {self._size()} bytes, {expected_bytes} are on record")
        for kind, expected in self.remote.digests.items():
            # not for security, says hashlib: md5 must also work on a machine with FIPS
            new_digest = partial(hashlib.new, kind, usedforsecurity=False)
            with self.part.open("rb") as file:
                found = hashlib.file_digest(file, new_digest).hexdigest()
            if found != expected:
                raise _MismatchError(f"damaged: {kind} {found}, {expected} is on record")


def _first_in(content_range: str | None) -> int | None:
    match = re.match(rf"bytes ({NUMBER})-", content_range or "")
    return int(match[1]) if match else None


def _total_in(content_range: str | None) -> int | None:
    match = re.search(rf"/({NUMBER})$", content_range or "")
    return int(match[1]) if match else None


def _network_reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return one_line(reason) if isinstance(reason, Exception) else str(reason)


def _install(dataset: KnownDataset, part: Path, aside: Path, destination: Path) -> None:
    shutil.rmtree(aside, ignore_errors=True)  # left by a process that was killed
    max_bytes = (1 << 30) + 4 * part.stat().st_size
    try:
        unpack(part, aside, max_bytes=max_bytes)
        inner = aside / dataset.folder
        folder = inner if inner.is_dir() else aside
        if wrong := _wrong_counts(dataset, folder):
            raise DataError(f"{part}: the archive's {wrong}; nothing was installed")
        if hasattr(os, "sync"):  # not on Windows
            os.sync()  # the rename below must not reach the disk before the files do
        with _reporting_disk_errors(destination):
            folder.rename(destination)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _wrong_counts(dataset: KnownDataset, folder: Path) -> str | None:
    for name, expected in dataset.counts.items():
        found = len(list_images(folder / name)) if (folder / name).is_dir() else 0
        if found != expected:
            return f"{name}/ has {found} images, {dataset.name} has {expected}"
    return None


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    def wait(owner: str) -> None:
        say(f"{path.parent}: {owner} is downloading it; waiting for that")

    with ExitStack() as held:
        with _reporting_disk_errors(path):
            held.enter_context(locked(path, waiting=wait))
        yield


@contextmanager
def _reporting_disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise DataError(
                f"{path}: the disk is full; free some space, or choose another with "
                "XDG_CACHE_HOME, then start again (what has arrived is kept)"
            ) from error
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); choose another cache with "
            "XDG_CACHE_HOME, or give what is wanted as a path"
        ) from error
