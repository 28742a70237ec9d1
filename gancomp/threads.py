"""Threads beside the one that computes, which they must not slow down."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

_starting = threading.Lock()


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

    def start() -> None:
        torch.set_num_threads(1)  # for this thread, and for all that have not computed yet
        torch.get_num_threads()  # counts as having computed
        started.wait()

    pool = ThreadPoolExecutor(num_threads, name, initializer=start)
    with _starting:  # two at once would take each other's 1 for the number to go back to
        of_others = torch.get_num_threads()
        try:
            for _ in range(num_threads):  # none is idle before all have started
                pool.submit(int)
            started.wait()
        except BaseException:
            started.abort()  # those that have started would wait for ever, and Python for them
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            torch.set_num_threads(of_others)
    return pool
