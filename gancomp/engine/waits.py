"""Notices that training waits for its images."""

from __future__ import annotations

from collections.abc import Callable

WAIT_WARM_UP, WAIT_WINDOW = 20, 100  # steps
TOO_MUCH_WAIT = 0.1  # of the time


class WaitWatch:
    """Adds up the time that steps waited for data, and once says so if it is much.

    The first steps do not count: workers have to start, and caches to fill.

    Args:
        say: told if a window of `WAIT_WINDOW` steps waited for more than `TOO_MUCH_WAIT` of it.
        started: when the sitting began.
    """

    def __init__(self, say: Callable[[str], None], started: float) -> None:
        self.say: Callable[[str], None] | None = say
        self.waited = 0.0
        self.num_steps = -WAIT_WARM_UP
        self.window = (started, 0.0)

    def step(self, now: float) -> None:
        """A step is done; `now` is the time."""
        self.num_steps += 1
        if self.num_steps == WAIT_WINDOW and self.say is not None:
            began, waited = self.window
            share = (self.waited - waited) / max(now - began, 1e-9)
            if share > TOO_MUCH_WAIT:
                self.say(
                    f"{share:.0%} of the time is spent waiting for images; more `workers` help "
                    "where there are more processors, and `cache` on where memory is left"
                )
                self.say = None
        if self.num_steps in (0, WAIT_WINDOW):
            self.num_steps, self.window = 0, (now, self.waited)
