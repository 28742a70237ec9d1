"""The lines of all tables, installed plug-ins' too, for tests that are parametrized by them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gancomp.plugins import forget_plugins, load_plugins
from gancomp.registry import READERS, TABLES, TASKS

ALL = {**TABLES, "tasks": TASKS, "readers": READERS}


@contextlib.contextmanager
def plug_ins_loaded() -> Iterator[None]:
    """With the lines of the plug-ins that are installed here, or that the environment names."""
    load_plugins([])
    try:
        yield
    finally:
        forget_plugins()


def lines(table: str) -> list[str]:
    """The names in a table; tests of them ask for the fixture `plug_ins`, too."""
    with plug_ins_loaded():
        return list(ALL[table])
