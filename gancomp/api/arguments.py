"""Checks keyword arguments against the options that a command declares; derives its signature."""

from __future__ import annotations

import difflib
import inspect
import os
import typing
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from gancomp.declare import Option, value_range, without_none
from gancomp.errors import ConfigError
from gancomp.options import all_options, gather, options_for
from gancomp.own_code import name_function
from gancomp.paths import expanded
from gancomp.records import shown
from gancomp.settings import Overrides
from gancomp.sizes import Size, as_size, read_size, shown_size

SIZES = ("size", "load_size")
F = TypeVar("F", bound=Callable[..., Any])


def overrides(command: str, given: Mapping[str, Any]) -> Overrides:
    """What `pretrain` or `distill` is asked for, by keyword arguments named as its options are.

    Raises:
        ConfigError: for a name that is none of its options, or a value of another type.
    """
    options = {option.parameter: option for option in options_for(command)}
    refuse_unknown(command, given, options)
    typed = {
        name: _as_typed(options[name], value) for name, value in given.items() if value is not None
    }
    return Overrides(**gather(typed))


def request(command: str, kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the request dataclass `kind`, by keyword arguments named as they are.

    Raises:
        ConfigError: for a name that is none of its fields, or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    refuse_unknown(command, given, hints)
    return {
        name: _as_hinted(name, value, without_none(hints[name]))
        for name, value in given.items()
        if value is not None
    }


Code = str | Callable[..., Any]
ARCHS = ("arch", "student_arch")


def spec_of(arch: Code | None) -> str | None:
    """The name of a network or of code of one's own; a function or class is given one.

    Raises:
        ConfigError: for anything else.
    """
    if arch is None or isinstance(arch, str):
        return arch
    if not callable(arch) or not hasattr(arch, "__qualname__"):
        raise ConfigError(
            f"`arch`: of type {type(arch).__name__}; give a name, or what makes a generator"
        )
    return name_function(arch)


def refuse_unknown(command: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ConfigError for a name that is not `known`, with the one that was probably meant."""
    names = sorted(known)
    for name in given:
        if name in names:
            continue
        close = difflib.get_close_matches(name, names, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        if command == "pretrain" and name in {option.parameter for option in all_options()}:
            meant = "; gancomp.distill has"
        raise ConfigError(f"`{name}`: gancomp.{command} has no such argument{meant}")


def _as_typed(option: Option, value: Any) -> Any:
    if option.parameter in ARCHS:
        value = spec_of(value)
    if option.parameter in SIZES:
        return shown_size(as_pixels(option.parameter, value))
    if option.reads is not None:
        return _text(value)
    return of_type(option.parameter, value, option.kind)


def _text(value: Any) -> str:
    """What is typed for a value whose option reads a text: (0, 1) is `0,1`, 90 is `90`.

    Weights by name, {"crd": 0.5}, are `crd:0.5`.
    """
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{weight}" for name, weight in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def as_pixels(name: str, value: Any) -> Size:
    """A size given as 256, (256, 512) or "256x512".

    Raises:
        ConfigError: if it is none.
    """
    if isinstance(value, list | tuple) and len(value) == 2:
        return as_size(*(of_type(name, side, int) for side in value))
    if isinstance(value, str):
        return read_size(name, value)
    side: int = of_type(name, value, int)
    return side


def _as_hinted(name: str, value: Any, hint: Any) -> Any:
    if name in SIZES:
        return as_pixels(name, value)
    if typing.get_origin(hint) is not tuple:
        return of_type(name, value, hint)
    kind = typing.get_args(hint)[0]
    if kind is float:  # a range
        return value_range(name, _text(value))
    several = value if isinstance(value, list | tuple) else (value,)
    return tuple(of_type(name, item, kind) for item in several)


def of_type(name: str, value: Any, kind: type) -> Any:
    """`value` as `kind`, where nothing is lost by that: numbers of NumPy, paths of any kind.

    Raises:
        ConfigError: if it is of another type.
    """
    if kind in (str, Path) and isinstance(value, str | os.PathLike):
        return expanded(value) if kind is Path else os.fspath(value)
    number = not isinstance(value, bool)
    if kind is int and number and isinstance(value, Integral):
        return int(value)
    if kind is float and number and isinstance(value, Real):
        return float(value)
    if kind is bool and isinstance(value, bool):
        return value
    wanted = "a path" if kind is Path else f"of type {kind.__name__}"
    raise ConfigError(f"`{name}` {shown(value)}: should be {wanted}")


def described(command: str) -> Callable[[F], F]:
    """Gives a function that takes `**options` the signature and the list that these stand for.

    Notebooks complete the names then, and `help` lists them.
    """

    def describe(function: F) -> F:
        options = options_for(command)
        own = [
            item
            for item in inspect.signature(function).parameters.values()
            if item.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        named = [
            inspect.Parameter(
                option.parameter,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=option.kind | None,
            )
            for option in options
        ]
        function.__signature__ = inspect.Signature([*own, *named])  # type: ignore[attr-defined]  # any function takes one
        lines = "\n".join(f"    {option.parameter}: {_help(option)}" for option in options)
        function.__doc__ = f"{inspect.getdoc(function)}\n\nOptions:\n{lines}\n"
        return function

    return describe


def _help(option: Option) -> str:
    default = "" if option.default == "none" else f" Default: {option.default}."
    return option.help + default
