"""How much memory the machine has and this process took, on whatever system it runs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path


class _Machine(ctypes.Structure):  # Windows' MEMORYSTATUSEX
    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 5),
    )


class _Process(ctypes.Structure):  # Windows' PROCESS_MEMORY_COUNTERS
    _fields_ = (
        ("length", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak", ctypes.c_size_t),
        ("rest", ctypes.c_size_t * 7),
    )


def physical_memory() -> int:
    """Bytes of memory in the machine."""
    if sys.platform == "win32":
        found = _Machine(length=ctypes.sizeof(_Machine))
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(found))
        return int(found.total)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory() -> int:
    """Bytes that this process had in memory at most, so far."""
    if sys.platform == "win32":
        found, kernel = _Process(length=ctypes.sizeof(_Process)), ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        me = ctypes.c_void_p(kernel.GetCurrentProcess())
        kernel.K32GetProcessMemoryInfo(me, ctypes.byref(found), found.length)
        return int(found.peak)
    if sys.platform == "linux":
        # Not getrusage: its peak is also that of the process that this one was forked from.
        with contextlib.suppress(OSError, StopIteration, ValueError):
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # in bytes there, else in KiB
