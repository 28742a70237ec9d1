"""Runs a Python file that a person named, as a module of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from gancomp.errors import ConfigError


def run_file(path: Path, said: str, *, what: str, stamp: str = "") -> ModuleType:
    """The module of the file at `path`, run once for each `stamp`.

    Args:
        path: absolute.
        said: what was typed, beginning with the field, for messages.
        what: the file is to be, for messages.
        stamp: of its content, where a changed file is to be run again.

    Raises:
        ConfigError: if it is missing, no Python file, or fails.
    """
    # two files may have one name
    told_apart = hashlib.sha256(f"{path}{stamp}".encode()).hexdigest()[:8]
    name = f"gancomp_plugin_{path.stem}_{told_apart}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ConfigError(f"{said}: no such file; give the .py file of {what}")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{said}: is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError(f"{said}: fails ({type(error).__name__}: {error})") from error
    return module
