"""Signals that ask to stop become a wish that the training loop grants between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from gancomp.launch import num_ranks
from gancomp.ranks import current
from gancomp.signals import STOPPING


class CutShortError(BaseException):
    """A wait ended because somebody wished to stop; no `except Exception` on the way holds it."""


class StopWish:
    """Whether somebody asked the run to stop; a second SIGINT does not wait any longer.

    Where several ranks train, a wish holds from `settle` on, for all of them: they stop after the
    same step. torchrun passes a Ctrl-C on to ranks that had it already: there, once is enough.

    Attributes:
        signal: by which all were asked to stop, if they were.
        rank: who was, where there are several.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.rank: int | None = None
        self._asked: signal.Signals | None = None
        self._waiting = False

    def __bool__(self) -> bool:
        return self.signal is not None

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        alone = num_ranks() == 1
        if self._asked is not None and number == signal.SIGINT and alone:
            raise KeyboardInterrupt
        self._asked = signal.Signals(number)
        if alone:
            self.signal = self._asked
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
            if self._asked is not None:
                raise CutShortError
            yield
        finally:
            self._waiting = False

    def settle(self) -> None:
        """Makes the wish of any rank everyone's. All ranks come to this point, or none does."""
        ranks = current()
        if ranks.size > 1:
            self.hear(ranks.agree(self.word()))

    def word(self) -> int:
        """What this rank has to tell the others: the number of the signal, 0 for none."""
        return 0 if self._asked is None else int(self._asked)

    def hear(self, asked: Sequence[int]) -> None:
        """Makes the wish of any rank everyone's; the words of all ranks, by rank."""
        if self.signal is None and any(asked):
            self.rank = next(rank for rank, number in enumerate(asked) if number)
            self.signal = signal.Signals(asked[self.rank])
            self._asked = self.signal

    def describe(self) -> str:
        """`SIGTERM`, and who got it where there are several ranks."""
        assert self.signal is not None
        return self.signal.name + (f" (rank {self.rank})" if self.rank is not None else "")


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
