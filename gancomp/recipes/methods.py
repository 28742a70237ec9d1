"""`gancomp methods`: what can be distilled, and which rows of settings are known."""

from __future__ import annotations

from gancomp.config import Json
from gancomp.presets import PRESETS
from gancomp.registry import METHODS, resolve


def list_methods() -> list[Json]:
    """Name and paper of every method."""
    return [{"name": name, "paper": resolve(METHODS, "--method", name).paper} for name in METHODS]


def list_presets() -> list[Json]:
    """One row per preset; `reported` figures are their papers', none is ours."""
    return [
        {
            "name": row.name,
            "command": row.command,
            "dataset": row.dataset or "any",
            "task": row.task,
            "networks": row.arch,
            "reported": row.reported,
            "source": row.source,
        }
        for row in PRESETS
    ]
