"""Whole runs that are killed, interrupted or starved, and then go on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import tiny_runs
from safetensors.torch import load_file
from tiny_runs import NUM_STEPS, arguments, finish, start, wait_until

from gancomp.engine.checkpoint import STATE, list_checkpoints, load_newest

Unbroken = Callable[[str], Path]
Sets = dict[str, Path]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "workers", "every", "num_kills"),
    [("unpaired", 0, 1, 5), ("unpaired", 2, 3, 5), ("paired", 0, 2, 3)],
)
def test_a_run_killed_at_random_moments_ends_bit_for_bit_like_an_unbroken_one(
    name: str,
    workers: int,
    every: int,
    num_kills: int,
    toy_sets: Sets,
    unbroken: Unbroken,
    tmp_path: Path,
) -> None:
    out, rng = tmp_path / "run", random.Random(f"{name} {workers}")
    typed = arguments(toy_sets[name], out, workers=workers, every=every)
    killed = 0
    for kill in range(num_kills):
        resume = ["--resume"] if (out / "config.json").exists() else []
        started = start([*typed, *resume], prepare=tiny_runs.unhurried_steps)
        if kill % 2:  # while a checkpoint is being written
            wait_until(lambda: any(out.glob("checkpoints/.step_*")), started)
            time.sleep(rng.uniform(0, 0.02))
        else:  # at its start, or within the step after the goal
            goal = tiny_runs.newest_step(out) + rng.randint(0, 1)
            wait_until(
                lambda goal=goal: max(tiny_runs.logged_steps(out), default=0) >= goal, started
            )
            time.sleep(rng.uniform(0, 0.1))
        killed += started.process.is_alive()
        started.kill()
        reached = max(tiny_runs.logged_steps(out), default=1)
        assert tiny_runs.newest_step(out) >= (reached - 1) // every * every, "lost more than due"
    resume = ["--resume"] if (out / "config.json").exists() else []
    status, said = finish([*typed, *resume])
    assert status == 0, said
    assert killed >= num_kills - 1, "the run was over too soon for this test to mean anything"
    assert [line[0] for line in tiny_runs.losses(out)] == list(range(1, NUM_STEPS + 1))
    tiny_runs.assert_same_result(out, unbroken(name))
    assert not list(out.rglob("*.partial"))
    assert not list(out.rglob("*.old"))


def test_resume_after_3_of_8_steps_equals_8_straight_steps_bit_for_bit(
    toy_sets: Sets, unbroken: Unbroken, tmp_path: Path
) -> None:
    typed = arguments(toy_sets["unpaired"], tmp_path / "run", every=100)
    status, said = finish([*typed, "--max-steps", "3"])
    assert status == 0, said
    assert tiny_runs.newest_step(tmp_path / "run") == 3
    status, said = finish([*typed, "--resume"])
    assert status == 0, said
    tiny_runs.assert_same_result(tmp_path / "run", unbroken("unpaired"))


def test_resume_of_a_finished_run_changes_nothing(
    toy_sets: Sets, unbroken: Unbroken, tmp_path: Path
) -> None:
    run = unbroken("unpaired")
    names = ("student.safetensors", "metrics.jsonl", "config.json")
    before = {name: (run / name).read_bytes() for name in names}
    checkpoints = list_checkpoints(run / "checkpoints")
    status, said = finish([*arguments(toy_sets["unpaired"], run), "--resume"])
    assert status == 0, said
    assert {name: (run / name).read_bytes() for name in names} == before
    assert list_checkpoints(run / "checkpoints") == checkpoints


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_signal_saves_leaves_with_130_and_the_run_goes_on_exactly(
    number: signal.Signals, toy_sets: Sets, unbroken: Unbroken, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = arguments(toy_sets["unpaired"], out, workers=2, every=100)
    started = start(typed, prepare=partial(tiny_runs.heed, number))
    # to the whole group with the data workers in it, as a terminal's Ctrl-C and a scheduler do
    told = lambda: os.killpg(started.pid, number)  # noqa: E731  # shorter than a function
    assert tiny_runs.stop_when_held(started, tmp_path, told) == 130
    assert f"stopped by {number.name}" in started.said()
    assert tiny_runs.newest_step(out) == max(tiny_runs.logged_steps(out)) < NUM_STEPS
    status, said = finish([*typed, "--resume"])
    assert status == 0, said
    tiny_runs.assert_same_result(out, unbroken("unpaired"))


def test_a_second_sigint_ends_a_run_with_workers_at_once(toy_sets: Sets, tmp_path: Path) -> None:
    started = start(
        arguments(toy_sets["unpaired"], tmp_path / "run", workers=2), prepare=tiny_runs.slow_steps
    )
    wait_until((tmp_path / "asleep").exists, started)
    os.kill(started.pid, signal.SIGINT)
    wait_until(lambda: "Ctrl-C again" in started.said(), started)
    began = time.monotonic()
    os.kill(started.pid, signal.SIGINT)
    assert started.wait() == 130
    assert time.monotonic() - began < 45  # before the step that is held ends


def test_a_disk_that_fills_up_is_one_line_and_the_old_checkpoint_stays(
    toy_sets: Sets, unbroken: Unbroken, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = arguments(toy_sets["unpaired"], out, every=1)
    assert finish([*typed, "--max-steps", "2"])[0] == 0
    size = (list_checkpoints(out / "checkpoints")[0] / STATE).stat().st_size
    metrics, student = (out / "metrics.jsonl").read_text(), (out / "student.safetensors")
    before = student.read_bytes()
    status, said = finish([*typed, "--resume"], largest_file=size // 2)
    assert status == 2, said
    last = said.splitlines()[-1]
    assert last.startswith("error: ")
    assert "disk is full (File too large)" in last
    assert "Traceback" not in said
    assert tiny_runs.newest_step(out) == 2
    assert (out / "metrics.jsonl").read_text().startswith(metrics)
    assert student.read_bytes() == before
    assert not list(out.rglob("*.partial"))
    status, said = finish([*typed, "--resume"])
    assert status == 0, said
    tiny_runs.assert_same_result(out, unbroken("unpaired"))


def test_a_given_teacher_is_kept_if_the_run_is_killed_before_its_first_checkpoint_and_later(
    toy_sets: Sets, unbroken: Unbroken, tmp_path: Path
) -> None:
    given, out = tmp_path / "given.safetensors", tmp_path / "run"
    shutil.copy(unbroken("unpaired") / "teacher.safetensors", given)
    weights = load_file(given)
    typed = arguments(toy_sets["unpaired"], out, every=100)
    for flag in ("--arch", "--width"):
        del typed[typed.index(flag) : typed.index(flag) + 2]
    typed += ["--teacher", str(given), "--freeze-teacher", "--max-steps"]
    started = start([*typed, "8"], prepare=tiny_runs.slow_steps)
    wait_until((tmp_path / "asleep").exists, started)
    started.kill()
    assert tiny_runs.newest_step(out) == 0
    for steps in ("2", "3"):
        status, said = finish([*typed, steps, "--resume"])
        assert status == 0, said
        tiny_runs.assert_equal(load_file(out / "teacher.safetensors"), weights)
        assert [line[0] for line in tiny_runs.losses(out)] == list(range(1, int(steps) + 1))
        given.unlink(missing_ok=True)  # from the first checkpoint on it is not needed


def test_a_loss_that_becomes_nan_stops_the_run_with_its_name(
    toy_sets: Sets, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    status, said = finish(
        arguments(toy_sets["unpaired"], out, every=1), prepare=tiny_runs.spoil_dcd_term
    )
    assert status == 2
    last = said.splitlines()[-1]
    assert last.startswith("error: step 3: student/dcd = nan")
    assert "--lr" in last
    found = load_newest(out / "checkpoints", pytest.fail)
    assert found is not None
    assert found.step == 2
    assert tiny_runs.logged_steps(out) == [1, 2]


def test_max_time_stops_with_a_final_save_and_resume_goes_on(
    toy_sets: Sets, unbroken: Unbroken, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = arguments(toy_sets["unpaired"], out, "--json", every=100)
    status, said = finish([*typed, "--max-time", "0.001s"])
    assert status == 0, said
    assert tiny_runs.newest_step(out) == 1
    status, said = finish([*typed, "--resume", "--max-time", "1h"])
    assert status == 0, said
    assert json.loads(said[said.index("\n{\n") :])["step"] == NUM_STEPS
    tiny_runs.assert_same_result(out, unbroken("unpaired"))


def may_mount() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif("not may_mount()")
def test_a_small_dev_shm_is_one_line_with_a_save(toy_sets: Sets, tmp_path: Path) -> None:
    out = tmp_path / "run"
    typed = arguments(toy_sets["unpaired"], out, "--cache", "off", workers=2, every=100)
    typed[typed.index("--batch-size") + 1] = "2"
    started = start(typed, prepare=tiny_runs.small_shared_memory)
    assert started.wait() == 2, started.said()
    last = started.said().splitlines()[-1]
    assert "Traceback" not in started.said()
    assert last.startswith("error: --workers: no room in /dev/shm (")
    assert "of 0.0625 MB are free" in last
    assert "--shm-size" in last
    assert tiny_runs.newest_step(out) == max(tiny_runs.logged_steps(out), default=0)


def test_a_worker_killed_from_outside_ends_the_run_with_a_save(
    toy_sets: Sets, unbroken: Unbroken, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = arguments(toy_sets["unpaired"], out, workers=1, every=100)
    # held where it has not read its last image yet, or the worker may be done and free to go
    started = start(typed, prepare=tiny_runs.slow_steps)
    wait_until((tmp_path / "asleep").exists, started)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    (tmp_path / "awake").touch()
    assert started.wait() == 2, started.said()
    assert "Traceback" not in started.said()
    assert started.said().splitlines()[-1].startswith("error: --workers 1: a process that reads")
    assert tiny_runs.newest_step(out) == max(tiny_runs.logged_steps(out)) < NUM_STEPS
    status, said = finish([*typed, "--resume"])
    assert status == 0, said
    tiny_runs.assert_same_result(out, unbroken("unpaired"))
