"""Ways tried by a process of its own: those that fail, die or never end cost nothing else."""

from __future__ import annotations

import time

import pytest
import trial_stand_ins

from gancomp.engine.trials import FAILED, Limit, try_ways


@pytest.mark.usefixtures("ready_processes")
def test_ways_that_fail_or_die_leave_the_others_their_turn() -> None:
    found = try_ways(trial_stand_ins.prepared, ("off", "fails", "dies", "fast"), Limit(seconds=60))
    assert list(found) == ["off", "fails", "dies", "fast"]
    assert found["fails"] == {FAILED: "ValueError: no such thing"}
    assert found["dies"] == {FAILED: "its process ended without a word"}
    assert [found[way]["images_per_second"] for way in ("off", "fast")] == [10.0, 30.0]


@pytest.mark.usefixtures("ready_processes")
def test_what_is_not_done_in_time_has_failed_and_its_process_is_gone() -> None:
    began = time.monotonic()
    found = try_ways(trial_stand_ins.prepared, ("never ends", "off"), Limit(seconds=1))
    assert time.monotonic() - began < 30
    assert found == {
        way: {FAILED: "not done within 1 s for all trials"} for way in ("never ends", "off")
    }


def test_who_asks_to_stop_does_not_wait_for_trials() -> None:
    assert try_ways(trial_stand_ins.prepared, ("off",), Limit(60, lambda: True)) == {
        "off": {FAILED: "stopped"}
    }


@pytest.mark.usefixtures("ready_processes")
def test_a_process_that_cannot_be_prepared_fails_every_way() -> None:
    found = try_ways(trial_stand_ins.unprepared, ("off", "fast"), Limit(seconds=60))
    assert found == {way: {FAILED: "RuntimeError: no networks"} for way in ("off", "fast")}
