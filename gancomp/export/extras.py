"""Packages that come with an extra: imported when they are needed, asked for in one line if not."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
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
        with quiet():
            return importlib.import_module(package)
    except ImportError as error:
        name = error.name or package
        raise ConfigError(
            f'{what}: needs the package {name}; pip install "gancomp[{extra}]"'
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what such packages print and log off stdout, where documents go."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
