"""Super-resolution's staged runs, killed within stages and between them, go on exactly."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import tiny_runs
from tiny_runs import STAGES, finish, staged_arguments, start, wait_until


@pytest.fixture(scope="module")
def unbroken(toy_sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken_stages") / "run"
    status, said = finish(staged_arguments(toy_sets["unpaired"] / "trainA", out))
    assert status == 0, said
    return out


def progress(out: Path) -> int:
    """Steps logged so far, over all stages."""
    runs = [out / "stages" / name for name in STAGES] + [out]
    return sum(len(tiny_runs.logged_steps(run)) for run in runs)


@pytest.mark.slow
def test_a_staged_run_killed_at_random_moments_ends_bit_for_bit_like_an_unbroken_one(
    toy_sets: dict[str, Path], unbroken: Path, tmp_path: Path
) -> None:
    out, rng = tmp_path / "run", random.Random(3)
    typed = staged_arguments(toy_sets["unpaired"] / "trainA", out)
    killed = 0
    # the last step of a stage, its end, the first steps of the next
    for goal in (2, 3, 6, 8, 9, 11):
        resume = ["--resume"] if (out / "config.json").exists() else []
        started = start([*typed, *resume], prepare=tiny_runs.unhurried_stages)
        wait_until(lambda goal=goal: progress(out) >= goal, started)
        time.sleep(rng.uniform(0, 0.1))
        killed += started.process.is_alive()
        started.kill()
    status, said = finish([*typed, "--resume"])
    assert status == 0, said
    assert killed == 6, "the run was over too soon for this test to mean anything"
    for name in STAGES:
        run, whole = out / "stages" / name, unbroken / "stages" / name
        (model,) = whole.glob("*.safetensors")
        assert (run / model.name).read_bytes() == model.read_bytes()
        assert tiny_runs.losses(run) == tiny_runs.losses(whole)
    tiny_runs.assert_same_result(out, unbroken)
    assert not list(out.rglob("*.partial"))
    assert not list(out.rglob("*.old"))


def test_a_stopped_stage_says_so_with_130_and_its_run_goes_on(
    toy_sets: dict[str, Path], unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = staged_arguments(toy_sets["unpaired"] / "trainA", out)
    started = start(typed, prepare=tiny_runs.unhurried_stages)
    wait_until(lambda: progress(out) >= 4, started)
    started.process.terminate()
    assert started.wait() == 130
    assert "stopped by SIGTERM after step" in started.said()
    assert not (out / "student.safetensors").exists()
    # as if it had been killed while the finished stage wrote its generator once more
    leftover = out / "stages" / STAGES[0] / ".teacher.safetensors.abc.partial"
    leftover.write_bytes(b"half a file")
    status, said = finish([*typed, "--resume"])
    assert status == 0, said
    assert "stage 0a" not in said
    assert not leftover.exists()
    tiny_runs.assert_same_result(out, unbroken)


def test_two_processes_cannot_train_the_stages_of_one_run(
    toy_sets: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = staged_arguments(toy_sets["unpaired"] / "trainA", out)
    started = start(typed, prepare=tiny_runs.unhurried_stages)
    wait_until(lambda: progress(out) >= 1, started)
    status, said = finish([*typed, "--resume"])
    assert status == 2
    assert f"process {started.pid} is writing this run" in said
    started.kill()
