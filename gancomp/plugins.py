"""Lines that other people's code adds to the tables: installed distributions, and files named.

Code is loaded because a person installed it or named it, never because a model, run or dataset did.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from gancomp.code_files import run_file
from gancomp.errors import ConfigError, printable
from gancomp.options import forget
from gancomp.paths import expanded
from gancomp.registry import FROM_FILE, ORIGINS, PLUGIN_FILES, TABLES

VARIABLE = "GANCOMP_PLUGINS"
FLAG = "--plugin"
LINES = "GANCOMP"  # the name of a file's own tables
WITH_OPTIONS = ("methods", "metrics", "shrinkers")
FILES: dict[Path, None] = {}  # that were run, in their order


def load_plugins(typed: list[str]) -> list[str]:
    """Adds the lines of all plug-ins to the tables; returns what was typed without `--plugin`.

    Installed distributions add theirs by entry points: in the group `gancomp.methods` (and so on,
    for each of `TABLES`) `name = "package.module:Thing"`, which is imported when it is asked for.
    With its options in `gancomp.method_options` too, in a module without torch, a method's options
    are known before torch is needed.

    A file (`--plugin FILE.py`, repeatable, or `GANCOMP_PLUGINS`, separated as PATH is) is run at
    once and has `GANCOMP = {"methods": {"name": Thing}}`.

    Raises:
        ConfigError: if a file is missing, fails or adds nothing, or if a name is taken.
    """
    rest, files = _without_files(typed)
    added = [_add_installed(table, point) for table, point in _installed()]
    for file in files:
        added.append(_add_file(file))
    if any(added):
        forget()
    return rest


def words_for_files() -> list[str]:
    """`--plugin FILE` for each file that was named, wherever: what another process is given."""
    return [word for path in FILES for word in (FLAG, str(path))]


def forget_plugins() -> None:
    """Takes all lines of plug-ins out of the tables again."""
    FILES.clear()
    for table, name in ORIGINS:
        TABLES[table].pop(name, None)
    ORIGINS.clear()
    PLUGIN_FILES.clear()
    forget()


def _without_files(typed: list[str]) -> tuple[list[str], list[str]]:
    named = os.environ.get(VARIABLE, "")
    files = [part for part in named.split(os.pathsep) if part]
    rest, words = [], iter(typed)
    for word in words:
        if word == FLAG:
            file = next(words, None)
            if file is None:
                raise ConfigError(f"{FLAG}: needs a file, as in {FLAG} my_method.py")
            files.append(file)
        elif word.startswith(f"{FLAG}="):
            files.append(word.removeprefix(f"{FLAG}="))
        else:
            rest.append(word)
            if word == "--":
                rest.extend(words)
    return rest, list(dict.fromkeys(files))


def _installed() -> Iterator[tuple[str, EntryPoint]]:
    found = entry_points()  # once: each call reads the files of every installed distribution
    for table in TABLES:
        for point in found.select(group=f"gancomp.{table}"):
            yield table, point


def _add_installed(table: str, point: EntryPoint) -> bool:
    source = point.dist.name if point.dist else point.module
    return _add(table, point.name, point.value, f"the package {source}")


def _add_file(text: str) -> bool:
    path = Path(expanded(text)).resolve()
    module = run_file(path, f"`plugin` {text}", what="a plug-in")
    FILES[path] = None
    tables: Any = getattr(module, LINES, None)
    if not isinstance(tables, Mapping) or not tables:
        raise ConfigError(
            f'`plugin` {text}: adds nothing; it needs {LINES} = {{"methods": {{"name": Thing}}}}'
        )
    for table, lines in tables.items():
        if table not in TABLES:
            raise ConfigError(f"`plugin` {text}: no table {table}; known: {', '.join(TABLES)}")
        if not isinstance(lines, Mapping):
            raise ConfigError(f"`plugin` {text}: {table} should be a mapping of names to things")
        for name, thing in lines.items():
            _check_line(text, table, name, thing)
            attribute = f"{LINES}_{table}_{name}"
            setattr(module, attribute, thing)
            _add(table, name, f"{module.__name__}:{attribute}", f"{FROM_FILE}{path.name}")
            PLUGIN_FILES[table, name] = str(path)
    return True


def _check_line(text: str, table: str, name: Any, thing: Any) -> None:
    fits = isinstance(name, str) and callable(thing)
    if not fits or (table in WITH_OPTIONS and not hasattr(thing, "Options")):
        raise ConfigError(
            f"`plugin` {text}: {table} has {printable(str(name))}, which is none of these; see "
            "examples/extending.md"
        )


def _add(table: str, name: str, target: str, origin: str) -> bool:
    lines = TABLES[table]
    if lines.get(name) == target:
        return False
    if name in lines:
        taken_by = ORIGINS.get((table, name), "gancomp itself")
        raise ConfigError(f"{origin}: adds {name} to {table}, which {taken_by} has; rename it")
    lines[name] = target
    ORIGINS[table, name] = origin
    return True
