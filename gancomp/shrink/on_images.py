"""What ways to shrink have in common that train on images before they know the shape."""

from __future__ import annotations

from typing import Any, NoReturn

from gancomp.errors import ConfigError
from gancomp.shrink.base import ShrinkRequest
from gancomp.shrink.budget import Budget, read_budget


class OnImages:
    """A `Searcher` without its search: budgets are those of `read_budget`."""

    example = "50%"
    from_settings = False
    searches = True
    tasks = ("unpaired", "paired")

    def __init__(self, options: Any) -> None:
        self.options = options

    def read(self, asked: str, budget: str) -> Budget:
        """The budget; a share is of the teacher's MACs."""
        return read_budget(asked, budget)

    def shrink(self, request: ShrinkRequest) -> NoReturn:
        """Refuses: it needs images.

        Raises:
            ConfigError: saying so.
        """
        raise ConfigError(f"{request.asked}: needs images to search on; give `dataset`")
