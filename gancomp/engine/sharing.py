"""The work of a command on many images, of which each of several processes does a part."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar, cast

from gancomp.engine.group import joined
from gancomp.engine.stopping import InterruptedRunError, StopWish, listening_for_stop
from gancomp.launch import PATIENCE_S, unheard
from gancomp.ranks import ElsewhereError, LostError, Ranks, apart, current

Item = TypeVar("Item")
Value = TypeVar("Value")
Say = Callable[[str], None]
Watch = Callable[[], None]

PAUSE_S = 0.05  # between two looks at whether another rank called
AT_ONCE = 4096  # items between two meetings of all ranks
FILES_EACH = 16  # the same for each rank, of files that may differ much in size
WAY_OUT = "start the command again"
DONE, CALLED, FAILED = range(3)


class _CalledError(BaseException):
    """This rank leaves its work to meet the others; no `except Exception` on the way holds it."""


@contextlib.contextmanager
def working_together(say: Say) -> Iterator[Say]:
    """The processes that torchrun started share the work in the block; the first one alone speaks.

    Args:
        say: given back on the first rank; on the others something that says nothing.

    Raises:
        RunError: as `joined`.
    """
    with joined(PATIENCE_S, WAY_OUT) as ranks:
        yield say if ranks.leads else unheard


@contextlib.contextmanager
def first_rank_first() -> Iterator[None]:
    """For what may be downloaded, or refused: the first rank does it alone, then the others do.

    What it raises there, all raise: it is no failure of one of them. None goes on before all are
    through: what one writes then, another does not come upon when it lists a folder in the block.
    """
    ranks = current()
    if not ranks.leads:
        _wait_for_lead(ranks)
    try:
        yield
    finally:
        if ranks.leads:
            _end_wait(ranks)
    ranks.barrier()


def from_lead(make: Callable[[], Value]) -> Value:
    """What `make` returns on the first rank, which alone calls it, however long it takes.

    Raises:
        LostError: on the others, if `make` raised; what it raised, it raises on the first.
    """
    ranks = current()
    if not ranks.leads:
        return cast(Value, _wait_for_lead(ranks))
    made: Value | None = None
    try:
        made = make()
    except BaseException:
        with contextlib.suppress(LostError):
            ranks.call()
        raise
    return cast(Value, _end_wait(ranks, made))


def _wait_for_lead(ranks: Ranks) -> object:
    """Waits without a limit until the first rank ends that, with what it gives; or is lost.

    One that is killed ends nothing: then torchrun stops those that wait.
    """
    while not ranks.called():
        time.sleep(PAUSE_S)
    return ranks.told(None)[0]


def _end_wait(ranks: Ranks, given: object = None) -> object:
    ranks.call()
    return ranks.told(given)[0]


def in_shares(
    items: Sequence[Item], work: Callable[[Sequence[Item], Watch], Value], *, unit: int = 1
) -> list[Value]:
    """What `work` makes of each rank's share of `items`, by rank; the same on all of them.

    Args:
        items: in the order of one process. All ranks have the same and come here.
        work: makes something small of a share, which may be empty. What it is given beside it, it
            calls after each item: it does not return there once a rank has failed, or was asked
            to stop.
        unit: shares begin at multiples of it.

    Raises:
        InterruptedRunError: if a rank was asked to stop.
        KeyboardInterrupt: if this one was, too late to tell the others here; they notice soon.
        ElsewhereError: if `work` raised on another rank; what it raised, it raises on that one.
    """
    ranks = current()
    if ranks.size == 1:
        return [work(items, lambda: None)]
    with listening_for_stop() as stop:
        word, made, failure = _done(items, work, ranks, stop, unit=unit)
        try:
            meeting = ranks.told((word, stop.word(), made))
        except LostError:
            if failure is None:
                raise
    if failure is not None:
        raise failure
    words, asked, parts = zip(*meeting, strict=True)
    if FAILED in words:
        raise ElsewhereError(f"rank {words.index(FAILED)} failed")
    stop.hear(asked)
    if stop:
        raise InterruptedRunError(f"interrupted by {stop.describe()}")
    if stop.word():
        with contextlib.suppress(LostError):
            ranks.call()
        raise KeyboardInterrupt
    return list(parts)


def _done(
    items: Sequence[Item],
    work: Callable[[Sequence[Item], Watch], Value],
    ranks: Ranks,
    stop: StopWish,
    *,
    unit: int,
) -> tuple[int, Value | None, Exception | None]:
    """How this rank's work ended, and with what."""

    def watch() -> None:
        if stop.word():
            ranks.call()
        if ranks.called():
            raise _CalledError

    try:
        with apart():  # a network at rest asks nothing of the others
            watch()
            return DONE, work(ranks.share(items, unit), watch), None
    except _CalledError:
        return CALLED, None, None
    except Exception as error:
        with contextlib.suppress(LostError):
            ranks.call()
        return FAILED, None, error


def helped(
    compute: Callable[[], Value], remembered: Callable[[Callable[[], Value]], Value]
) -> Value:
    """On the first rank: what `remembered` makes of `compute`; if it calls it, all ranks compute.

    The others come to `help_if_needed` meanwhile.
    """
    needed = False

    def together() -> Value:
        nonlocal needed
        needed = from_lead(lambda: True)
        return compute()

    found = remembered(together)
    if not needed:
        from_lead(lambda: False)
    return found


def help_if_needed(compute: Callable[[], object]) -> None:
    """On any other rank: does its part of what the first one computes in `helped`, if it does."""
    if from_lead(lambda: True):
        compute()


def one_by_one(
    items: Sequence[Item], work: Callable[[Item, Say], Value], say: Say
) -> Iterator[Value]:
    """What `work` makes of each item, in order; of several ranks each does a share, all get it.

    Args:
        items: the same on all ranks.
        work: makes something small of one item.
        say: told what it says, in the items' order.

    Raises:
        InterruptedRunError, ElsewhereError: as `in_shares`; and what `work` raises.
    """
    if current().size == 1:
        for item in items:
            yield work(item, say)
        return

    def some(share: Sequence[Item], watch: Watch) -> list[tuple[list[str], Value]]:
        done: list[tuple[list[str], Value]] = []
        for item in watched(share, watch):
            told: list[str] = []
            done.append((told, work(item, told.append)))
        return done

    for block in in_blocks(items, at_once=FILES_EACH * current().size):
        for part in in_shares(block, some):
            for told, value in part:
                for message in told:
                    say(message)
                yield value


def in_blocks(
    items: Sequence[Item], unit: int = 1, *, at_once: int | None = None
) -> Iterator[Sequence[Item]]:
    """The items in parts that are shared one after the other, so that no rank waits for long.

    All parts but the last are multiples of `unit`, of about `at_once` items (`AT_ONCE`).
    """
    size = -(-(at_once or AT_ONCE) // unit) * unit
    for first in range(0, len(items), size):
        yield items[first : first + size]


def watched(items: Iterable[Item], watch: Watch) -> Iterator[Item]:
    """The items, with a look at the other ranks after each."""
    for item in items:
        watch()
        yield item
