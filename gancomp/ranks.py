"""The processes that train one run together: each has its share of every batch, all do the same.

A rank computes the mean of its share's terms; the mean of the ranks' gradients is then that of the
whole batch. What mixes the images of a batch (norms, groups, pools) takes in all ranks' by
`gathered`, and what is drawn at random is drawn for the whole batch by every rank, which keeps its
share. So results follow from the batch and the seed, not from the number of ranks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError

Value = TypeVar("Value")
Item = TypeVar("Item")


class LostError(Exception):
    """The other ranks cannot be reached any more: one of them has ended, or does not answer."""


class ElsewhereError(LostError):
    """Another rank met an error of its own, and will say which."""


class Ranks:
    """One process, or several that work together.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
        place: number and phase of the step that is under way, from 1; None between two steps.
        brief: whether gradients are summed in bfloat16, half the bytes, with 8 bits of each.
    """

    rank = 0
    size = 1
    place: tuple[int, str] | None = None
    brief = False

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def rows(self, count: int) -> list[int]:
        """Which of `count` images are this rank's; the last is repeated where they do not suffice.

        Put one behind the other, as `gathered` does, the ranks' first `count` are all of them.
        """
        share = -(-count // self.size)
        return [min(self.rank * share + i, count - 1) for i in range(share)]

    def own(self, whole: Tensor) -> Tensor:
        """This rank's rows of what belongs to the whole batch."""
        if self.size == 1:
            return whole
        rows = self.rows(len(whole))
        if rows[-1] - rows[0] + 1 == len(rows):
            return whole[rows[0] : rows[-1] + 1]
        return whole[torch.tensor(rows, device=whole.device)]

    def positions(self, count: int, parts: int = 1) -> list[int]:
        """Which places of a batch are this rank's: of each of its equal parts an equal share.

        Args:
            count: images in the whole batch, a multiple of `parts` times the number of ranks.
            parts: those that are gone through one after the other.
        """
        assert count % (parts * self.size) == 0, "refuse_uneven comes first"
        width = count // parts
        return [part * width + row for part in range(parts) for row in self.rows(width)]

    def share(self, items: Sequence[Item], unit: int = 1) -> Sequence[Item]:
        """This rank's part of what is in an order; it begins at a multiple of `unit`.

        Put one behind the other, the ranks' parts are all of it. Where there are no equal parts,
        later ranks have more: the last unit may be an incomplete one.
        """
        units = -(-len(items) // unit)
        begin, end = (units * rank // self.size * unit for rank in (self.rank, self.rank + 1))
        return items[begin:end]

    def gathered(self, share: Tensor) -> Tensor:
        """`(size N, ...)`: the shares `(N, ...)` of all ranks; can be differentiated twice.

        Its gradient is the sum of what all ranks want of the share.
        """
        return share

    def agree(self, word: int) -> list[int]:
        """The number that each rank says, by rank. All ranks come to this point, or none does."""
        return [word]

    def told(self, word: Value) -> list[Value]:
        """As `agree`, for whatever is small; ends a `call`."""
        return [word]

    def at_lead(self, own: Value) -> list[Value]:
        """What each rank brings, by rank, on the first of them; on the others nothing."""
        return [own]

    def call(self) -> None:
        """Asks all ranks to leave their work and come to the next `told`."""

    def called(self) -> bool:
        """Whether a rank did so."""
        return False

    def from_lead(self, make: Callable[[], Value]) -> Value:
        """What `make` returns on the first rank, which alone calls it."""
        return make()

    def average(
        self, parameters: Sequence[nn.Parameter], values: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Puts the mean of all ranks' gradients in the place of this rank's.

        Args:
            parameters: the same on all ranks; those without a gradient keep none.
            values: `(K,)`, of which the mean is wanted, too.

        Returns: that mean, and for each rank, and one more, NaN or 0: NaN where that rank's values
            are not finite, and last where not all ranks have gradients of the same parameters.
        """
        return values, None

    def barrier(self) -> None:
        """Waits until all ranks are here."""
        self.agree(0)


_current = Ranks()


def current() -> Ranks:
    """The ranks that this process works with; by itself unless `engine.group` says otherwise."""
    return _current


@contextlib.contextmanager
def working_with(ranks: Ranks) -> Iterator[Ranks]:
    """Makes `ranks` the current ones until the block ends."""
    global _current  # noqa: PLW0603  # torch's process group is global, too
    former, _current = _current, ranks
    try:
        yield ranks
    finally:
        _current = former


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """What this process does in the block, it does by itself: nobody else comes to it."""
    with working_with(Ranks()):
        yield


def refuse_uneven(batch_size: int, parts: int, ranks: Ranks) -> None:
    """Refuses a batch that the ranks cannot share evenly.

    Args:
        batch_size: images in a step's batch.
        parts: what each of them is divided into (`accumulation`).
        ranks: who share it.

    Raises:
        ConfigError: with the numbers that can.
    """
    unit = parts * ranks.size
    if batch_size % unit == 0:
        return
    lower, upper = batch_size // unit * unit, -(-batch_size // unit) * unit
    sizes = " or ".join(str(size) for size in (lower, upper) if size)
    counts = [n for n in range(1, batch_size + 1) if batch_size % (parts * n) == 0]
    fewer = f"; or start {_listed(counts)} processes" if counts else ""
    halves = f" in {parts} parts" if parts > 1 else ""
    raise ConfigError(
        f"`batch_size` {batch_size}: {ranks.size} processes cannot share it evenly{halves}; "
        f"use {sizes}{fewer}"
    )


def _listed(numbers: Sequence[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last
