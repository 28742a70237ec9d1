"""The options of `pretrain` and `distill`, derived from what settings and methods declare."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from gancomp.declare import Option, options_of, student_options_of
from gancomp.errors import ConfigError
from gancomp.registry import (
    DISCRIMINATORS,
    METHODS,
    METRICS,
    NETWORK_OPTIONS,
    ORIGINS,
    SHRINKERS,
    network_options,
    options_type,
    trains_alone,
)
from gancomp.settings import Json, Overrides, Settings


@functools.cache
def all_options() -> tuple[Option, ...]:
    """Every option there is: of any run, and of each method; one row per flag.

    Raises:
        ConfigError: if two methods declare one flag in two ways.
    """
    rows: dict[str, Option] = {}
    for option in (*options_of(Overrides), *options_of(Settings)):
        rows[option.name] = option
    for name in NETWORK_OPTIONS:
        _join(rows, f"network {name}", _unless_broken("networks", name, own_options))
    for name in METHODS:
        _join(rows, f"method {name}", _unless_broken("methods", name, method_options))
    for name in SHRINKERS:
        _join(rows, f"shrinker {name}", _unless_broken("shrinkers", name, shrinker_options))
    return tuple(sorted(rows.values(), key=lambda row: ORDER.index(row.panel)))


# groups of the help, in their order
ORDER = (
    "Data",
    "Networks",
    "Method",
    "Teacher's objective",
    "Length",
    "Selection",
    "Run",
)


def _join(rows: dict[str, Option], owner: str, options: Iterable[Option]) -> None:
    """Adds the options of one line of a table to `rows`, by flag; a flag may have many owners."""
    for option in options:
        known = rows.setdefault(option.name, option)
        if (known.kind, known.setting) != (option.kind, option.setting):
            raise ConfigError(
                f"{option.field}: {owner} declares it in another way than "
                f"{', '.join(known.belongs_to) or 'every run'}; choose another flag"
            )
        owners = dict.fromkeys((*known.owners, *option.owners)) if known.owners else ()
        distil_only = known.distil_only and option.distil_only
        # what is numbered differently in two papers has no number where both are meant
        equation = known.equation if known.equation == option.equation else None
        rows[option.name] = replace(
            known, owners=tuple(owners), distil_only=distil_only, equation=equation
        )


def _unless_broken(table: str, name: str, options: Callable[[str], list[Option]]) -> list[Option]:
    """None of a plug-in that fails: whoever chooses it is told, everybody else can go on."""
    try:
        return options(name)
    except ConfigError:
        if (table, name) in ORIGINS:
            return []
        raise


def own_options(arch: str) -> list[Option]:
    """The options that the network called `arch` declares, for the role that it has."""
    kind, owners = network_options(arch), (f"--arch {arch}",)
    if arch in DISCRIMINATORS:
        return list(options_of(kind, "discriminator", owners))
    return [*options_of(kind, "teacher.network", owners), *student_options_of(kind, owners)]


def generator_options() -> list[Option]:
    """The options that generators declare themselves, for a teacher."""
    own = {
        row.name
        for name in NETWORK_OPTIONS
        for row in _unless_broken("networks", name, own_options)
    }
    return [
        row
        for row in all_options()
        if row.name in own and row.setting.startswith("teacher.network.")
    ]


def shrinker_options(name: str) -> list[Option]:
    """The options that the way to shrink called `name` declares."""
    found = options_of(options_type(name, "shrinker"), "shrink_options", (f"--shrink {name}",))
    return [replace(option, distil_only=True, panel="Method") for option in found]


def method_options(name: str) -> list[Option]:
    """The options that the method called `name` declares."""
    found = list(options_of(options_type(name), "method.options", (f"--method {name}",)))
    if not found:
        return []
    alone = trains_alone(name)
    return [replace(option, distil_only=not alone) for option in found]


@functools.cache
def all_metric_options() -> tuple[Option, ...]:
    """The options of all metrics, one row per flag; one flag may set those of several.

    Raises:
        ConfigError: if two metrics declare one flag in two ways.
    """
    rows: dict[str, Option] = {}
    for name in METRICS:
        for option in _unless_broken("metrics", name, metric_options):
            known = rows.get(option.name)
            if known is None:
                rows[option.name] = option
                continue
            if (known.kind, known.default) != (option.kind, option.default):
                raise ConfigError(
                    f"{option.field}: metric {name} declares it in another way than "
                    f"{', '.join(known.belongs_to)}; choose another flag"
                )
            owners, sets = (*known.owners, *option.owners), (*known.sets, *option.sets)
            rows[option.name] = replace(known, owners=owners, sets=sets)
    return tuple(rows.values())


def metric_options(name: str) -> list[Option]:
    """The options that the metric called `name` declares."""
    return list(options_of(options_type(name, "metric"), f"metrics.{name}", (f"--metrics {name}",)))


def forget() -> None:
    """Lets the options be derived again, of the lines that the tables have then."""
    network_options.cache_clear()
    all_options.cache_clear()
    all_metric_options.cache_clear()


def options_for(command: str) -> list[Option]:
    """The options of `pretrain` or `distill`, as that command shows them."""
    rows = [row for row in all_options() if command == "distill" or not row.distil_only]
    return [row.of(command) for row in rows]


def owners_of(options: Iterable[Option]) -> list[str]:
    """What can be chosen to see more of `options`: `--method dcd`, `--task paired` and so on."""
    return list(dict.fromkeys(owner for option in options for owner in option.owners))


def gather(typed: dict[str, Any]) -> Json:
    """What was typed, as the fields of `Overrides`: nested settings, and the few of its own.

    Args:
        typed: parameter name to value; None for what was not typed.

    Raises:
        ConfigError: if a value cannot be read, such as a time.
    """
    fields: Json = {}
    settings: Json = {}
    rows = [row for row in all_options() if typed.get(row.parameter) is not None]
    # what sets several settings comes first: each of them may be given by itself
    for row in sorted(rows, key=lambda row: len(row.sets), reverse=True):
        value = typed[row.parameter]
        if row.reads is not None:
            value = row.reads(value)
        for path in row.sets:
            if path.startswith("shrink_options."):
                put(fields, path, value)
            elif "." in path:
                put(settings, path, value)
            else:
                fields[path] = value
    return {**fields, "settings": settings}


def put(nested: Json, path: str, value: Any) -> None:
    """Sets `nested["a"]["b"]` for the path `a.b`, making the mappings on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        nested = nested.setdefault(parent, {})
    nested[name] = value


def field_of(path: str) -> str:
    """The option that sets the setting at `path`, as messages name it; the path if none does."""
    for option in all_options():
        if option.setting == path:
            return option.field
    return path
