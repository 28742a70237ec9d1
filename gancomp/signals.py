"""The signals that ask a run to stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator

# a closed terminal, a scheduler's warning before its limit, processor time used up
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOPPING = frozenset(getattr(signal, name) for name in _NAMES if hasattr(signal, name))

PR_SET_PDEATHSIG = 1  # of Linux's prctl


def stop_with_parent() -> bool:
    """Has this process asked to stop, by SIGTERM, once the one that started it is gone.

    torchrun may be killed, and its processes would train on, unseen, beside those of the torchrun
    that is started in its place. If it goes while this is done, the request is made at once.

    Returns: whether that could be done; only Linux can.
    """
    if not sys.platform.startswith("linux"):
        return False
    parent = os.getppid()
    try:
        done = bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False
    if done and os.getppid() != parent:  # gone before the system knew whom to tell
        os.kill(os.getpid(), signal.SIGTERM)
    return done


@contextlib.contextmanager
def handlers_restored(*names: str) -> Iterator[None]:
    """Gives signals back to those who handled them, whatever the block has done with them.

    In any other thread than the main one, which alone can change handlers, there is nothing to do.

    Args:
        names: of the signals; those that this system lacks are left out.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            if handler is not None:  # none of Python's, which cannot put it back
                signal.signal(number, handler)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Lets signals that ask to stop wait until the block ends.

    A process forked in the block begins with them held: no handler of its parent's runs in it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
