"""Ways to do the same thing, tried one after the other in a process of its own.

A way may crash its process, spoil the GPU for it, or never end: whoever asks loses nothing, and
neither random numbers nor memory of the run are touched.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

Found = dict[str, Any]
Measure = Callable[[str], Found]
FAILED, LAST = "failed", "last"  # keys: why a way failed; the process can try no other one
LOOK_AGAIN_S = 0.1


@dataclass(frozen=True)
class Limit:
    """When to stop trying.

    Attributes:
        seconds: for all ways together, the process's start included.
        stopped: whether somebody asks to stop.
    """

    seconds: float
    stopped: Callable[[], bool] = lambda: False


def try_ways(prepare: Callable[[], Measure], ways: Sequence[str], limit: Limit) -> dict[str, Found]:
    """What was found out about each way: by `measure(way)`, or `failed` and why.

    Args:
        prepare: called in the new process, so it must reach it by pickling; returns `measure`.
        ways: in the order in which they are tried; one that fails does not keep the others from it.
        limit: of the time; what is not done by then has failed.
    """
    deadline = time.monotonic() + limit.seconds
    found: dict[str, Found] = {}
    waiting = list(ways)
    while waiting and time.monotonic() < deadline and not limit.stopped():
        with _process(prepare) as connection:
            goes_on = True
            while waiting and goes_on:
                way = waiting.pop(0)
                found[way] = _ask(connection, way, deadline, limit)
                goes_on = not found[way].pop(LAST, False)
    return found | {way: {FAILED: _too_long(limit)} for way in waiting}


def _too_long(limit: Limit) -> str:
    if limit.stopped():
        return "stopped"
    return f"not done within {limit.seconds:.0f} s for all trials"


def _ask(connection: Connection, way: str, deadline: float, limit: Limit) -> Found:
    try:
        connection.send(way)
        while not connection.poll(LOOK_AGAIN_S):
            if time.monotonic() > deadline or limit.stopped():
                return {FAILED: _too_long(limit), LAST: True}
        answer: Found = connection.recv()
    except (EOFError, OSError):
        return {FAILED: "its process ended without a word", LAST: True}
    return answer


@contextmanager
def _process(prepare: Callable[[], Measure]) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, prepare), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.kill()  # it may be in the midst of a way that takes too long
        process.join()


def _serve(connection: Connection, prepare: Callable[[], Measure]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks decides what it means
    measure: Measure | None = None
    try:
        while True:
            way = connection.recv()
            try:
                measure = measure or prepare()
                connection.send(measure(way))
            except Exception as error:  # ways fail in as many ways as there are
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                connection.send({FAILED: reason, LAST: measure is None or _is_spoiled()})
    except (EOFError, BrokenPipeError):
        return


def _is_spoiled() -> bool:
    """Whether the GPU answers this process no longer, as after a bad address."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch left it so
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
