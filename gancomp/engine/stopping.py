"""Signals that ask to stop become a wish that the training loop grants between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from gancomp.signals import STOPPING


class CutShortError(BaseException):
    """A wait ended because somebody wished to stop; no `except Exception` on the way holds it."""


class StopWish:
    """Whether somebody asked the run to stop; a second SIGINT does not wait any longer."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._waiting = False

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
        if self._waiting:
            self._waiting = False
            raise CutShortError

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """For what may take for ever and changes nothing: a wish ends it at once.

        Raises:
            CutShortError: then.
        """
        self._waiting = True
        try:
            if self:
                raise CutShortError
            yield
        finally:
            self._waiting = False


@contextlib.contextmanager
def listening_for_stop() -> Iterator[StopWish]:
    """Collects the signals that ask to stop while the block runs, then restores their handlers.

    What was ignored when the program started stays ignored, as nohup wants it; but SIGINT, which
    shells ignore for any job in the background, and SIGTERM are always listened to.

    In any other thread than the main one, which alone can listen to signals and is not ours to
    interrupt then, nothing is listened to.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    former = {
        number: signal.signal(number, wish.note)
        for number in STOPPING
        if number in (signal.SIGINT, signal.SIGTERM)
        or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield wish
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class InterruptedRunError(Exception):
    """The run stopped at a signal, after its state was saved; the command leaves with 130."""
