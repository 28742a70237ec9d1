"""Contestants of a benchmark, each in a process of its own, that take turns at what is timed."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch

from gancomp.bench import report
from gancomp.engine.device import peak_memory_mb
from gancomp.engine.speed import give_back_memory
from gancomp.errors import RunError
from gancomp.memory import physical_memory
from gancomp.metrics.latency import Latency, processor_seconds, time_in_turns

MEMORY, REST, PROFILE = "memory", "rest", "profile"
PROCESSOR = "processor"  # orders beside the names of runs
CROWDED = 0.8  # of the memory; what an allocator keeps in reserve is not counted
CONTEXT_MB = 1024.0  # that a process has on a GPU, beside its tensors
Runs = Mapping[str, Callable[[], Any]]
Prepare = Callable[[], tuple[Runs, torch.device]]


class ContestantProcess:
    """A process that waits for orders.

    Args:
        bench: name of the benchmark, for messages.
        connection: to the process.
        kill: ends the process.
    """

    def __init__(
        self, bench: str, connection: Connection, kill: Callable[[], None] = lambda: None
    ) -> None:
        self.bench, self.connection, self.kill = bench, connection, kill

    def send(self, order: str) -> None:
        """Gives an order, whose answer has to be fetched.

        Args:
            order: the name of a run; `MEMORY` for the peak memory in MiB; `PROCESSOR` for the
                seconds that processors have worked; `PROFILE` and a run's name for milliseconds by
                operator; `REST` to give memory back.

        Raises:
            RunError: if the process has ended.
        """
        try:
            self.connection.send(order)
        except BrokenPipeError as error:
            raise self._silent() from error

    def answer(self, within: float | None = None, *, since: float | None = None) -> Any:
        """What came of the order; raises what the process raised.

        Args:
            within: seconds, after which the process is killed; None: as long as it takes.
            since: when they began, by `time.monotonic`; None: now.

        Raises:
            RunError: if the process has ended, or is killed.
        """
        if within is not None:
            passed = 0.0 if since is None else time.monotonic() - since
            if not self.connection.poll(max(within - passed, 0.0)):
                self.kill()
                raise RunError(f"no answer within {within:g} s")
        try:
            answer = self.connection.recv()
        except EOFError as error:
            raise self._silent() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, order: str) -> Any:
        """Gives an order and waits for what comes of it."""
        self.send(order)
        return self.answer()

    def _silent(self) -> RunError:
        return RunError(
            f"bench {self.bench}: a contestant ended without a word, as processes that are "
            "killed for their memory do; use a smaller `batch_size` or `size`"
        )


@contextmanager
def open_contestant(bench: str, prepare: Prepare) -> Iterator[ContestantProcess]:
    """A contestant in a new process, which ends with the context.

    Args:
        bench: name of the benchmark.
        prepare: called there, so it must reach it by pickling; returns runs by name, each of which
            returns once its results are there, and their device.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, prepare), daemon=True)
    process.start()
    there.close()
    try:
        yield ContestantProcess(bench, here, process.kill)
    finally:
        here.close()
        process.join(10)
        process.kill()


def _serve(orders: Connection, prepare: Prepare) -> None:
    try:
        runs, device = prepare()
        while True:
            orders.send(_obey(orders.recv(), runs, device))
    except EOFError:
        return
    except Exception as error:  # the parent raises it
        orders.send(error)


def _obey(order: str, runs: Runs, device: torch.device) -> Any:
    kind, _, name = order.partition(" ")
    if order == MEMORY:
        return peak_memory_mb(device)
    if order == PROCESSOR:
        return processor_seconds()
    if order == REST:
        torch.cuda.empty_cache()  # does nothing where CUDA was not used
        return give_back_memory()
    if kind == PROFILE:
        return report.by_operator(runs[name], device, num_runs=1)
    return runs[order]()


def ask_all(contestants: Mapping[str, ContestantProcess], order: str) -> dict[str, Any]:
    """What comes of the order, by contestant, one after the other."""
    return {name: contestant.ask(order) for name, contestant in contestants.items()}


def take_turns(
    contestants: Mapping[str, ContestantProcess],
    orders: Sequence[str],
    device: torch.device,
    *,
    rounds: int,
    warm_up: int,
    say: Callable[[str], None],
) -> dict[str, dict[str, Latency]]:
    """Times each of the orders at each of the contestants; each round has all of them.

    Args:
        contestants: by name, each of which has run already.
        orders: names of runs.
        device: of all contestants.
        rounds: timed ones.
        warm_up: rounds before that.
        say: told if the contestants do not fit into memory together.

    Returns: by order, then by contestant.
    """
    crowded = is_crowded(ask_all(contestants, MEMORY), device)
    if crowded:
        say(
            "the contestants need more memory than there is: each gives its own back after its turn"
        )
    turns = [(order, name) for order in orders for name in contestants]
    runs = {
        str(number): partial(contestants[name].ask, order)
        for number, (order, name) in enumerate(turns)
    }
    timed = time_in_turns(
        runs,
        num_runs=rounds,
        warm_up=0 if crowded else warm_up,
        # memory that was given back must be found again first, by a run that is not timed
        before=(lambda number: runs[number]()) if crowded else None,
        after=(lambda number: contestants[turns[int(number)][1]].ask(REST)) if crowded else None,
        processor=lambda number: float(contestants[turns[int(number)][1]].ask(PROCESSOR)),
    )
    latencies = dict(zip(turns, timed.values(), strict=True))
    return {order: {name: latencies[order, name] for name in contestants} for order in orders}


def is_crowded(needed_mb: Mapping[str, float], device: torch.device) -> bool:
    """Whether processes that need so much do not fit into the device's memory together."""
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    else:
        there = physical_memory()
    each_mb = CONTEXT_MB if device.type == "cuda" else 0.0
    return sum(value + each_mb for value in needed_mb.values()) * 2**20 > CROWDED * there
