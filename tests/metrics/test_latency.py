from __future__ import annotations

import time
from typing import Any

import pytest

from gancomp.metrics.latency import time_in_turns


def test_contestants_take_turns_and_only_their_own_runs_are_framed_by_before_and_after() -> None:
    seen: list[str] = []
    timed = time_in_turns(
        {"a": lambda: seen.append("run a"), "b": lambda: seen.append("run b")},
        num_runs=2,
        warm_up=1,
        before=lambda name: seen.append(f"before {name}"),
        after=lambda name: seen.append(f"after {name}"),
    )
    turn = [f"{when} {name}" for name in "ab" for when in ("before", "run", "after")]
    assert seen == turn * 3
    assert {name: latency.num_runs for name, latency in timed.items()} == {"a": 2, "b": 2}


def test_what_is_short_runs_once_untimed_before_each_timed_run(monkeypatch: Any) -> None:
    seen: list[str] = []
    clock = iter(range(100))

    def run(name: str, seconds: int) -> None:
        seen.append(name)
        for _ in range(seconds):
            next(clock)

    monkeypatch.setattr("gancomp.metrics.latency.time.perf_counter", lambda: next(clock) / 11)
    timed = time_in_turns(
        {"short": lambda: run("short", 0), "long": lambda: run("long", 3)},
        num_runs=2,
        warm_up=1,
        settled=True,
    )
    assert seen == ["short", "long"] + ["short", "short", "long"] * 2
    assert {name: latency.median_ms for name, latency in timed.items()} == {
        "short": pytest.approx(1000 / 11),
        "long": pytest.approx(4000 / 11),
    }


def test_processor_time_is_the_median_of_what_each_contestant_says_it_used() -> None:
    used = {"a": iter([0.0, 9.0, 9.0, 9.5, 9.5, 11.5]), "b": iter([0.0, 1.0] * 3)}
    timed = time_in_turns(
        {"a": lambda: None, "b": lambda: None},
        num_runs=2,
        warm_up=1,
        processor=lambda name: next(used[name]),
    )
    assert {name: latency.processor_ms for name, latency in timed.items()} == {
        "a": 1250.0,  # of 500 and 2000, without the warm-up
        "b": 1000.0,
    }


def test_work_counts_as_processor_time_and_waiting_does_not() -> None:
    def work() -> None:
        ends = time.process_time() + 0.1
        while time.process_time() < ends:
            pass

    timed = time_in_turns({"work": work, "wait": lambda: time.sleep(0.1)}, num_runs=1, warm_up=0)
    worked, waited = (timed[name].processor_ms for name in ("work", "wait"))
    assert worked is not None
    assert waited is not None
    assert worked >= 80  # the system's clock has ticks of 10 ms
    assert waited <= 50


def test_where_nobody_knows_the_processor_time_none_is_stated() -> None:
    timed = time_in_turns({"a": lambda: None}, num_runs=1, warm_up=0, processor=None)
    assert timed["a"].processor_ms is None


@pytest.mark.parametrize(
    ("pass_s", "seconds", "warm_up", "runs"),
    [(1.0, 60, 3, 20), (2.0, 40, 3, 18), (8.0, 60, 2, 6), (90.0, 60, 1, 5), (90.0, None, 3, 20)],
)
def test_where_passes_take_long_there_are_fewer_of_them(
    pass_s: float,
    seconds: float | None,
    warm_up: int,
    runs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, passes = [0.0], [0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def work() -> None:
        passes[0] += 1
        now[0] += pass_s

    timed = time_in_turns({"a": work}, seconds=seconds)["a"]
    assert (passes[0], timed.num_runs) == (warm_up + runs, runs)
    assert timed.median_ms == pass_s * 1e3
