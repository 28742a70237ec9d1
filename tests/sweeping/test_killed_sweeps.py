"""Sweeps that are killed go on where they stopped; two of them share the work."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tiny_sweeps import Place

TEACHER, STUDENT, OTHER = "toy-s0-teacher", "toy-s0-dcd", "toy-s1-teacher"
RUNS = 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("calm"))
    sweep = place.start()
    assert sweep.wait() == 0, sweep.said()
    place.check_whole(RUNS)
    return place


def check_same(place: Place, undisturbed: Place) -> None:
    place.check_whole(RUNS)
    assert place.scores() == undisturbed.scores()
    for name in ("table.csv", "table.md", "differences.csv"):
        assert (place.out / name).read_text() == (undisturbed.out / name).read_text()


def test_killed_workers_and_parents_lose_no_run_and_do_none_twice(
    undisturbed: Place, tmp_path: Path
) -> None:
    place = Place(tmp_path / "killed")
    points = [f"{TEACHER}-step1", f"{TEACHER}-score", f"{STUDENT}-step2", f"{STUDENT}-score"]
    for point in points:
        place.hold(point)
    sweep = place.start()
    for point in points[:2]:  # this parent starts its worker anew
        with place.holding(point, sweep) as (worker, _):
            os.kill(worker, signal.SIGKILL)
    with place.holding(points[2], sweep) as (worker, parent):
        assert parent == sweep.pid
        sweep.kill()
        os.kill(worker, signal.SIGKILL)
    sweep = place.start()
    with place.holding(points[3], sweep):  # its worker outlives it, notices, and stops
        sweep.kill()
    sweep = place.start()
    assert sweep.wait() == 0, sweep.said()
    check_same(place, undisturbed)


def test_two_parents_on_one_folder_share_the_work(undisturbed: Place, tmp_path: Path) -> None:
    place = Place(tmp_path / "shared")
    points = [f"{TEACHER}-step0", f"{OTHER}-step0"]
    for point in points:
        place.hold(point)
    first, second = place.start(), place.start()
    with place.holding(points[0], first) as (_, one), place.holding(points[1], second) as (_, two):
        assert {one, two} == {first.pid, second.pid}
    for sweep in (first, second):
        assert sweep.wait() == 0, sweep.said()
    assert "another process works on it" in first.said() + second.said()
    check_same(place, undisturbed)
