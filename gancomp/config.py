"""Reads settings from JSON, TOML and options; all mistakes are reported at once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from gancomp.declare import PRUNED, Declared
from gancomp.errors import ConfigError
from gancomp.records import shown
from gancomp.registry import NETWORK_OPTIONS, NETWORKS, network_options
from gancomp.settings import FREE_ON_RESUME, PIXEL_FIELDS, Json, Settings, network_field

T = TypeVar("T")
# (section, name) of older run files and `--config` files -> today's name
FORMER_NAMES = {("", "optimiser"): "optimizer", ("perceptual", "normalise"): "normalize"}


def read(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Builds settings of `kind` from nested mappings and checks every value.

    Args:
        kind: a settings dataclass of this module, or a method's own options dataclass.
        values: field name to value; missing fields take their defaults.
        where: dotted prefix for messages, such as `method.options`.

    Raises:
        ConfigError: naming all unknown names and impossible values at once.
    """
    problems: list[str] = []
    result = _read(kind, values, where, problems)
    if problems:
        raise ConfigError("; ".join(problems))
    assert result is not None
    return result


def _read(kind: type[T], values: Mapping[str, Any], where: str, problems: list[str]) -> T | None:
    hints = typing.get_type_hints(kind)
    values = with_todays_names(values, where)
    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]  # T is always one of our dataclasses
    further = next((name for name, item in known.items() if item.metadata.get("further")), None)
    before = len(problems)
    chosen: Json = {}
    if further is not None:  # of a network, whose own options stand beside its name
        del known[further]
        own = {name: value for name, value in values.items() if name not in known}
        chosen[further] = _read_own(values.get("arch"), own, where, problems)
        values = {name: value for name, value in values.items() if name in known}
    for name in sorted(values.keys() - known.keys()):
        problems.append(f"{_join(where, name)}: no such setting{_meant(name, list(known))}")
    before = min(before, len(problems)) if further is not None else len(problems)
    for name, item in known.items():
        if name in values:
            label = _label(item, where)
            chosen[name] = _value(hints[name], values[name], _join(where, name), label, problems)
            problems.extend(_limits(chosen[name], item.metadata, label))
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            problems.append(f"{_label(item, where)}: is needed")
    return kind(**chosen) if len(problems) == before else None


def _read_own(arch: Any, values: Json, where: str, problems: list[str]) -> Json:
    """The own options of the network called `arch`; None is its own default.

    An unknown network's are left as they are: its name is refused later on.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if isinstance(given.get(PRUNED), Mapping):  # checked against the network when that is built
        return _read_own(arch, given | {PRUNED: None}, where, problems) | {PRUNED: given[PRUNED]}
    if not isinstance(arch, str) or arch not in NETWORKS:
        return {name: _as_tuple(value) for name, value in given.items()}
    kind = network_options(arch)
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}
    read: Json = {}
    for name, value in given.items():
        path = _join(where, name)
        if name not in known:
            problems.append(_no_own_option(arch, path))
            continue
        label = _shown(network_field(path, arch), path)
        read[name] = _value(hints[name], value, path, label, problems)
        problems.extend(_limits(read[name], known[name].metadata, label))
    return read


def _no_own_option(arch: str, path: str) -> str:
    """That the network has no such option, and which networks have it."""
    name = path.rpartition(".")[2]
    owners = [
        other
        for other in NETWORK_OPTIONS
        if name in {item.name for item in dataclasses.fields(network_options(other))}
    ]
    field = next((field for other in owners if (field := network_field(path, other))), None)
    own = [item.name for item in dataclasses.fields(network_options(arch))]
    section = path.rpartition(".")[0]
    labels = [_shown(network_field(f"{section}.{item}", arch), item) for item in own]
    hint = f"it belongs to {', '.join(owners)}; " if owners else ""
    named = _shown(field, path)
    return f"{named}: `arch` {arch} has no such option; {hint}{arch} has: {', '.join(labels)}"


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value


def with_todays_names(values: Mapping[str, Any], where: str) -> Json:
    """The section called `where` ("" for the outermost) of an older file, in today's names."""
    return {FORMER_NAMES.get((where, name), name): value for name, value in values.items()}


def _label(item: dataclasses.Field[Any], where: str) -> str:
    """The option that sets the field, or its dotted path where there is none."""
    path = _join(where, item.name)
    declared: Declared | None = item.metadata.get("declared")
    field = (declared and declared.field) or network_field(path, None) or PIXEL_FIELDS.get(path)
    return _shown(field, path)


def _shown(field: str | None, path: str) -> str:
    """How messages name a setting: as the field that sets it, or by its dotted path."""
    return path if field is None else f"`{field}`"


def _value(hint: Any, value: Any, where: str, label: str, problems: list[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _as_tuple(value)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        words = [option for option in options if typing.get_origin(option) is Literal]
        if isinstance(value, str) and words:
            return _value(words[0], value, where, label, problems)
        several = [option for option in options if typing.get_origin(option) is tuple]
        if isinstance(value, list | tuple) and several:
            return _value(several[0], value, where, label, problems)
        if several and isinstance(value, str):
            wanted = f"{options[0].__name__} or a list of {len(typing.get_args(several[0]))}"
            problems.append(f"{label} {shown(value)}: should be of type {wanted}")
            return value
        return _value(options[0], value, where, label, problems)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _read(typing.cast(type, hint), value, where, problems)
    if origin is Literal:
        if value not in arguments:
            allowed = ", ".join(str(option) for option in arguments)
            said = value if isinstance(value, str) else shown(value)
            problems.append(f"{label} {said}: not one of {allowed}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            problems.append(f"{label} {shown(value)}: should be {len(arguments)} numbers")
        return tuple(_value(arguments[0], item, where, label, problems) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        # beyond a float's range Python raises; as infinity it is refused like any other
        return float(value) if abs(value) < 2**1023 else math.inf
    if (
        not isinstance(hint, type)
        or not isinstance(value, hint)
        or (isinstance(value, bool) and hint is not bool)
    ):
        wanted = getattr(hint, "__name__", str(hint))
        problems.append(f"{label} {shown(value)}: should be of type {wanted}")
    return value


def _limits(value: Any, limits: Mapping[str, Any], label: str) -> list[str]:
    if isinstance(value, tuple):
        return [problem for item in value for problem in _limits(item, limits, label)]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return []
    said = shown(value)  # a whole number may be too long to print
    above, least, most = limits.get("above"), limits.get("least"), limits.get("most")
    if value != value or value in (float("inf"), float("-inf")):
        return [f"{label} {said}: must be a finite number"]
    if above is not None and not value > above:
        return [f"{label} {said}: must be greater than {above:g}"]
    if least is not None and value < least:
        return [f"{label} {said}: must be at least {least:g}"]
    if most is not None and value > most:
        return [f"{label} {said}: must be at most {most:g}"]
    return []


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _meant(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(sorted(known))})"


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """`base` with `changes` laid over it, mapping by mapping; neither argument is altered."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = (
            merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return result


def read_toml(path: Path) -> Json:
    """The nested tables of a `--config` file.

    Raises:
        ConfigError: if the file is missing or is not TOML.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"`config` {path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except (ValueError, RecursionError) as error:  # also for numbers too long, lists too deep
        raise ConfigError(f"`config` {path}: is not valid TOML ({error}); fix that line") from error
    return {
        name: with_todays_names(section, name) if isinstance(section, Mapping) else section
        for name, section in with_todays_names(values, "").items()
    }


def wrong_kinds(kind: type, values: Mapping[str, Any], where: str = "") -> list[str]:
    """What in nested `values`, which may be incomplete, is of another kind than the settings are.

    Unknown names and limits are left to `read`, which sees the settings whole.
    """
    problems: list[str] = []
    for name, hint in typing.get_type_hints(kind).items():
        options = [item for item in (typing.get_args(hint) or (hint,)) if isinstance(item, type)]
        inner = next((item for item in options if dataclasses.is_dataclass(item)), None)
        if name not in values:
            continue
        path = _join(where, name)
        if inner is None and typing.get_origin(hint) is not dict:
            _value(hint, values[name], path, path, problems)
        elif not isinstance(values[name], Mapping):
            problems.append(f"{path} = {shown(values[name])}: should be a table, as in [{path}]")
        elif inner is not None:
            problems += wrong_kinds(inner, values[name], path)
    return problems


def changed_on_resume(saved: Settings, wanted: Settings) -> list[str]:
    """The settings that a continued run may not change but would, as `name: old -> new`."""
    return _differences(saved.to_json(), wanted.to_json(), "")


def _differences(saved: Json, wanted: Json, where: str) -> list[str]:
    found: list[str] = []
    for name in sorted(saved.keys() | wanted.keys()):
        if name in FREE_ON_RESUME.get(where, set()):
            continue
        old, new = saved.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found.extend(_differences(old, new, _join(where, name)))
        elif old != new:
            found.append(f"{_join(where, name)}: {old} -> {new}")
    return found
