"""What networks cost by the widths of their layers, without building each of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from gancomp.metrics.cost import Factors
from gancomp.networks.base import TappedNetwork
from gancomp.shrink.explicit import FIRST_MARK
from gancomp.sizes import Size

Built = Callable[[list[int]], TappedNetwork]
Terms = Callable[[TappedNetwork], Mapping[str, Sequence[Factors]]]


class WidthCosts:
    """The costs of a kind of network by the widths of its layers.

    They are sums of products of sizes. Which of these are widths is seen in one network that has a
    width of its own, a mark, in each of its layers. That the others are the same in every network
    is tried with other widths; where they are not (skips that are joined, branches that are gone),
    each network is built.

    Args:
        built: the network of given widths.
        number: of widths.
        terms: what the costs of a network are sums of, by name, see `cost_terms`.
    """

    def __init__(self, built: Built, number: int, terms: Terms) -> None:
        self._built, self._terms = built, terms
        marked = terms(built([FIRST_MARK + place for place in range(number)]))
        self._products = {name: _by_widths(each, number) for name, each in marked.items()}
        tried = [[2 + (factor * place) % 7 for place in range(number)] for factor in (3, 5)]
        self._known = all(self._summed(widths) == self._whole(widths) for widths in tried)

    def of(self, widths: Sequence[int]) -> Mapping[str, int]:
        """By name, of these widths."""
        return self._summed(widths) if self._known and min(widths) > 0 else self._whole(widths)

    def _summed(self, widths: Sequence[int]) -> dict[str, int]:
        return {
            name: sum(
                times * math.prod(widths[place] for place in places)
                for places, times in products.items()
            )
            for name, products in self._products.items()
        }

    def _whole(self, widths: Sequence[int]) -> dict[str, int]:
        terms = self._terms(self._built(list(widths)))
        return {name: sum(map(math.prod, each)) for name, each in terms.items()}


def _by_widths(terms: Sequence[Factors], number: int) -> Counter[tuple[int, ...]]:
    """The widths that are multiplied with each other, and what with: of equal ones the sum."""
    found: Counter[tuple[int, ...]] = Counter()
    for factors in terms:
        places = [factor - FIRST_MARK for factor in factors]
        widths = tuple(sorted(place for place in places if 0 <= place < number))
        found[widths] += math.prod(
            factor for factor, place in zip(factors, places, strict=True) if not 0 <= place < number
        )
    return found


_KNOWN: dict[str, WidthCosts] = {}


def width_costs(built: Built, number: int, size: Size, terms: Terms) -> WidthCosts:
    """The costs of that kind of network, found out once.

    Args:
        built: the network of given widths.
        number: of widths.
        size: of the images that `terms` counts for.
        terms: what the costs of a network are sums of.
    """
    narrowest = built([1] * number)
    key = json.dumps([narrowest.arch, narrowest.settings(), size], default=str)
    if key not in _KNOWN:
        _KNOWN[key] = WidthCosts(built, number, terms)
    return _KNOWN[key]
