"""The signals that ask a run to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

# a closed terminal, a scheduler's warning before its limit, processor time used up
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOPPING = frozenset(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


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
