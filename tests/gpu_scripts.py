"""The scripts for a GPU machine, imported as they import each other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
MODULES = ("checks", "children", "rate", "results", "run", "session", "score", "table")
MODULES += ("lease", "machine", "pack", "rehearse")


def importing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts find each other as they do when started; no other test finds them."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "gpu"))
    monkeypatch.syspath_prepend(str(EXAMPLES / "results"))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def script(name: str) -> ModuleType:
    """The script of that name, imported anew in each test."""
    return importlib.import_module(name)
