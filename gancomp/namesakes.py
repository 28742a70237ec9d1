"""Packages with the name of a function of `gancomp`: `gancomp.export` is both."""

import importlib
import sys
import types
from typing import Any


class _FunctionToo(types.ModuleType):
    """Once such a package is imported, its name is it and no longer the function."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The function of `gancomp.api` called so."""
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module("gancomp.api"), name)(*arguments, **named)


def also_a_function(package: str) -> None:
    """Makes the package that is being imported call its namesake."""
    sys.modules[package].__class__ = _FunctionToo
