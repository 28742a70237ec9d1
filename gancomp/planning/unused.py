"""Options that would change nothing in the run they were given for: errors, not silence."""

from __future__ import annotations

import difflib
from typing import Any

from gancomp.declare import Option
from gancomp.errors import ConfigError
from gancomp.methods.also import joined_fields
from gancomp.options import all_options, field_of, method_options
from gancomp.settings import Json, Settings


def refuse_unused(typed: Json, settings: Settings, options: Any) -> None:
    """Refuses what was typed, on the command line or in a `--config` file, but has no effect.

    A weight of 0, or a switch that is off, is no contradiction and may always be typed.

    Args:
        typed: nested settings, only those that were given.
        settings: all of them, resolved.
        options: the method's own, resolved.

    Raises:
        ConfigError: naming all such options at once.
    """
    found = [
        f"{row.field}: has no effect with {reason}; remove it"
        for row in all_options()
        if _at(typed, row.setting) and (reason := why_unused(row, settings, options))
    ]
    if found:
        raise ConfigError("; ".join(found))


def why_unused(row: Option, settings: Settings, options: Any) -> str | None:
    """What an option has no effect with in this run, if anything."""
    return next((case.reason for case in row.unused if case.when(settings, options)), None)


def refuse_foreign_options(settings: Settings) -> None:
    """Refuses options of other methods than the chosen one.

    Raises:
        ConfigError: naming the option, the methods it belongs to, and what the chosen one has.
    """
    name = settings.method.name
    known = {row.setting.rpartition(".")[2]: row.field for row in method_options(name)}
    rows = {row.setting: row for row in all_options()}
    fields = joined_fields(settings)
    for given in settings.method.options:
        if given in fields:
            continue
        path = f"method.options.{given}"
        owners = rows[path].belongs_to if path in rows else []
        close = difflib.get_close_matches(given, known, n=1)
        hint = f"it belongs to {', '.join(owners)}; " if owners else ""
        hint += f"did you mean {known[close[0]]}? " if close else ""
        raise ConfigError(
            f"{field_of(path)}: `method` {name} has no such option; {hint}"
            f"{name} has: {', '.join(known.values()) or 'none'}"
        )


def _at(typed: Json, path: str) -> Any:
    value: Any = typed
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
