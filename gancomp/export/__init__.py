"""Model files: our own self-describing format, and readers for those of others.

The package has the name of a function of `gancomp`: `gancomp.export(model, out)` calls it.
"""

import importlib
import sys
import types
from typing import Any


class _ExportToo(types.ModuleType):
    """Once this package is imported, `gancomp.export` is it and no longer that function."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """`gancomp.api.export`."""
        return importlib.import_module("gancomp.api").export(*arguments, **named)


sys.modules[__name__].__class__ = _ExportToo
