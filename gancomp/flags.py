"""The command line's words: libraries name fields, which become flags here and nowhere else."""

from __future__ import annotations

import re

from gancomp.errors import FIELD, ConfigError
from gancomp.options import all_options


def as_typed(message: str) -> str:
    """`message` with the flag in the place of each field: `` `batch_size` 0`` is `--batch-size 0`.

    A switch that is to be off, `` `flip=False` ``, is named by what switches it off.
    """
    return FIELD.sub(_flag, message)


def _flag(match: re.Match[str]) -> str:
    name = match["name"]
    if match["value"] == "False":
        return _off().get(name) or f"--no-{name.replace('_', '-')}"
    return f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"


def _off() -> dict[str, str]:
    """What switches an option off, by its field."""
    try:
        return {row.parameter: row.flag.partition("/")[2] for row in all_options()}
    except ConfigError:  # which is what the message says: a plug-in's option contradicts another's
        return {}
