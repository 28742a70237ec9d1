"""Generators of people's own: `my_net.py:make_generator` or `package.module:make_generator`.

Their code is loaded because a person named it, on the command line or in Python. A model file or a
run records the name and never loads the code by itself. A name holds for the whole process once it
was given; what is given with a call stands for whatever code the files of that call record.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from gancomp.code_files import run_file
from gancomp.errors import CheckpointError, ConfigError
from gancomp.paths import expanded
from gancomp.registry import NETWORKS, is_code

TARGET = "gancomp.networks.own:"  # beginning of what `NETWORKS` has for them
FORM = "FILE.py:FACTORY or package.module:FACTORY"
MOST_NAMES = 8  # shown of a file


@dataclass(frozen=True)
class Call:
    """The code that was named with the call under way.

    Attributes:
        answer: stands for the code that a file records, and for the module of a bare state dict.
        arguments: of the network of a bare state dict, which has none of its own.
        to_open: whether it was named for model files alone.
        used: whether a file asked for it.
    """

    answer: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    to_open: bool = False
    used: list[str] = field(default_factory=list)


NOTHING = Call()
_call: ContextVar[Call] = ContextVar("named code", default=NOTHING)
_fields: dict[str, str] = {}  # spec -> the argument it was given as
_places: dict[str, Path] = {}  # spec -> its file: the working folder may change
_functions: dict[str, Callable[..., Any]] = {}  # spec -> a function handed over in Python


@contextlib.contextmanager
def naming(
    arch: str | None,
    *,
    student: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    to_open: bool = False,
) -> Iterator[None]:
    """Within the block `arch` stands for whatever own generator a model file records.

    What is no code (a name of the table, or None) is left alone.

    Args:
        arch: as typed after `--arch`.
        student: as typed after `--student-arch`.
        arguments: settings of the network of `arch`, for a bare state dict; without those that are
            None.
        to_open: `arch` is there for model files alone, and an error if none asks for it.

    Raises:
        ConfigError: for code that is malformed; if `to_open`, also for what is no code.
    """
    if to_open and arch is not None and not is_code(arch):
        raise ConfigError(
            f"`arch` {arch}: a model file knows its network; name only code of your own, {FORM}"
        )
    for argument, spec in (("arch", arch), ("student_arch", student)):
        if spec is not None and is_code(spec):
            _name(spec, argument)
    answer = arch if arch is not None and is_code(arch) else None
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    call = Call(answer, given, to_open)
    token = _call.set(call)
    try:
        yield
        refuse_idle_code()
    finally:
        _call.reset(token)


def refuse_idle_code() -> None:
    """Refuses code that was named for model files, none of which asked for it.

    Raises:
        ConfigError: naming it.
    """
    call = _call.get()
    if call.to_open and call.answer is not None and not call.used:
        raise ConfigError(
            f"`arch` {call.answer}: has no effect, the model's network is no code of your own; "
            "remove it"
        )


def stand_for(recorded: str, given: str | None) -> bool:
    """Lets the code `given` stand for the code that a run records, which may have moved since.

    Returns: whether both are code.
    """
    if given is None or not (is_code(recorded) and is_code(given)):
        return False
    NETWORKS[recorded] = TARGET + given
    return True


def name_function(function: Callable[..., Any]) -> str:
    """The name by which a function or class handed over in Python goes into files."""
    spec = f"{function.__module__}:{function.__qualname__}"
    _functions[spec] = function
    NETWORKS[spec] = TARGET + spec
    return spec


def answer_for(recorded: str, path: Path) -> str:
    """The named code that stands for the code `recorded` in the file at `path`.

    Raises:
        CheckpointError: if none was named.
    """
    call = _call.get()
    if call.answer is not None:
        if call.to_open and call.arguments:
            given = next(iter(call.arguments))
            raise ConfigError(f"`{given}`: has no effect on {path}, which records it; remove it")
        if call.to_open and any(other != recorded for other in call.used):
            raise ConfigError(
                f"`arch` {call.answer}: cannot stand for both {call.used[0]} and {recorded}, which "
                f"{path} records; give one model file at a time, each with its own code"
            )
        call.used.append(recorded)
        return call.answer
    if recorded in NETWORKS:
        return recorded
    raise CheckpointError(
        f"{path}: its generator is code of your own, {recorded}, which a file never loads by "
        f"itself; name it with `arch` {recorded}"
    )


def answer_for_bare() -> tuple[str, dict[str, Any]] | None:
    """The code, and its arguments, whose state dict a file holds that says nothing of itself."""
    call = _call.get()
    if call.answer is None:
        return None
    call.used.append(call.answer)
    return call.answer, dict(call.arguments)


def forget_code() -> None:
    """Takes all that was named out of the table again."""
    for spec in [name for name, target in NETWORKS.items() if target.startswith(TARGET)]:
        del NETWORKS[spec]
    for known in (_fields, _places, _functions):
        known.clear()


def said(spec: str) -> str:
    """The code as it was typed, to begin a message with."""
    return f"`{_fields.get(spec, 'arch')}` {spec}"


def factory_of(spec: str) -> Callable[..., Any]:
    """The function or class that `spec` names; its file is run when this is first asked for.

    Raises:
        ConfigError: for a file, module or factory that is missing, or code that fails.
    """
    if spec in _functions:
        return _functions[spec]
    place, _, name = spec.rpartition(":")
    module = _module(spec, place)
    found = getattr(module, name, None)
    if found is None:
        known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        more = ", ..." if len(known) > MOST_NAMES else ""
        has = f"{', '.join(known[:MOST_NAMES])}{more}" or "no functions"
        raise ConfigError(f"{said(spec)}: {place} has no {name}; {hint}It has {has}")
    if not callable(found) or hasattr(found, "state_dict") and not isinstance(found, type):
        raise ConfigError(
            f"{said(spec)}: {name} is {a_kind_of(found)}, not a function or class that makes a "
            "generator"
        )
    factory: Callable[..., Any] = found
    return factory


def a_kind_of(thing: object) -> str:
    """The name of its type behind an article."""
    name = type(thing).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _name(spec: str, argument: str) -> None:
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        raise ConfigError(f"`{argument}` {spec}: should be {FORM}")
    _fields[spec] = argument
    if place.endswith(".py"):
        _places[spec] = expanded(place).resolve()
    NETWORKS.setdefault(spec, TARGET + spec)


def _module(spec: str, place: str) -> ModuleType:
    if spec in _places:
        path = _places[spec]
        _find_beside(path.parent)
        try:
            status = path.stat()
            stamp = f"{status.st_mtime_ns} {status.st_size}"
        except OSError:
            stamp = ""  # said by what follows
        return run_file(path, said(spec), what="your generator", stamp=stamp)
    _find_beside(Path.cwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{said(spec)}: no module {place} here; give {FORM}, or install it"
            ) from error
        raise ConfigError(f"{said(spec)}: fails ({error}); install it") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{said(spec)}: fails ({type(error).__name__}: {error})") from error


def _find_beside(folder: Path) -> None:
    """Lets a named file import its neighbors; at the end, so that it hides no installed package."""
    if (text := os.fspath(folder)) not in sys.path:
        sys.path.append(text)
