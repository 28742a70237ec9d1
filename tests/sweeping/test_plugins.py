"""Workers are processes of their own, and know the plug-ins of the sweep that started them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

import gancomp.cli  # noqa: F401  which gives `eval` its options
from gancomp.data.demo_set import write_demo_set
from gancomp.plugins import FILES, VARIABLE, forget_plugins, load_plugins
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


FAILS_THERE = """
import os
if os.getenv("ELSEWHERE"):
    raise OSError("no such card")
def sharp(): ...
GANCOMP = {"exporters": {"sharp": sharp}}
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    write_demo_set(tmp_path / "shapes", size=32, train=2, test=1)
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    return file


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Commands of workers, which begin without any plug-in, and do nothing."""
    words_of: list[list[str]] = []

    def start(words: list[str], log: IO[bytes], variables: dict[str, str]) -> SimpleNamespace:
        named = dict(FILES)
        forget_plugins()
        with monkeypatch.context() as there:
            there.setenv("ELSEWHERE", "1")
            for name in [name for name in sys.modules if name.startswith("gancomp_plugin_")]:
                there.delitem(sys.modules, name)
            for name, value in variables.items():
                there.setenv(name, value)
            status = worker.main(words)
        forget_plugins()
        load_plugins([word for file in named for word in ("--plugin", str(file))])
        return SimpleNamespace(returncode=status, poll=lambda: status)

    monkeypatch.setattr(pool, "start_worker", start)
    monkeypatch.setattr(worker, "_command", lambda words: words_of.append(words) or 0)
    monkeypatch.setattr(worker, "_scored", lambda words: (0, {}))
    monkeypatch.setattr(worker, "numbers_in", lambda document: {"fid": 1.0})
    monkeypatch.setattr(worker, "_stop_without", lambda parent: None)
    yield words_of
    forget_plugins()


def test_a_worker_trains_with_the_options_of_a_plug_in_whatever_its_folder_is_called(
    plan: Path, trained: list[list[str]]
) -> None:
    folder = plan.parent / f"a{os.pathsep}b"
    folder.mkdir()
    shutil.copy(PLUGIN, folder)
    load_plugins(["--plugin", os.path.relpath(folder / PLUGIN.name)])
    sweep(asked_for(plan, plan.parent / "out", jobs=None, devices=()), print)
    (words,) = trained
    assert words[words.index("--edges") + 1] == "columns"


def test_a_plug_in_that_fails_in_a_worker_fails_its_run_and_the_command_says_why(
    plan: Path, trained: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = plan.parent / "cards.py"
    file.write_text(FAILS_THERE)
    plan.write_text(PLAN.replace('"sharp"', '"dcd"').replace('edges = "columns"', ""))
    load_plugins([f"--plugin={file}"])
    sweep(asked_for(plan, plan.parent / "out", jobs=None, devices=()), print)
    said = capsys.readouterr().out
    assert f"failed: --plugin {file}: fails (OSError: no such card)" in said
    assert not trained


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
