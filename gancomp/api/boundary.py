"""Where the command line's words become Python's, and what a command says becomes a log record."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Iterator
from typing import Any

from gancomp.console import ConsoleView
from gancomp.engine.fit import View
from gancomp.engine.stopping import InterruptedRunError
from gancomp.errors import GancompError
from gancomp.options import all_options
from gancomp.plugins import load_plugins

logger = logging.getLogger("gancomp")
logger.addHandler(logging.NullHandler())  # else Python prints warnings on stderr

FLAG = re.compile(r"(?<![\w/.=-])(?:--[a-z][a-z0-9-]*(?<!-)|-[on](?= ))")
SHORT = {"-o": "out", "-n": "n"}
OF_THE_COMMAND_LINE = ("--help", "--version", "--json")  # a message that names them means it
WARNING = "warning: "


def words(message: str) -> str:
    """`message` with arguments in the place of flags; a switch to be given has its value, too."""
    return FLAG.sub(lambda match: _argument(match[0], message[match.end() :]), message)


def field_of(message: str) -> str | None:
    """The argument that a message in the command line's words is about, if it begins with one."""
    match = FLAG.match(message)
    return None if match is None else _argument(match[0], ":").partition("=")[0]


def _argument(flag: str, after: str) -> str:
    if flag in OF_THE_COMMAND_LINE:
        return flag
    given = _switches().get(flag)
    if given is not None:
        name, value = given
        return name if value and after.startswith(":") else f"{name}={value}"
    return SHORT.get(flag) or _names().get(flag) or flag.removeprefix("--").replace("-", "_")


def _names() -> dict[str, str]:
    return {option.name: option.parameter for option in all_options()}


def _switches() -> dict[str, tuple[str, bool]]:
    """Both flags of every switch, with the argument and the value that they stand for."""
    found: dict[str, tuple[str, bool]] = {}
    for option in all_options():
        if option.kind is bool:
            on, _, off = option.flag.partition("/")
            found |= {on: (option.parameter, True), off: (option.parameter, False)}
    return found


@contextlib.contextmanager
def speaking_python() -> Iterator[None]:
    """Rewrites errors that leave the block, and what caused them, in Python's words.

    Raises:
        KeyboardInterrupt: instead of the error by which a command ends after a signal: the run
            saved its state first.
    """
    try:
        _load_plugins_once()
        yield
    except GancompError as error:
        _rewrite(error)
        raise
    except InterruptedRunError as error:
        raise KeyboardInterrupt(words(str(error))) from None


@functools.cache
def _load_plugins_once() -> None:
    """Installed plug-ins and those of `GANCOMP_PLUGINS`, as every command has them."""
    load_plugins([])


def _rewrite(error: BaseException | None) -> None:
    """Changes the error and the chain behind it, which a traceback shows."""
    while error is not None:
        if isinstance(error, GancompError):
            message = str(error)
            error.field = error.field or field_of(message)
            error.args = (words(message),)
        error = error.__cause__ or error.__context__


def log(message: str) -> None:
    """What a command would say on stderr, as a log record."""
    level = logging.WARNING if message.startswith(WARNING) else logging.INFO
    logger.log(level, "%s", words(message.removeprefix(WARNING)))


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
