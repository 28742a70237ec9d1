"""What a whole step of the width leaves, spent on single layers."""

from __future__ import annotations

import pytest

from gancomp.shrink.filling import filled

LOWER, UPPER = [4, 8, 16, 16, 8], [5, 10, 20, 20, 10]


@pytest.mark.parametrize("limit", [840.0, 900.0, 1000.0, 1090.0])
def test_the_rest_of_a_budget_is_spent_with_few_measurements(limit: float) -> None:
    """Each layer costs the product of its width and the one before; one is the coarsest."""
    asked: list[list[int]] = []

    def cost(widths: list[int]) -> float:
        asked.append(widths)
        return sum(one * other for one, other in zip([3, *widths], widths, strict=False)) + 240

    reached = cost(LOWER)
    widths, found = filled(LOWER, [UPPER], cost, limit=limit, reached=reached)
    assert found == cost(widths) <= limit
    assert found > 0.97 * limit
    assert all(low <= now <= high for low, now, high in zip(LOWER, widths, UPPER, strict=True))
    assert len(asked) <= 20


def test_what_is_close_enough_stays() -> None:
    widths, found = filled(LOWER, [UPPER], lambda widths: 1e9, limit=10, reached=9.8, close=0.98)
    assert (widths, found) == (LOWER, 9.8)
