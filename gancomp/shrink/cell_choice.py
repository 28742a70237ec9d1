"""From what AGD's search believes to one network: the most probable one, made to fit a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gancomp.networks.agd import OPERATIONS
from gancomp.shrink.cell_space import CellSpace, Shape
from gancomp.shrink.filling import CLOSE, filled


@dataclass(frozen=True)
class Beliefs:
    """Logarithms of probabilities.

    Attributes:
        operations: of each cell's operations.
        widths: of each layer's widths, narrowest first.
    """

    operations: list[list[float]]
    widths: list[list[float]]

    def derived(self, space: CellSpace) -> Shape:
        """The most probable operation and width, each by itself."""
        return Shape(
            tuple(map(_largest, self.operations)),
            tuple(
                widths[_largest(each)]
                for widths, each in zip(space.widths, self.widths, strict=True)
            ),
        )

    def of(self, space: CellSpace, shape: Shape) -> float:
        """The logarithm of a network's probability, whose widths are all in the space."""
        operations = zip(self.operations, shape.operations, strict=True)
        widths = zip(self.widths, space.widths, shape.widths, strict=True)
        return sum(each[k] for each, k in operations) + sum(
            each[known.index(width)] for each, known, width in widths
        )


def _largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda k: values[k])


def within(space: CellSpace, beliefs: Beliefs, limit: float) -> tuple[Shape, float]:
    """The derived network, changed as little as possible to use a budget and not exceed it.

    One choice after the other is changed, that which gives up least probability for what it
    changes of the cost; what is then left of the budget widens single layers.

    Args:
        space: whose narrowest network is within the limit.
        beliefs: of the search.
        limit: the most that it may cost, in the budget's unit.

    Returns: the network, and its cost. It stays under the limit by more than a hundredth only
        where it is the widest of its operations.
    """
    shape = beliefs.derived(space)
    while space.cost(shape) > limit:
        shape = _next(space, beliefs, shape, lambda cost, now: cost < now) or space.narrowest
    while space.cost(shape) < CLOSE * limit:
        wider = _next(space, beliefs, shape, lambda cost, now: now < cost <= limit)
        if wider is None:
            break
        shape = wider

    def with_widths(widths: Sequence[int]) -> Shape:
        return replace(shape, widths=tuple(widths))

    widths, cost = filled(
        shape.widths,
        [space.full],
        lambda widths: space.cost(with_widths(widths)),
        limit=limit,
        reached=space.cost(shape),
    )
    return with_widths(widths), cost


def _next(
    space: CellSpace, beliefs: Beliefs, shape: Shape, fits: Callable[[float, float], bool]
) -> Shape | None:
    """What differs in one choice and fits, for the least loss of probability by cost."""
    now, belief = space.cost(shape), beliefs.of(space, shape)
    best: tuple[float, Shape] | None = None
    for other in _neighbors(space, shape):
        cost = space.cost(other)
        if fits(cost, now):
            loss = (belief - beliefs.of(space, other)) / abs(cost - now)
            if best is None or loss < best[0]:
                best = loss, other
    return best[1] if best is not None else None


def _neighbors(space: CellSpace, shape: Shape) -> Iterator[Shape]:
    for cell, now in enumerate(shape.operations):
        for operation in range(len(OPERATIONS)):
            if operation != now:
                yield replace(shape, operations=_changed(shape.operations, cell, operation))
    for layer, width in enumerate(shape.widths):
        for other in space.widths[layer]:
            if other != width:
                yield replace(shape, widths=_changed(shape.widths, layer, other))


def _changed(values: tuple[int, ...], place: int, value: int) -> tuple[int, ...]:
    return (*values[:place], value, *values[place + 1 :])
