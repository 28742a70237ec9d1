"""What a shell offers after Tab: the names in the tables, known datasets and folders; no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from gancomp.registry import (
    EXPORTERS,
    METHODS,
    METRICS,
    NETWORKS,
    SHRINKERS,
    TASKS,
    generators,
)

Completer = Callable[[str], list[str]]


def _from(names: Callable[[], Iterable[str]]) -> Completer:
    def complete(incomplete: str) -> list[str]:
        return [name for name in dict.fromkeys(names()) if name.startswith(incomplete)]

    return complete


def complete_dataset(incomplete: str) -> list[str]:
    """Known names, and folders."""
    from gancomp.data.registered import KNOWN_DATASETS

    names = [item.name for item in KNOWN_DATASETS if item.name.startswith(incomplete)]
    head, slash, tail = incomplete.rpartition("/")
    try:
        inside = sorted(Path(f"{head}{slash}" or ".").expanduser().iterdir())
    except OSError:
        return names
    folders = [path.name for path in inside if path.name.startswith(tail) and path.is_dir()]
    shown = [name for name in folders if tail or not name.startswith(".")]
    return names + [f"{head}{slash}{name}" for name in shown]


def complete_metrics(incomplete: str) -> list[str]:
    """The last of several names with commas between them."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in METRICS if name.startswith(last)]


def _presets() -> Iterable[str]:
    from gancomp.presets import all_presets

    return (row.name for row in all_presets())


complete_method = _from(lambda: METHODS)
complete_network = _from(lambda: NETWORKS)
complete_format = _from(lambda: EXPORTERS)
complete_shrinker = _from(lambda: SHRINKERS)
# of the training commands, by parameter
COMPLETERS: dict[str, Completer] = {
    "method": complete_method,
    "preset": _from(_presets),
    "arch": _from(generators),
    "student_arch": _from(generators),
    "dataset": complete_dataset,
    "task": _from(lambda: TASKS),
    "shrink": complete_shrinker,
    "budget_format": complete_format,
}


def completer_of(parameter: str, choices: tuple[str, ...]) -> Completer | None:
    """What completes the values of an option, None for numbers and files."""
    return COMPLETERS.get(parameter) or (_from(lambda: choices) if choices else None)
