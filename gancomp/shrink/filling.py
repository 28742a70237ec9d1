"""What a whole step of the width leaves of a budget, spent on the widths of single layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

CLOSE = 0.995  # of a budget: near enough


def filled(
    lower: Sequence[int],
    uppers: Sequence[Sequence[int]],
    cost: Callable[[list[int]], float],
    *,
    limit: float,
    reached: float,
    close: float = CLOSE,
    passes: int | None = None,
) -> tuple[list[int], float]:
    """Widths of layers from `lower` towards `upper`, one after the other, as the limit allows.

    Each is widened by as much as fits; the first one, which gives the network's width its name,
    comes last.

    Args:
        lower: within the limit.
        uppers: as many, none smaller; a further one where much is left of the one before.
        cost: of such widths.
        limit: the most they may be.
        reached: the cost of `lower`.
        close: the share of the limit that is enough.
        passes: over the layers, where costs take long to find out; None for as many as it takes.

    Returns: the widths, and their cost.
    """
    best = list(lower), reached
    for upper in uppers:
        if best[1] < close * limit:
            start = best[0]
            order = (*range(1, len(start)), 0)
            steps = [at for at in order for _ in range(upper[at] - start[at])]
            found = spent(start, steps, cost, limit=limit, enough=close * limit, passes=passes)
            best = max(best, found, key=lambda item: item[1])
    return best


def spent(
    widths: list[int],
    steps: list[int],
    cost: Callable[[list[int]], float],
    *,
    limit: float,
    enough: float,
    passes: int | None = None,
) -> tuple[list[int], float]:
    """Widths with as many steps as the limit allows, one after the other.

    By bisection over the steps, so that few are measured; what fails is left out from there on, and
    those after are gone through once more.

    Args:
        widths: within the limit.
        steps: the index of the width that each makes wider by one.
        cost: of such widths.
        limit: the most they may be.
        enough: where to stop.
        passes: see `filled`.

    Returns: the widths, and their cost; 0 if no step was taken.
    """
    reached, done = 0.0, 0
    while steps and reached < enough and (passes is None or done < passes):
        done += 1
        meets, fails = 0, len(steps) + 1
        while fails - meets > 1:
            middle = (meets + fails) // 2
            now = cost(_widened(widths, steps[:middle]))
            if now <= limit:
                meets, reached = middle, now
            else:
                fails = middle
        widths, failed = _widened(widths, steps[:meets]), steps[meets:][:1]
        steps = [at for at in steps[meets:] if at not in failed]
    return widths, reached


def _widened(widths: Sequence[int], steps: Sequence[int]) -> list[int]:
    return [width + steps.count(at) for at, width in enumerate(widths)]
