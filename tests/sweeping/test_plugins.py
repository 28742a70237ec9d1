"""Workers are processes of their own, and know the plug-ins of the sweep that started them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

import gancomp.cli  # noqa: F401  which gives `eval` its options
from gancomp.data.demo_set import write_demo_set
from gancomp.plugins import VARIABLE, forget_plugins, load_plugins
from gancomp.recipes.sweep import asked_for, sweep
from gancomp.sweeping import pool, slurm, worker

PLUGIN = Path(__file__).parents[1] / "plugin" / "gancomp_sharp" / "method.py"
PLAN = """
seeds = [0]
datasets = ["shapes"]
[common]
size = 32
max-steps = 1
[methods.sharp]
method = "sharp"
edges = "columns"
[score]
metrics = "fid"
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    write_demo_set(tmp_path / "shapes", size=32, train=2, test=1)
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    return file


def test_a_worker_trains_with_the_options_of_a_plug_in_that_was_named(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[str]] = []

    def start(words: list[str], log: IO[bytes], variables: dict[str, str]) -> SimpleNamespace:
        forget_plugins()  # another process starts without
        with monkeypatch.context() as there:
            there.setenv(VARIABLE, variables[VARIABLE])
            status = worker.main(words)
        return SimpleNamespace(returncode=status, poll=lambda: status)

    monkeypatch.setattr(pool, "start_worker", start)
    monkeypatch.setattr(worker, "_command", lambda words: trained.append(words) or 0)
    monkeypatch.setattr(worker, "_scored", lambda words: (0, {}))
    monkeypatch.setattr(worker, "numbers_in", lambda document: {"fid": 1.0})
    monkeypatch.setattr(worker, "_stop_without", lambda parent: None)
    try:
        load_plugins(["--plugin", os.path.relpath(PLUGIN)])
        sweep(asked_for(plan, plan.parent / "out", jobs=None, devices=()), print)
    finally:
        forget_plugins()
    (words,) = trained
    assert words[words.index("--edges") + 1] == "columns"


def test_a_job_of_slurm_names_them_too(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("gancomp.__main__.run", lambda words: seen.append(words) or 0)
    try:
        load_plugins(["--plugin", str(PLUGIN)])
        job = slurm.Job(plan, plan.parent / "out")
    finally:
        forget_plugins()
    assert job() == 0
    assert seen[0][-2:] == ["--plugin", str(PLUGIN.resolve())]
