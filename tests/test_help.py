"""The help of the command line: what it shows, and how soon."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from commands import run_command

from gancomp.cli import app
from gancomp.commands import panel_of
from gancomp.options import ORDER, options_for, owners_of

COMMANDS = [
    [],
    ["pretrain"],
    ["distill"],
    ["export"],
    ["playground"],
    ["profile"],
    ["eval-fid"],
    ["sweep"],
    ["translate"],
    ["generate"],
    ["data"],
    ["data", "list"],
    ["data", "fetch"],
    ["data", "check"],
    ["demo"],
    ["methods"],
]


DONT_COMPILE = "PYTHONDONTWRITEBYTECODE"


FREE_OF_TORCH = """
import json, sys, time
from gancomp.__main__ import run
cpu_s = {}
for command in json.loads(sys.argv[1]):
    start = time.process_time()
    assert run([*command, "--help"]) == 0
    cpu_s[" ".join(command)] = time.process_time() - start
heavy = {"torch", "numpy", "PIL", "scipy", "torchvision"} & sys.modules.keys()
print(json.dumps({"heavy": sorted(heavy), "cpu_s": cpu_s}), file=sys.stderr)
"""


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "gancomp")
def test_help_exits_with_0_and_shows_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, *command, "--help")
    assert outcome.status == 0
    assert outcome.err == ""
    assert "Usage: gancomp" in plain(outcome.out)
    example = ["gancomp", "demo"] if command in ([], ["data"]) else ["gancomp", *command]
    if command != ["data"]:
        words = " ".join(plain(outcome.out).replace("│", " ").split())
        assert f"{' '.join(example)}" in words.partition("Usage:")[2].partition(" ")[2]
        assert command == [] or f"Example: {' '.join(example)}" in words


def test_no_help_imports_torch_or_costs_more_than_half_a_second(tmp_path: Path) -> None:
    # compiled once, as an installed package is; the least of a few, as others use the machine, too
    environment = {name: os.environ[name] for name in os.environ if name != DONT_COMPILE}
    environment |= {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    taken = []
    for _ in range(4):
        before = cpu_seconds()
        done = subprocess.run(
            [sys.executable, "-c", FREE_OF_TORCH, json.dumps(COMMANDS)],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        report = json.loads(done.stderr)
        assert report["heavy"] == []
        assert len(report["cpu_s"]) == len(COMMANDS)
        # start of Python and all imports, then the most expensive help on top
        each = report["cpu_s"].values()
        taken.append(cpu_seconds() - before - sum(each) + max(each))
    assert min(taken) < 0.5


def shown_options(text: str) -> set[str]:
    return set(re.findall(r"│ +(--[\w-]+)", plain(text)))


@pytest.mark.parametrize("name", ["pretrain", "distill"])
def test_help_shows_what_every_run_has_and_says_where_the_rest_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run_command(capsys, name, "--help").out
    own = {row.name for row in options_for(name) if not row.owners}
    assert shown_options(text) == own | {"--json", "--help"}
    assert len(text.splitlines()) <= 80
    assert all(choice in text for choice in ("--method", "--task", "--arch"))


def test_titles_in_the_help_are_whole_however_many_methods_share_an_option() -> None:
    titles = {panel_of(row) for row in options_for("distill")}
    assert all(len(title) <= 72 for title in titles)
    assert any(title.startswith("With --method dcd and ") for title in titles)
    assert "With --method dcd" in titles


@pytest.mark.parametrize("choice", [owner for owner in owners_of(options_for("distill"))], ids=str)
def test_help_shows_the_options_of_what_was_chosen_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 250)
    wanted = {row.name for row in options_for("distill") if not row.owners or choice in row.owners}
    for typed in (choice.split(), [choice.replace(" ", "=")]):
        shown = shown_options(run_command(capsys, "distill", *typed, "--help").out)
        assert shown == wanted | {"--json", "--help"}


def test_every_option_is_shown_with_some_choice() -> None:
    for name in ("pretrain", "distill"):
        assert all(row.owners or row.panel in ORDER for row in options_for(name))


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c not in ([], ["data"])], ids=lambda command: command[-1]
)
def test_help_at_80_columns_shows_every_option_with_its_whole_name(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parsed: Any = typer.main.get_command(app)
    for name in command:
        parsed = parsed.commands[name]
    shown = plain(run_command(capsys, *command, "--help").out)
    assert all(len(line) <= 80 for line in shown.splitlines())
    words = re.split(r"[^\w-]+", shown)
    training = command in (["pretrain"], ["distill"])  # they show what was chosen, see above
    items = [item for item in parsed.params if not training or item.name in ("json", "dataset")]
    names = [name for item in items for name in (*item.opts, *item.secondary_opts)]
    assert [name for name in names if name.startswith("--") and name not in words] == []
    assert "…" not in shown


def test_help_of_pretrain_speaks_of_pretraining(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 250)
    lines = plain(run_command(capsys, "pretrain", "--help").out).splitlines()
    (preset,) = [line for line in lines if "--preset" in line]
    assert "Default: standard." in preset
    (out,) = [line for line in lines if "--out " in line]
    assert "Default: a name in runs/." in out
    for word in ("dcd", "istil", "tudent"):
        assert [line for line in lines if word in line] == []
