"""The shapes that a search may choose among, and the evolution that looks for the best of them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gancomp.errors import ConfigError
from gancomp.shrink.candidates import Candidate

Shape = tuple[int, ...]
PIX2PIX = (64, 56, 48, 40, 32, 24, 16)
SETS: dict[str, tuple[Shape, ...]] = {  # of the released code, widest first
    "channels-32": ((32, 24, 16),) * 8,
    "channels-48": (*((48, 32),) * 2, *((48, 40, 32),) * 4, *((48, 32, 24, 16),) * 2),
    "channels-64-cycleGAN": ((64, 48, 32, 24, 16),) * 8,
    "channels-64-pix2pix": (PIX2PIX,) * 8,
}
MOST_DRAWS = 200  # before a shape within the budget is looked for from the narrowest on


@dataclass(frozen=True)
class Space:
    """All shapes that have one of some widths at each place.

    Attributes:
        choices: widths of each place, widest first.
    """

    choices: tuple[Shape, ...]

    def __len__(self) -> int:
        return math.prod(len(widths) for widths in self.choices)

    def __iter__(self) -> Iterator[Shape]:
        return itertools.product(*self.choices)

    @property
    def widest(self) -> Shape:
        """Of every place the largest width."""
        return tuple(max(widths) for widths in self.choices)

    @property
    def narrowest(self) -> Shape:
        """Of every place the smallest width."""
        return tuple(min(widths) for widths in self.choices)

    def sample(self, numbers: random.Random, weighted: float = 1.0) -> Shape:
        """A shape, each width drawn by itself.

        Args:
            numbers: draws.
            weighted: how much likelier the narrowest width is than the widest; the weights of
                those between rise evenly.
        """
        if weighted == 1:
            return tuple(numbers.choices(widths)[0] for widths in self.choices)
        return tuple(
            numbers.choices(widths, weights=_rising(len(widths), weighted))[0]
            for widths in self.choices
        )


def _rising(number: int, last: float) -> list[float]:
    """Evenly rising weights, of which the last is `last` times the first."""
    first = (number - 1) / (last - 1)
    return [first + index for index in range(number)]


def read_space(asked: str, text: str, width: int) -> Space:
    """The space that `--channel-choices` describes; by default shares of a width.

    Raises:
        ConfigError: beginning with `asked`, if it is none.
    """
    if text in SETS:
        return Space(SETS[text])
    if not text:
        shares = (1.0, 0.75, 0.5, 0.375, 0.25)
        widths = tuple(dict.fromkeys(max(1, round(width * share)) for share in shares))
        return Space((widths,) * 8)
    try:
        lists = [tuple(int(width) for width in part.split(",")) for part in text.split("/")]
    except ValueError:
        lists = []
    if len(lists) not in (1, 8) or any(min(widths) < 1 for widths in lists):
        raise ConfigError(
            f"{asked}: `channel_choices` {text}: write one list of widths such as 64,48,32, eight "
            f"of them with / between, or one of {', '.join(SETS)}"
        )
    ordered = tuple(tuple(sorted(set(widths), reverse=True)) for widths in lists)
    return Space(ordered * (8 // len(ordered)))


@dataclass(frozen=True)
class Evolution:
    """How a population goes on; see `OnceForAllOptions`."""

    population: int
    generations: int
    parent_share: float = 0.25
    mutation_share: float = 0.5
    mutation_rate: float = 0.4
    weighted_sample: float = 1.0


def evolve(
    space: Space,
    fits: Callable[[Shape], bool],
    score: Callable[[Shape], Candidate],
    *,
    wanted: Evolution,
    numbers: Callable[[int], random.Random],
    draw: Callable[[random.Random], Shape],
) -> Candidate:
    """The best candidate after some generations; parents stay in the pool.

    Args:
        space: of all shapes.
        fits: whether a shape is within the budget; children that are not are drawn again.
        score: a candidate's.
        wanted: sizes and rates.
        numbers: random ones of a generation, so that a search goes on as it would have.
        draw: a shape that fits, for the first generation.

    Source: Li et al. 2020 (GAN Compression), `evolution_search.py` of the released code.
    """
    num_parents = max(1, round(wanted.parent_share * wanted.population))
    num_mutated = round(wanted.mutation_share * wanted.population)
    first = numbers(0)
    pool = [draw(first) for _ in range(wanted.population)]
    parents: list[Candidate] = []
    for generation in range(1, wanted.generations + 1):
        scored = {item.shape: item for item in [*parents, *map(score, pool)]}
        parents = sorted(scored.values(), key=lambda item: item.score)[:num_parents]
        if generation == wanted.generations:
            break
        drawn, shapes = numbers(generation), [item.shape for item in parents]
        pool = [
            _child(space, shapes, fits, drawn, wanted.mutation_rate if k < num_mutated else None)
            for k in range(wanted.population)
        ]
    return parents[0]


def _child(
    space: Space,
    parents: Sequence[Shape],
    fits: Callable[[Shape], bool],
    numbers: random.Random,
    mutation_rate: float | None,
) -> Shape:
    """A parent with some widths drawn anew, or the widths of two; one that fits."""
    for _ in range(MOST_DRAWS):
        one = numbers.choice(parents)
        if mutation_rate is None:
            other = numbers.choice(parents)
            child = tuple(numbers.choice(pair) for pair in zip(one, other, strict=True))
        else:
            child = tuple(
                numbers.choice(widths) if numbers.random() < mutation_rate else width
                for width, widths in zip(one, space.choices, strict=True)
            )
        if fits(child):
            return child
    return numbers.choice(parents)


def near_budget(
    space: Space,
    cost: Callable[[Shape], float],
    *,
    least: float,
    most: float,
    numbers: random.Random,
    weighted: float,
    draws: int = MOST_DRAWS,
) -> Shape | None:
    """A random shape that costs from `least` to `most`; None if walks do not get there.

    From a random shape, single widths are changed toward the range, at random, until it is met.
    """
    steps = sum(len(widths) for widths in space.choices)
    for _ in range(draws):
        shape = space.sample(numbers, weighted)
        for _ in range(steps):
            now = cost(shape)
            if least <= now <= most:
                return shape
            place = _changeable(space, shape, numbers, wider=now < least)
            if place is None:
                break
            shape = place
    return None


def _changeable(space: Space, shape: Shape, numbers: random.Random, *, wider: bool) -> Shape | None:
    """The shape with one width of the next size, at a random place."""
    options = []
    for place, widths in enumerate(space.choices):
        beyond = [width for width in widths if (width > shape[place]) == wider]
        beyond = [width for width in beyond if width != shape[place]]
        if beyond:
            nearest = min(beyond) if wider else max(beyond)
            options.append((*shape[:place], nearest, *shape[place + 1 :]))
    return numbers.choice(options) if options else None
