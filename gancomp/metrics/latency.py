"""How long things take on this machine: warm, in turns with each other, by the median."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

NUM_RUNS = 20
LEAST_RUNS = 5  # that are timed, however long they take
WARM_UP_SHARE = 1 / 6  # of the time there is
SHORT_MS = 100.0  # what is shorter feels what ran before it


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run.

    Attributes:
        median_ms: the figure to quote.
        min_ms: fastest run.
        max_ms: slowest run; far from the median on a busy machine.
        num_runs: runs that were timed, after the warm-up.
        processor_ms: median time of all processors together, None if it was not measured; beside
            other work it says more than the time that passes.
    """

    median_ms: float
    min_ms: float
    max_ms: float
    num_runs: int
    processor_ms: float | None = None


def processor_seconds(_: str = "") -> float:
    """Time that processors have worked for this process, and for its children that have ended."""
    return time.process_time() + sum(os.times()[2:4])  # the latter in ticks of 10 ms


def time_in_turns(
    contestants: Mapping[str, Callable[[], object]],
    *,
    num_runs: int = NUM_RUNS,
    warm_up: int = 3,
    device: torch.device | None = None,
    before: Callable[[str], object] | None = None,
    after: Callable[[str], object] | None = None,
    processor: Callable[[str], float] | None = processor_seconds,
    settled: bool = False,
    seconds: float | None = None,
) -> dict[str, Latency]:
    """Times each contestant, one after the other in every round (A B A B ...).

    Taking turns keeps a comparison fair while the machine's speed drifts.

    Args:
        contestants: what to run, by name.
        num_runs: timed rounds.
        warm_up: rounds before that, for caches, compilation and lazy initialization.
        device: waited for before and after each run, as a GPU works behind our back.
        before: called with the contestant's name before each run, untimed.
        after: likewise after each run.
        processor: seconds that processors have worked for the contestant so far, by its name; None
            if nobody knows.
        settled: a contestant that takes less than `SHORT_MS` runs untimed before each timed run.
            Else its run begins with the caches as the one before left them, and that one's threads,
            which wait for more work a while, count as its own processor time.
        seconds: when so many have passed no further round begins, once 5 were timed (a sixth of
            them for the warm-up, after its first round); None for all rounds.

    Returns: one latency per contestant, in their order.
    """
    is_late = _watch(seconds)
    times_ms: dict[str, list[float]] = {name: [] for name in contestants}
    worked_ms: dict[str, list[float]] = {name: [] for name in contestants}

    def take_turns() -> None:
        for name, run in contestants.items():
            if before is not None:
                before(name)
            if settled and times_ms[name] and times_ms[name][-1] < SHORT_MS:
                run()
            worked = processor(name) if processor is not None else 0.0
            elapsed_ms = _time_ms(run, device)
            worked = processor(name) - worked if processor is not None else 0.0
            if after is not None:
                after(name)
            times_ms[name].append(elapsed_ms)
            worked_ms[name].append(worked * 1e3)

    warmed = _repeat(take_turns, warm_up, 1, lambda: is_late(WARM_UP_SHARE))
    _repeat(take_turns, num_runs, LEAST_RUNS, lambda: is_late(1))
    return {
        name: _latency(all_ms[warmed:], None if processor is None else worked_ms[name][warmed:])
        for name, all_ms in times_ms.items()
    }


def _repeat(run: Callable[[], object], most: int, least: int, is_late: Callable[[], bool]) -> int:
    """Runs it so often, less where it gets late; returns how often."""
    done = 0
    while done < most and not (done >= least and is_late()):
        run()
        done += 1
    return done


def _watch(seconds: float | None) -> Callable[[float], bool]:
    """Tells whether a share of so many seconds has passed from now on."""
    start = time.perf_counter()
    return lambda share: seconds is not None and time.perf_counter() - start > share * seconds


def _latency(times_ms: list[float], worked_ms: list[float] | None) -> Latency:
    return Latency(
        statistics.median(times_ms),
        min(times_ms),
        max(times_ms),
        len(times_ms),
        None if worked_ms is None else statistics.median(worked_ms),
    )


def _time_ms(run: Callable[[], object], device: torch.device | None) -> float:
    _finish(device)
    start = time.perf_counter()
    run()
    _finish(device)
    return (time.perf_counter() - start) * 1e3


def _finish(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    if device is not None and device.type == "mps":
        torch.mps.synchronize()
