"""What surrounds a call from Python: plug-ins, signals, and log records of what a command says."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

import torch

from gancomp.console import ConsoleView
from gancomp.engine.fit import View
from gancomp.engine.stopping import InterruptedRunError
from gancomp.plugins import load_plugins

logger = logging.getLogger("gancomp")
logger.addHandler(logging.NullHandler())  # else Python prints warnings on stderr

WARNING = "warning: "


@contextlib.contextmanager
def called() -> Iterator[None]:
    """Surrounds every call: loads plug-ins, and ends as Python does after a signal.

    Raises:
        KeyboardInterrupt: instead of the error by which a command ends after a signal: the run
            saved its state first.
    """
    try:
        _load_plugins_once()
        yield
    except InterruptedRunError as error:
        raise KeyboardInterrupt(str(error)) from None


@contextlib.contextmanager
def own_threads() -> Iterator[None]:
    """Gives the caller back the number of threads that torch computes with."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def _load_plugins_once() -> None:
    """Installed plug-ins and those of `GANCOMP_PLUGINS`, as every command has them."""
    load_plugins([])


def log(message: str) -> None:
    """What a command would say on stderr, as a log record."""
    level = logging.WARNING if message.startswith(WARNING) else logging.INFO
    logger.log(level, "%s", message.removeprefix(WARNING))


class LogView:
    """Training without a bar: only what is said on the way is kept, in the log."""

    def start(self, total_steps: int, step: int) -> None:
        """Training begins at `step` of `total_steps`."""
        logger.info("training from step %d to %d", step, total_steps)

    def advance(self, record: dict[str, Any]) -> None:
        """A step was logged; the run has it in `metrics.jsonl`."""

    def say(self, message: str) -> None:
        """One line about something that happened."""
        log(message)

    def finish(self) -> None:
        """Training ended."""


def view(*, progress: bool) -> View:
    """A bar on stderr, or the log alone."""
    return ConsoleView() if progress else LogView()
