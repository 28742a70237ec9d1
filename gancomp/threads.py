"""Threads beside the one that computes, which they must not slow down."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

from gancomp.errors import ConfigError

Result = TypeVar("Result")

_starting = threading.Lock()


def at_most() -> int:
    """How many threads or processes one may ask for here: with many more, the system ends some."""
    return max(64, 4 * (os.cpu_count() or 1))


def compute_on(num_threads: int) -> None:
    """Lets this process compute with that many threads.

    Raises:
        ConfigError: if they are none, or far more than processors.
    """
    if not 1 <= num_threads <= at_most():
        raise ConfigError(f"`threads` {num_threads}: use 1 to {at_most()} on this machine")
    torch.set_num_threads(num_threads)


def thread_pool(num_threads: int, name: str = "") -> ThreadPoolExecutor:
    """A pool whose threads compute with torch on one processor each.

    A thread that computes on several makes OpenMP start helpers for it alone. Once there are more
    helpers than processors, OpenMP lets all of them sleep between any two operations, those of the
    main thread, too: its small operations were measured to take four times as long from then on.

    Threads that others start later compute on as many processors as the caller does now.

    Args:
        num_threads: all of them are started at once.
        name: what their names begin with.
    """
    started = threading.Barrier(num_threads + 1)
    pool = ThreadPoolExecutor(num_threads, name, initializer=_on_one_processor, initargs=(started,))
    with _threads_starting(started):
        try:
            for _ in range(num_threads):  # none is idle before all have started
                pool.submit(int)
            started.wait()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return pool


class BackgroundThread:
    """One thread that computes with torch on one processor and makes calls in their order.

    Unlike a pool's, it keeps nobody from leaving: what hangs in it is left behind.

    Args:
        name: the thread's.
        patience_s: how long closing waits for the call that is under way.
    """

    def __init__(self, name: str, *, patience_s: float) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._patience_s = patience_s
        started = threading.Barrier(2)
        self._thread = threading.Thread(target=self._serve, args=(started,), name=name, daemon=True)
        with _threads_starting(started):
            self._thread.start()
            started.wait()
        # a thread that still computes while Python takes itself apart may end it by a signal
        atexit.register(self.close)

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """What `call` will return or raise."""
        future: Future[Result] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Ends the thread after the calls under way, or gives up waiting for them."""
        atexit.unregister(self.close)
        self._calls.put(None)
        self._thread.join(self._patience_s)

    def _serve(self, started: threading.Barrier) -> None:
        _on_one_processor(started)
        while (item := self._calls.get()) is not None:
            future, call = item
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
            del item, future, call  # what was returned is the caller's alone


def _on_one_processor(started: threading.Barrier) -> None:
    torch.set_num_threads(1)  # for this thread, and for all that have not computed yet
    torch.get_num_threads()  # counts as having computed
    started.wait()


@contextlib.contextmanager
def _threads_starting(started: threading.Barrier) -> Iterator[None]:
    """Puts the number of processors of all other threads back to what it was."""
    with _starting:  # two at once would take each other's 1 for the number to go back to
        of_others = torch.get_num_threads()
        try:
            yield
        except BaseException:
            started.abort()  # those that have started would wait for ever, and Python for them
            raise
        finally:
            torch.set_num_threads(of_others)
