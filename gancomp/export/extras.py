"""Packages that come with an extra: imported when they are needed, asked for in one line if not."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from gancomp.errors import ConfigError

TELEMETRY = "openvino_telemetry"


def needed(package: str, extra: str, what: str) -> Any:
    """The module `package`, imported now.

    Args:
        package: importable name.
        extra: of gancomp, that brings it.
        what: what cannot be done without, as the message begins: `-o student.onnx`.

    Raises:
        ConfigError: if it is not installed, with the command that installs it.
    """
    if package in ("openvino", "nncf"):
        # importing either reports to a service of Google's unless this package is missing
        sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]  # Python: "not there"
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = error.name or package
        raise ConfigError(
            f'{what}: needs the package {name}; pip install "gancomp[{extra}]"'
        ) from error
