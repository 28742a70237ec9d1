"""A run before the run: what it is called and what it makes."""

from __future__ import annotations

from dataclasses import dataclass

FOLDER = "stages"


@dataclass(frozen=True)
class Stage:
    """One run before the run.

    Attributes:
        name: of its folder.
        role: what it makes: `teacher` or `student`.
        objective: of the method that trains one network alone.
        steps: how many.
    """

    name: str
    role: str
    objective: str
    steps: int
