from __future__ import annotations

import ctypes
import resource
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import gancomp.memory as memory


def test_the_machine_has_what_linux_says() -> None:
    line = Path("/proc/meminfo").read_text().splitlines()[0]
    assert memory.physical_memory() == pytest.approx(int(line.split()[1]) * 1024, rel=0.02)


def peak_of_a_process(*, megabytes: int) -> int:
    """The peak of a process of its own that takes so much: bytes."""
    code = (
        "import sys, gancomp.memory as m; bytearray(int(sys.argv[1]) << 20); print(m.peak_memory())"
    )
    command = [sys.executable, "-c", code, str(megabytes)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def test_the_peak_grows_with_what_is_taken() -> None:
    assert peak_of_a_process(megabytes=200) - peak_of_a_process(megabytes=0) >= 150 * 2**20


def test_the_peak_is_the_processs_own_not_that_of_the_one_that_started_it() -> None:
    taken = bytearray(b"x") * (300 * 2**20)
    assert peak_of_a_process(megabytes=0) < 200 * 2**20
    del taken


def test_without_proc_it_is_getrusages_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "Path", lambda name: Path("/nowhere"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert memory.peak_memory() >= 1024 * peak > 0


def test_macos_counts_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = types.SimpleNamespace(ru_maxrss=5_000_000)
    monkeypatch.setattr(resource, "getrusage", lambda who: found)
    monkeypatch.setattr(sys, "platform", "freebsd")
    assert memory.peak_memory() == 5_000_000 * 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.peak_memory() == 5_000_000


class Current:
    """A function of Windows that gives a handle."""

    restype: Any = None

    def __call__(self) -> int:
        return 2**64 - 1


def say_of_the_machine(found: Any) -> None:
    assert found._obj.length == 64
    found._obj.total = 17 * 2**30


def say_of_the_process(process: Any, found: Any, length: int) -> None:
    assert process.value == 2**64 - 1
    assert length == 72
    found._obj.peak = 3 * 2**30


def test_windows_is_asked_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = types.SimpleNamespace(
        GetCurrentProcess=Current(),
        GlobalMemoryStatusEx=say_of_the_machine,
        K32GetProcessMemoryInfo=say_of_the_process,
    )
    windll = types.SimpleNamespace(kernel32=kernel)
    monkeypatch.setattr(ctypes, "windll", windll, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    assert memory.physical_memory() == 17 * 2**30
    assert memory.peak_memory() == 3 * 2**30
