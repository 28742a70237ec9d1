"""gancomp makes GANs small: it distills, measures and exports cheap student generators."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gancomp.api import (
        Generator,
        Run,
        distill,
        evaluate,
        export,
        load,
        pretrain,
        profile,
        report,
        sweep,
    )
    from gancomp.errors import GancompError

__version__ = "0.1.0"

__all__ = [
    "GancompError",
    "Generator",
    "Run",
    "__version__",
    "distill",
    "evaluate",
    "export",
    "load",
    "pretrain",
    "profile",
    "report",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """What `__all__` names, imported when it is asked for: torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "gancomp.errors" if name == "GancompError" else "gancomp.api"
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
