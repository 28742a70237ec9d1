"""Readers' processes that find no room, are ended from outside, or keep their parent waiting."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque

import pytest
import torch
from torch import Tensor

from gancomp.data.loader import batches
from gancomp.data.workers import WorkerError, no_room, why_ended, why_not_started


class Samples:
    """Yields the reading process's id; from the second epoch on, something happens."""

    def __init__(self, happens: str = "nothing", numbers: int = 1) -> None:
        self.happens, self.numbers = happens, numbers

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Tensor]:
        if index[0] and self.happens == "waits for ever":
            time.sleep(1000)
        if index[0] and self.happens == "has no file left":
            raise OSError(24, "Too many open files")
        return {"facts": torch.full((self.numbers,), float(os.getpid()))}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_is_killed_is_named_when_the_next_batch_is_asked_for(
    number: signal.Signals,
) -> None:
    stream = batches(Samples(), batch_size=1, seed=0, workers=2)
    pid = int(next(stream)["facts"][0, 0])
    before = signal.getsignal(signal.SIGCHLD)
    os.kill(pid, number)
    time.sleep(0.2)  # torch's loader would raise here, in the middle of a step
    with pytest.raises(WorkerError, match=f"`workers` 2: a process .* ended by {number.name}"):
        deque(stream, maxlen=0)
    assert signal.getsignal(signal.SIGCHLD) is before


def test_closing_a_loader_whose_workers_hang_takes_seconds() -> None:
    stream = batches(Samples("waits for ever"), batch_size=4, seed=0, workers=1)
    next(stream)
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 30  # of the 1,000 that the worker waits


def test_what_cannot_be_sent_is_said_and_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("multiprocessing.reduction.DupFd", refuse)
    stream = batches(Samples(), batch_size=4, seed=0, workers=1)
    with pytest.raises(WorkerError, match="`workers` 1: a process .* ended with status 1"):
        next(stream)


def test_processes_that_cannot_be_started_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(WorkerError, match=r"`workers` 3: no such process .*Resource temporarily"):
        next(batches(Samples(), batch_size=4, seed=0, workers=3))


def test_a_dev_shm_that_is_full_from_the_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    complaints: list[object] = []
    monkeypatch.setattr("torch.multiprocessing.Queue", refuse)
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(WorkerError, match="`workers` 1: no room in /dev/shm"):
        next(batches(Samples(), batch_size=4, seed=0, workers=1))
    assert not complaints


def test_reasons_name_the_place_the_option_and_the_container_s_option() -> None:
    for text in (
        no_room(),
        why_not_started(OSError(28, "No space left on device")),
        why_ended(-signal.SIGBUS),
    ):
        for name in ("/dev/shm", "`workers`", "`batch_size`", "`shm_size`"):
            assert name in text
    assert "memory runs out" in why_ended(-signal.SIGKILL)
