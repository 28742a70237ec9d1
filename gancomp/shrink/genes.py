"""The channels of a ResNet as bits: how they are bred, and kept within a budget."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gancomp.shrink.filling import spent
from gancomp.shrink.supernet import FIRST, LAST

Mask = tuple[int, ...]  # of bits: 1 is a channel that stays
Part = tuple[int, ...]  # one number for each part of a mask

NUM_PARTS = 5  # stem, down1, the residual path with the insides of its blocks, up1, up2
PATH = 2
SELECTED, CROSSED = 0.2, 0.7  # chances of a child; the others are mutated
LEAST_SHARE = 0.01  # of the budget, where less is asked for


class Numbers(Protocol):
    """Where random numbers come from, such as a `random.Random`."""

    def random(self) -> float:
        """In [0, 1)."""

    def randrange(self, stop: int, /) -> int:
        """From 0 to `stop`, exclusive."""


@dataclass(frozen=True)
class Genes:
    """What the bits of a mask stand for.

    Every convolution of the blocks has the bits of the residual path.

    Attributes:
        widths: of the whole network's layers, as its `channels` have them.

    Source: Shu et al. 2019 (Co-Evolution), `compute_layer_mask` of the released code.
    """

    widths: tuple[int, ...]

    @property
    def num_blocks(self) -> int:
        """Residual blocks."""
        return len(self.widths) - FIRST - LAST

    @property
    def lengths(self) -> Part:
        """How many bits each part has."""
        return (*self.widths[:FIRST], *self.widths[-LAST:])

    def parts(self, mask: Mask) -> list[Mask]:
        """The bits of each part."""
        ends = list(itertools.accumulate(self.lengths))
        return [mask[end - length : end] for end, length in zip(ends, self.lengths, strict=True)]

    def open(self, mask: Mask) -> Part:
        """How many channels of each part stay."""
        return tuple(map(sum, self.parts(mask)))

    def closed(self, mask: Mask) -> int:
        """How many channels are closed, counted in every convolution that makes them."""
        makers = [1 + 2 * self.num_blocks * (part == PATH) for part in range(NUM_PARTS)]
        pairs = zip(makers, self.parts(mask), strict=True)
        return sum(times * (len(bits) - sum(bits)) for times, bits in pairs)

    def shape(self, mask: Mask) -> list[int]:
        """The widths that are left."""
        return self.layers(self.open(mask))

    def layers(self, parts: Sequence[int]) -> list[int]:
        """The same number for all layers of a part."""
        return [*parts[:FIRST], *[parts[PATH]] * self.num_blocks, *parts[-LAST:]]

    def kept(self, mask: Mask, *, as_released: bool = False) -> list[list[int]]:
        """The channels of each layer that stay.

        Args:
            mask: with the bits.
            as_released: the stem's bits hold for the first channels of every layer but the last
                transposed convolution, as the released code scores all but the first generation.
        """
        parts = self.parts(mask)
        if as_released:
            stem = parts[0]
            parts[:-1] = [(*stem, *[1] * (n - len(stem)))[:n] for n in self.lengths[:-1]]
        kept = [[channel for channel, bit in enumerate(bits) if bit] for bits in parts]
        return [*kept[:FIRST], *[kept[PATH]] * self.num_blocks, *kept[-LAST:]]

    def drawn(self, numbers: Numbers) -> Mask:
        """A mask with each channel as likely to stay as to go."""
        return tuple(numbers.randrange(2) for _ in range(sum(self.lengths)))

    def within(
        self,
        mask: Mask,
        cost: Callable[[Sequence[int]], float],
        *,
        least: float,
        most: float,
        numbers: random.Random,
        tries: int = 1,
    ) -> Mask:
        """The mask with channels closed or opened at random, until the budget is met.

        Args:
            mask: what it begins with, and ends with if it is within the budget.
            cost: of networks with so many channels in each part.
            least: of the cost; missed where no order of opening channels comes so near.
            most: of the cost; never exceeded if one channel in each part is below it.
            numbers: draw the order.
            tries: how many orders, until one comes near enough.
        """
        if all(self.open(mask)) and least <= cost(self.open(mask)) <= most:
            return mask
        best, reached = mask, 0.0
        for _ in range(tries):
            found = self._once(mask, cost, least, most, numbers)
            if (now := cost(self.open(found))) > reached:
                best, reached = found, now
            if reached >= least:
                break
        return best

    def _once(
        self,
        mask: Mask,
        cost: Callable[[Sequence[int]], float],
        least: float,
        most: float,
        numbers: random.Random,
    ) -> Mask:
        """Of open channels as many as fit; of closed ones as many as are missing."""
        order = list(range(len(mask)))
        numbers.shuffle(order)
        order.sort(key=lambda bit: -mask[bit])
        part_of = [part for part, length in enumerate(self.lengths) for _ in range(length)]
        firsts = {part_of[bit]: bit for bit in reversed(order)}
        counts, rest = [1] * NUM_PARTS, [bit for bit in order if bit not in firsts.values()]
        enough = max(least, LEAST_SHARE * most)
        for state in (1, 0):
            if state == 1 or cost(counts) < least:
                steps = [part_of[bit] for bit in rest if mask[bit] == state]
                counts, _ = spent(counts, steps, cost, limit=most, enough=enough)
        left, found = list(counts), [0] * len(mask)
        for bit in order:
            if left[part_of[bit]] > 0:
                left[part_of[bit]] -= 1
                found[bit] = 1
        return tuple(found)


def roulette(fitnesses: Sequence[float], numbers: Numbers) -> int:
    """The index of one of them, as likely as it is large."""
    share, whole = numbers.random(), sum(fitnesses)
    sums = itertools.accumulate(fitnesses)
    return next((k for k, total in enumerate(sums) if total / whole >= share), len(fitnesses) - 1)


def segment(length: int, numbers: Numbers) -> slice:
    """A stretch of a mask, between two places drawn at random."""
    places = [numbers.randrange(length) for _ in range(2)]
    return slice(min(places), max(places))


def crossed(one: Mask, other: Mask, part: slice) -> tuple[Mask, Mask]:
    """Both with that part of the other."""
    return (
        (*one[: part.start], *other[part], *one[part.stop :]),
        (*other[: part.start], *one[part], *other[part.stop :]),
    )


def flipped(mask: Mask, part: slice) -> Mask:
    """The mask with every bit of that part turned over."""
    return (*mask[: part.start], *(1 - bit for bit in mask[part]), *mask[part.stop :])


def offspring(
    masks: Sequence[Mask], fitnesses: Sequence[float], best: Mask, numbers: Numbers
) -> list[Mask]:
    """The next generation, of the same size: the best, then what is selected, crossed or mutated.

    Args:
        masks: of this generation.
        fitnesses: of each, above 0.
        best: stays.
        numbers: draw parents, what is done with them, and where.

    Source: Shu et al. 2019 (Co-Evolution), section 3.3, with the shares of the released code.
    """
    return [best, *itertools.islice(_bred(masks, fitnesses, numbers), len(masks) - 1)]


def _bred(masks: Sequence[Mask], fitnesses: Sequence[float], numbers: Numbers) -> Iterator[Mask]:
    while True:
        draw = numbers.random()
        one = masks[roulette(fitnesses, numbers)]
        if draw < SELECTED:
            yield one
        elif draw <= SELECTED + CROSSED:
            other = masks[roulette(fitnesses, numbers)]
            yield from crossed(one, other, segment(len(one), numbers))
        else:
            yield flipped(one, segment(len(one), numbers))
