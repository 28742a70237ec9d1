"""Images in an order of which any part can be made: what several processes share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gancomp.data.in_order import none_readable
from gancomp.engine.sharing import Watch, in_shares, watched
from gancomp.errors import DataError
from gancomp.metrics.features import NUM_FEATURES, Features
from gancomp.ranks import current

Pixels = NDArray[np.uint8]
Say = Callable[[str], None]
Make = Callable[[Sequence[Any], Say, list[Path]], Iterator[Pixels]]


class Beside(Protocol):
    """What is found out about images while they are made."""

    def take(self) -> list[Any]:
        """What was found on this rank since the last call, which it has no longer."""

    def put(self, found: list[Any]) -> None:
        """Adds what all ranks found, in the order of the images."""


@dataclass(frozen=True)
class Images:
    """Images that are made while they are read.

    Attributes:
        items: what they are made of, in order: files, or numbers.
        make: the images `(H, W, 3)` of some neighboring items; says which file cannot be read, and
            adds it to the list.
        each: images per item.
        unit: items that are made together.
        beside: of what is found out while they are made, if anything is.
    """

    items: Sequence[Any]
    make: Make
    each: int = 1
    unit: int = 1
    beside: Beside | None = None


def features_by_ranks(
    images: Images,
    extract: Callable[[Iterator[Pixels], Callable[[int], None]], Features],
    say: Say,
    *,
    size: int,
    unit: int,
    skipped: list[Path],
    progress: Callable[[int], None],
) -> Iterator[Features]:
    """Parts of `size` images' features, each made by all ranks; empty ones but on the first rank.

    The images of a part, and those that Inception looks at together, are those of one process. A
    part in which files turn out to be unreadable is filled up and made once more for that.

    Args:
        images: of any number.
        extract: features of some; calls what it is given with the number done so far.
        say: told about each file that cannot be read, in order.
        size: of a part, a multiple of `unit`; parts are larger where images are made together.
        unit: images that are looked at together.
        skipped: files that cannot be read are added to it.
        progress: called with about the number of images done so far.

    Raises:
        DataError: if no file can be read; whatever else making images raises.
    """
    unit = math.lcm(images.unit, unit // math.gcd(unit, images.each))
    at_once = math.lcm(math.lcm(size, images.each) // images.each, images.unit)
    rest, done, any_made = images.items, 0, False
    said: set[str] = set()

    def say_once(message: str) -> None:
        if message not in said:
            said.add(message)
            say(message)

    while len(rest):
        part, rest = rest[:at_once], rest[at_once:]
        while len(part):
            made = _Pass(images, extract, partial(_tell, progress, done, current().size))
            left_out = made.by_ranks(part, say_once, skipped, unit=unit)
            if not left_out:
                done, any_made = done + len(part) * images.each, True
                yield made.gathered()
                break
            kept = [item for item in part if item not in left_out]
            more = len(part) - len(kept)
            part, rest = [*kept, *rest[:more]], rest[more:]
    if not any_made:
        raise none_readable(images.items)


def _tell(progress: Callable[[int], None], before: int, size: int, count: int) -> None:
    progress(before + size * count)  # the others are about as far


class _Pass:
    """One pass of all ranks over some items."""

    def __init__(
        self,
        images: Images,
        extract: Callable[[Iterator[Pixels], Callable[[int], None]], Features],
        progress: Callable[[int], None],
    ) -> None:
        self.images, self.extract, self.progress = images, extract, progress
        self.rows: Features = np.empty((0, NUM_FEATURES), np.float32)

    def by_ranks(
        self, items: Sequence[Any], say: Say, skipped: list[Path], *, unit: int
    ) -> set[Any]:
        """Makes the images of all items; those of which there is none."""
        if self.images.beside is not None:
            self.images.beside.take()  # of a pass before that was not the last one
        missing: set[Any] = set()
        for told, left_out in in_shares(items, self._share, unit=unit):
            for message in told:
                say(message)
            skipped += [path for path in left_out if path not in skipped]
            missing.update(left_out)
        return missing & set(items)

    def _share(self, items: Sequence[Any], watch: Watch) -> tuple[list[str], list[Path]]:
        told: list[str] = []
        left_out: list[Path] = []
        if items:
            made = self.images.make(items, told.append, left_out)
            try:
                self.rows = self.extract(watched(made, watch), self.progress)
            except DataError:
                if set(items) - set(left_out):
                    raise
        return told, left_out

    def gathered(self) -> Features:
        """All rows on the first rank; what was found beside them is put together there, too."""
        ranks, beside = current(), self.images.beside
        if beside is not None:
            found = ranks.at_lead(beside.take())
            beside.put([item for part in found for item in part])
        parts = [part for part in ranks.at_lead(self.rows) if len(part)]
        return np.concatenate(parts) if parts else self.rows[:0]
