"""SIGINT and SIGTERM become a wish that the training loop grants between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


class StopWish:
    """Whether somebody asked the run to stop; a second SIGINT does not wait any longer."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        # no buffered writer here: the handler may have interrupted one
        with contextlib.suppress(OSError):
            os.write(2, b"stopping after this step; Ctrl-C again stops at once\n")


@contextlib.contextmanager
def listening_for_stop() -> Iterator[StopWish]:
    """Collects SIGINT and SIGTERM while the block runs, then restores the former handlers."""
    wish = StopWish()
    former = {
        number: signal.signal(number, wish.note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield wish
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class InterruptedRunError(Exception):
    """The run stopped at a signal, after its state was saved; the command leaves with 130."""
