"""Synthesis, killed within its stages and between them, goes on exactly: average, regularizers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import tiny_runs
from tiny_runs import SYNTHESIS_STAGES, finish, start, synthesis_arguments


@pytest.fixture(scope="module")
def unbroken(toy_sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken_synthesis") / "run"
    status, said = finish(synthesis_arguments(toy_sets["unpaired"] / "trainA", out))
    assert status == 0, said
    return out


def progress(out: Path) -> int:
    return tiny_runs.staged_steps(out, SYNTHESIS_STAGES)


def test_an_unbroken_run_has_all_stages_and_all_phases(unbroken: Path) -> None:
    assert progress(unbroken) == 3 + 3 + 4
    phases = {key.split("/")[0] for key in tiny_runs.losses(unbroken)[0][1]}
    assert phases == {"student", "path", "discriminator", "r1"}


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_bit_for_bit_like_an_unbroken_one(
    toy_sets: dict[str, Path], unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = synthesis_arguments(toy_sets["unpaired"] / "trainA", out)
    # the last step of a stage, its end, the first steps of the next
    tiny_runs.finish_in_spite_of_kills(
        typed, SYNTHESIS_STAGES, goals=(2, 3, 5, 6, 8), prepare=tiny_runs.unhurried_game
    )
    tiny_runs.assert_same_stages(out, unbroken, SYNTHESIS_STAGES, batch_size=4)


def test_a_stopped_run_says_so_with_130_and_goes_on(
    toy_sets: dict[str, Path], unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    typed = synthesis_arguments(toy_sets["unpaired"] / "trainA", out)
    started = start(typed, prepare=partial(tiny_runs.unhurried_game, hold_at=7))
    assert tiny_runs.stop_when_held(started, tmp_path, started.process.terminate) == 130
    assert "stopped by SIGTERM after step" in started.said()
    status, said = finish([*typed, "--resume"])
    assert status == 0, said
    tiny_runs.assert_same_result(out, unbroken, batch_size=4)
