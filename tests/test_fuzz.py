"""Damaged files of every kind end no command with a traceback, a signal, a hang or much memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fuzz
import pytest
from fuzz import Kind, fault_of

NUM_MUTANTS = 300  # `python tests/fuzz.py --mutants 5000` is the long way


def take_memory() -> int:
    return len(bytes(b"\x01" * (2200 << 20))) - (2200 << 20)


def work_for_long() -> int:
    ends = time.process_time() + 20
    while time.process_time() < ends:
        pass
    return 0


@pytest.mark.skipif(sys.platform != "linux", reason="children are forked and measured")
@pytest.mark.parametrize(
    ("work", "needle"),
    [
        (lambda: 0, None),
        (lambda: 2, None),
        (lambda: 1, "exit status 1"),
        (lambda: [][0], "IndexError"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ends by signal 9"),
        (lambda: time.sleep(20), "takes more than"),
        (work_for_long, "takes more than"),
        (take_memory, "MB"),
    ],
    ids=["read", "refused", "failed", "traceback", "signal", "hang", "work", "memory"],
)
def test_each_fault_is_noticed(
    work: Callable[[], int], needle: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if needle == "takes more than":
        monkeypatch.setattr(fuzz, "PATIENCE_S", 0.3)
    fault = fault_of(Kind(lambda rng, folder: None, lambda folder: work()), tmp_path)
    assert fault is None if needle is None else needle in str(fault)


@pytest.mark.skipif(sys.platform != "linux", reason="children are forked and measured")
def test_300_damaged_files_are_refused_in_one_line_or_read() -> None:
    # a process of its own: it replaces Inception and sends its output where it likes
    script = Path(__file__).parent / "fuzz.py"
    done = subprocess.run(
        [sys.executable, script, "--mutants", str(NUM_MUTANTS)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NUM_MUTANTS} mutants" in done.stdout
    assert ": 0 faults" in done.stdout
