"""What networks cost by the widths of their layers, without building each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

from gancomp.networks.base import TappedNetwork
from gancomp.shrink.explicit import FIRST_MARK
from gancomp.sizes import Size

MOST_MEASURED = 64  # networks; where it takes more, each one is built
Built = Callable[[list[int]], TappedNetwork]
Measure = Callable[[TappedNetwork], Mapping[str, int]]


class PairCosts:
    """Costs that are sums of terms of one width, or of the product of two that meet.

    Args:
        measure: costs of the network of these widths, all of them whole numbers.
        number: of widths.
        meeting: the pairs that meet in a layer.
    """

    def __init__(
        self,
        measure: Callable[[Sequence[int]], Mapping[str, int]],
        number: int,
        meeting: Iterable[tuple[int, int]],
    ) -> None:
        def at(*wider: int) -> Mapping[str, int]:
            return measure([1 + (place in wider) for place in range(number)])

        self.base = at()
        self.single = {i: _minus(at(i), self.base) for i in range(number)}
        self.double = {
            (i, j): _minus(_minus(_minus(at(i, j), self.base), self.single[i]), self.single[j])
            for i, j in meeting
        }

    def of(self, widths: Sequence[int]) -> dict[str, int]:
        """By name, of these widths."""
        more = [width - 1 for width in widths]
        return {
            name: value
            + sum(self.single[i][name] * more[i] for i in self.single)
            + sum(each[name] * more[i] * more[j] for (i, j), each in self.double.items())
            for name, value in self.base.items()
        }


class WidthCosts:
    """The costs of a kind of network by the widths of its layers.

    Which widths meet is seen in the shapes of its weights. That nothing else counts is tried with
    other widths; where it does not hold (skips that are joined, branches that are gone), each
    network is built.

    Args:
        built: the network of given widths.
        number: of widths.
        measure: costs of a network.
    """

    def __init__(self, built: Built, number: int, measure: Measure) -> None:
        self._built, self._measure = built, measure
        self._pairs: PairCosts | None = None
        meeting = _meeting(built, number)
        if meeting is None or 1 + number + len(meeting) > MOST_MEASURED:
            return
        pairs = PairCosts(self._whole, number, meeting)
        tried = [[2 + (factor * place) % 7 for place in range(number)] for factor in (3, 5)]
        if all(pairs.of(widths) == self._whole(widths) for widths in tried):
            self._pairs = pairs

    def of(self, widths: Sequence[int]) -> Mapping[str, int]:
        """By name, of these widths."""
        if self._pairs is None or min(widths) < 1:
            return self._whole(widths)
        return self._pairs.of(widths)

    def _whole(self, widths: Sequence[int]) -> Mapping[str, int]:
        return self._measure(self._built(list(widths)))


_KNOWN: dict[str, WidthCosts] = {}


def width_costs(built: Built, number: int, size: Size, measure: Measure) -> WidthCosts:
    """The costs of that kind of network, found out once.

    Args:
        built: the network of given widths.
        number: of widths.
        size: of the images that `measure` counts for.
        measure: costs of a network.
    """
    narrowest = built([1] * number)
    key = json.dumps([narrowest.arch, narrowest.settings(), size], default=str)
    if key not in _KNOWN:
        _KNOWN[key] = WidthCosts(built, number, measure)
    return _KNOWN[key]


def _meeting(built: Built, number: int) -> list[tuple[int, int]] | None:
    """The pairs of widths that a tensor has as two of its sides; None where one has a sum."""
    marks = [FIRST_MARK + place for place in range(number)]
    found = set()
    for value in built(marks).state_dict().values():
        sides = [length - FIRST_MARK for length in value.shape if length >= FIRST_MARK]
        if any(place >= number for place in sides) or len(set(sides)) < len(sides):
            return None
        found |= set(combinations(sorted(sides), 2))
    return sorted(found)


def _minus(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: value - other[name] for name, value in one.items()}
