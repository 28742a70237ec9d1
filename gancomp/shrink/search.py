"""The widest network within a budget, by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """The widest network within a budget, and what it takes of it."""

    width: int
    measured: float


def widest_within(budget: float, *, most: int, cost_of: Callable[[int], float]) -> Choice | None:
    """The largest width found by bisection whose cost meets the budget twice.

    Latency rises with the width but for small bumps, and no two measurements are equal: what
    bisection finds is measured again and, if it fails then, the next smaller width is tried.

    Args:
        budget: that is to be met.
        most: the largest width to consider.
        cost_of: measures a width.

    Returns: None if not even width 1 meets it.
    """
    meets, fails = 0, most + 1
    while fails - meets > 1:
        width = (meets + fails) // 2
        if cost_of(width) <= budget:
            meets = width
        else:
            fails = width
    for width in range(meets, 0, -1):
        measured = cost_of(width)
        if measured <= budget:
            return Choice(width, measured)
    return None
