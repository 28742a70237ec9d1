"""Sweeps are handed to Slurm by submitit, tried with its executor for this machine."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from tiny_sweeps import PLAN, Place

import gancomp.__main__
import gancomp.cli  # which gives `eval` its options
from gancomp.recipes.sweep import SweepRequest, scoring_options, submit_sweep
from gancomp.sweeping import slurm
from gancomp.sweeping.plan import read_plan

submitit = pytest.importorskip("submitit", reason="the extra slurm is not installed")


@pytest.mark.slow
def test_jobs_of_an_array_do_what_is_left_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = PLAN.replace("[0, 1]", "[0]").replace("max-steps = 3", "max-steps = 1")
    table = '[slurm]\ncluster = "local"\ntimeout_min = 5\n'
    place = Place(tmp_path / "place", f"{short}\n{table}")
    assert place.start().wait() == 0
    monkeypatch.chdir(place.path)
    jobs: list[Any] = []
    original = slurm.submit
    monkeypatch.setattr(
        "gancomp.recipes.sweep.submit", lambda *given: jobs.extend(original(*given)) or jobs
    )
    plan = read_plan(Path("plan.toml"), scoring_options())
    document = submit_sweep(SweepRequest(plan, Path("sweep"), jobs=1), print)
    assert [job.result() for job in jobs] == [0]
    assert document == {"sweep": "sweep", "jobs": [jobs[0].job_id]}
    place.check_whole(2)


def test_an_interrupted_job_is_handed_to_submitit_to_be_queued_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(gancomp.__main__, "run", lambda words: 130)
    former = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
    try:
        job = slurm.Job(Path("plan.toml"), Path("sweep"))
        assert job() == 130
    finally:
        signal.signal(signal.SIGUSR2, former)
    assert seen == [signal.SIGUSR2]
    assert job.checkpoint().function is job
