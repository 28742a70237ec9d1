"""Super-resolution's staged runs, killed within stages and between them, go on exactly."""

from __future__ import annotations

from functools import partial
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


@pytest.mark.slow
def test_a_staged_run_killed_at_random_moments_ends_bit_for_bit_like_an_unbroken_one(
    toy_sets: dict[str, Path], unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = staged_arguments(toy_sets["unpaired"] / "trainA", out)
    # the last step of a stage, its end, the first steps of the next
    tiny_runs.finish_in_spite_of_kills(
        typed, STAGES, goals=(2, 3, 6, 8, 9, 11), prepare=tiny_runs.unhurried_stages
    )
    tiny_runs.assert_same_stages(out, unbroken, STAGES)


def test_a_stopped_stage_says_so_with_130_and_its_run_goes_on(
    toy_sets: dict[str, Path], unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = staged_arguments(toy_sets["unpaired"] / "trainA", out)
    started = start(typed, prepare=partial(tiny_runs.unhurried_stages, hold_at=4))
    assert tiny_runs.stop_when_held(started, tmp_path, started.process.terminate) == 130
    assert "stopped by SIGTERM after step" in started.said()
    assert not (out / "student.safetensors").exists()
    # as if it had been killed while the finished stage wrote its generator once more
    leftover = out / "stages" / STAGES[0] / ".gancomp-abc.partial"
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
    started = start(typed, prepare=partial(tiny_runs.unhurried_stages, hold_at=1))
    wait_until((tmp_path / "asleep").exists, started)
    status, said = finish([*typed, "--resume"])
    assert status == 2
    assert f"process {started.pid} is writing this run" in said
    started.kill()
