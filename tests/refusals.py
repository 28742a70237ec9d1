"""Asks a rule about what could be typed, without a whole command around it."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from gancomp.cli import app
from gancomp.errors import GancompError
from gancomp.flags import as_typed
from gancomp.options import gather, options_for
from gancomp.paths import expanded
from gancomp.planning.plan import make_plan
from gancomp.settings import Overrides

TRAINING = ("pretrain", "distill")


def check_refusal(line: str, named: str, way_out: str) -> None:
    """What is asked for must be refused in one line that names the mistake and the way out."""
    words = shlex.split(line)
    with pytest.raises(GancompError) as caught:
        plan(words) if words[0] in TRAINING else ask(words)
    message = as_typed(str(caught.value))
    assert named in message
    assert way_out in message
    assert "\n" not in message


def plan(words: list[str]) -> None:
    """Plans a training run; the table of options alone reads what was typed, and nothing begins."""
    command, *rest = words
    flags: dict[str, tuple[Any, bool]] = {}
    for row in options_for(command):
        on, _, off = row.flag.partition("/")
        flags |= {name: (row, name == on) for name in (on, off) if name}
    typed: dict[str, Any] = {}
    left = iter(rest)
    for flag in left:
        row, value = flags[flag]
        if row.kind is not bool:
            value = (expanded if row.kind is Path else row.kind)(next(left))
        typed[row.parameter] = value
    make_plan(command, Overrides(**gather(typed)), lambda line: None)


def ask(words: list[str]) -> None:
    """Hands what was typed to its recipe; the command line is built once for all."""
    command, rest = command_line(), words
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    with command.make_context(words[0], rest) as context:
        command.invoke(context)


@functools.cache
def command_line() -> Any:
    return typer.main.get_command(app)
