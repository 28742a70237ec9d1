from __future__ import annotations

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
