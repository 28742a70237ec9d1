"""A file system that lacks things, for a process started with `LD_PRELOAD`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/types.h>

static int lacks(const char *name) {
    const char *number = getenv(name);
    if (!number) return 0;
    errno = atoi(number);
    return 1;
}
int flock(int fd, int operation) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    return lacks("LACKS_FLOCK") ? -1 : real(fd, operation);
}
int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    struct stat found;
    if (!fstat(fd, &found) && S_ISDIR(found.st_mode) && lacks("LACKS_FSYNC")) return -1;
    return real(fd);
}
int chmod(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = dlsym(RTLD_NEXT, "chmod");
    return lacks("LACKS_CHMOD") ? -1 : real(path, mode);
}
int fchmod(int fd, mode_t mode) {
    int (*real)(int, mode_t) = dlsym(RTLD_NEXT, "fchmod");
    return lacks("LACKS_CHMOD") ? -1 : real(fd, mode);
}
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    int (*real)(int, const char *, mode_t, int) = dlsym(RTLD_NEXT, "fchmodat");
    return lacks("LACKS_CHMOD") ? -1 : real(folder, path, mode, flags);
}
"""


def compiled(folder: Path) -> Path:
    """The shim as a library; the test is skipped where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("needs a C compiler and Linux")
    source, library = folder / "lacking.c", folder / "lacking.so"
    source.write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


def lacking(shim: Path, **numbers: int | None) -> dict[str, str]:
    """The environment of a process whose `flock`, `fsync` of a folder or `chmod` fail so."""
    given = {f"LACKS_{name.upper()}": str(value) for name, value in numbers.items() if value}
    return os.environ | {"LD_PRELOAD": str(shim)} | given
