"""One process at a time: by the system's lock, or by a file that names its owner."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from gancomp.files import tell_of_lacking

if sys.platform == "win32":
    import msvcrt

HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
NO_LOCKS = (
    errno.ENOSYS,
    errno.ENOLCK,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EBADF,
    errno.EINVAL,
    errno.EPERM,
)
BEYOND = 1 << 30  # Windows' locks keep others from reading, too: lock what is not there
OWNER, TAKING = ".owner", ".taking"
PAUSE_S = 0.05

_held: set[TextIO] = set()


def _let_go_of_locks() -> None:
    for file in _held:
        file.close()
    _held.clear()


# a forked data worker outlives a killed parent for seconds and would keep the lock
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_locks)


class HeldError(Exception):
    """Another process holds the lock; the text says which, and where that is written."""


@contextlib.contextmanager
def locked(
    path: Path, *, waiting: Callable[[str], None] | None = None, patience_s: float = math.inf
) -> Iterator[None]:
    """Holds the lock of file `path` (made if missing, and left there) until the block ends.

    The lock belongs to the process: it is gone however the process ends. Where the file system
    has no locks, a file beside `path` names the owner; one whose owner is dead is taken over.

    Args:
        path: holds the owner's process id, for others to read.
        waiting: told once which process is waited for; without it, none is waited for.
        patience_s: how long.

    Raises:
        HeldError: if another process holds the lock, after waiting for it.
        OSError: if `path` cannot be written.
    """
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8") as file:
        release = _take_or_wait(file, path, waiting, patience_s)
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)
            release()


def _take_or_wait(
    file: TextIO, path: Path, waiting: Callable[[str], None] | None, patience_s: float
) -> Callable[[], None]:
    began, told = time.monotonic(), False
    while True:
        try:
            return _take(file, path)
        except HeldError as error:
            if waiting is None or time.monotonic() - began > patience_s:
                raise
            if not told:
                waiting(str(error))
            told = True
            time.sleep(PAUSE_S)


def _take(file: TextIO, path: Path) -> Callable[[], None]:
    """Takes the lock, or raises HeldError; returns what gives it back."""
    owner = path.with_name(path.name + OWNER)
    if _system_lock(file):
        _remove_if_dead(owner)  # of a process that found no locks here
        os.ftruncate(file.fileno(), 0)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        os.write(file.fileno(), str(os.getpid()).encode())
        return lambda: None  # closing the file does it
    tell_of_lacking(path.parent, "locks")
    _claim(owner)
    mine = os.getpid()

    def release() -> None:
        if os.getpid() == mine:  # and no child that was forked meanwhile
            owner.unlink(missing_ok=True)

    return release


def _system_lock(file: TextIO) -> bool:
    """Whether the system gave the lock: False where it has none, HeldError where others have it."""
    try:
        if sys.platform == "win32":
            os.lseek(file.fileno(), BEYOND, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # a Python for the browser, say
        return False
    except OSError as error:
        if error.errno in HELD:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            text = os.read(file.fileno(), 100).decode("utf-8", "replace").strip()
            raise HeldError(f"process {text}" if text else "another process") from error
        if error.errno in NO_LOCKS:
            return False
        raise
    return True


def _claim(owner: Path) -> None:
    """Makes the owner file; raises HeldError if there is one whose process may be alive."""
    _remove_if_dead(owner)
    try:
        handle = os.open(owner, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError as error:
        raise _held_by(owner) from error  # another was faster
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(_myself(), file)


def _remove_if_dead(owner: Path) -> None:
    """Removes an owner file whose process is gone; raises HeldError for any other."""
    found = _read_owner(owner)
    if found is None:
        return
    if not _is_dead(found):
        raise _held_by(owner)
    # of several that find it, one removes it: else the second would remove the first one's own
    guard = owner.with_name(owner.name + TAKING)
    try:
        os.close(os.open(guard, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError as error:
        raise HeldError(f"another process (says {guard}; remove it if there is none)") from error
    try:
        if _read_owner(owner) == found:
            owner.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)


def _held_by(owner: Path) -> HeldError:
    found = _read_owner(owner) or {}
    who = f"process {found.get('pid', 'unknown')} on {found.get('host', 'an unknown machine')}"
    return HeldError(f"{who} (says {owner}; remove it if that process has ended)")


def _read_owner(owner: Path) -> dict[str, Any] | None:
    """What the owner file says; empty if it says nothing sensible, None if there is none."""
    try:
        found = json.loads(owner.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _myself() -> dict[str, Any]:
    """What tells this process from all others, as far as the system knows."""
    return {
        "host": socket.gethostname(),
        "machine": _read("/etc/machine-id"),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "started": _start_time(os.getpid()),
    }


def _is_dead(found: dict[str, Any]) -> bool:
    """Whether the owner has surely ended; another machine or container cannot be looked into."""
    here, pid = _myself(), found.get("pid")
    if not isinstance(pid, int) or any(found.get(x) != here[x] for x in ("host", "machine")):
        return False
    if here["boot"] is not None and found.get("boot") != here["boot"]:
        return here["machine"] is not None  # this machine was started again since
    if found.get("namespace") != here["namespace"]:
        return False
    if here["started"] is not None:  # numbers of processes are used again
        return _start_time(pid) != found.get("started")
    return sys.platform != "win32" and not _runs(pid)  # on Windows, signal 0 is Ctrl-C


def _start_time(pid: int) -> str | None:
    text = _read(f"/proc/{pid}/stat")
    return text.rpartition(")")[2].split()[19] if text else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
