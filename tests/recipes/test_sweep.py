"""`gancomp sweep`: what it writes, what it refuses, how it goes on with a changed plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import contents, run_command
from tiny_sweeps import PLAN, Means, Place

from gancomp.recipes import sweep_forecast
from gancomp.records import SCHEMA

SHORT = PLAN.replace("[0, 1]", "[0]").replace("max-steps = 3", "max-steps = 1")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path / "place", SHORT)
    monkeypatch.chdir(made.path)
    return made


def finish(place: Place, *more: str) -> tuple[int, list[str]]:
    """Exit status of the sweep and the lines that it printed."""
    sweep = place.start(*more)
    return sweep.wait(), sweep.said().splitlines()


def plan(place: Place, *changes: tuple[str, str]) -> None:
    text = SHORT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (place.path / "plan.toml").write_text(text)


def test_a_sweep_is_plain_files_goes_on_with_a_longer_plan_and_refuses_another(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = finish(place, "--json")
    assert status == 0, said
    document: dict[str, Any] = place.document()
    start = said.index("{")
    assert json.loads("\n".join(said[start : said.index("}") + 1])) == document
    assert document["schema"] == SCHEMA
    teacher, student = document["runs"]
    assert (teacher["method"], student["method"]) == ("teacher", "dcd")
    assert student["needs"] == teacher["name"]
    assert list(student["values"]) == ["fid"]
    assert student["protocols"][0]["n_fake"] == 7
    assert (place.out / student["path"] / "student.safetensors").exists()
    assert (place.out / "plan.toml").read_text() == SHORT
    before = (place.out / student["path"] / "student.safetensors").stat().st_mtime_ns

    plan(place, ("seeds = [0]", "seeds = [0, 5]"), ('"fid"', '"fid,kid"'))  # more seeds and scores
    status, said = finish(place, "--jobs", "2")
    assert status == 0, said
    assert any("dcd" in line and "┃" not in line and "│" in line for line in said)
    runs = place.document()["runs"]
    assert [(run["seed"], list(run["values"])) for run in runs] == [
        (0, ["fid", "kid"]),
        (0, ["fid", "kid"]),
        (5, ["fid", "kid"]),
        (5, ["fid", "kid"]),
    ]
    assert (place.out / student["path"] / "student.safetensors").stat().st_mtime_ns == before

    plan(place, ("ratio = 0.5", "ratio = 0.25"))
    outcome = run_command(capsys, "sweep", "plan.toml", "-o", "sweep")
    assert outcome.status == 2
    assert "toy-s0-dcd was begun with other options (ratio: 0.5 -> 0.25)" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_run_that_fails_is_told_and_the_others_are_done(place: Place) -> None:
    plan(place, ("[methods.dcd]", '[methods.wrong]\nmethod = "dcd"\nlr = 1e9\n[methods.dcd]'))
    status, said = finish(place)
    assert status == 2
    assert said[-1].startswith("error: sweep: 2 of 3 runs done, 1 failed.")
    assert "--lr 1000000000.0" in said[-1]
    states = {run["method"]: (run["state"], run["error"]) for run in place.document()["runs"]}
    assert states["dcd"] == ("done", None)
    assert states["wrong"][0] == "failed"
    assert "must be at most 10" in str(states["wrong"][1])


def test_what_cannot_be_done_is_one_line(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (place.path / "other").mkdir()
    (place.path / "other" / "photo.png").touch()
    cases = {
        "sweep nosuch.toml": "nosuch.toml: cannot be read",
        "sweep plan.toml --jobs 0": "--jobs 0: must be at least 1",
        "sweep plan.toml --devices cpu": "--devices cpu: plan.toml has a device of its own",
        "sweep plan.toml -o plan.toml": "--out plan.toml: is a file",
        "sweep plan.toml -o other": "--out other: is a folder with other files",
        "sweep plan.toml -o other --slurm": "--out other: is a folder with other files",
        "sweep": "Missing argument 'PLAN.toml'",
    }
    before = contents(place.path)
    for typed, part in cases.items():
        outcome = run_command(capsys, *typed.split())
        assert (outcome.status, outcome.out) == (2, ""), typed
        assert part in outcome.err
        assert outcome.err.count("\n") == 1
    assert contents(place.path) == before


def test_a_dry_run_lists_runs_steps_and_times_and_leaves_nothing(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_forecast, "load_inception", lambda say: Means())
    plan(place, ("seeds = [0]", "seeds = [0, 5]"), ("max-steps = 1", "max-steps = 60"))
    before = contents(place.path)
    outcome = run_command(capsys, "sweep", "plan.toml", "--jobs", "2", "--dry-run", "--json")
    assert outcome.status == 0, outcome.err
    assert outcome.err.count("trying a step") == 2  # seeds do not differ
    runs = {row.pop("name"): row for row in outcome.document["runs"]}
    assert list(runs) == ["toy-s0-teacher", "toy-s0-dcd", "toy-s5-teacher", "toy-s5-dcd"]
    assert runs["toy-s0-dcd"] == runs["toy-s5-dcd"]
    assert {row["steps"] for row in runs.values()} == {60}
    total = sum(row["seconds"] + row["score_seconds"] for row in runs.values())
    assert outcome.document["seconds"] == pytest.approx(total / 2)
    # 7 reals are looked at once, with the first run
    reals = runs["toy-s0-teacher"]["score_seconds"] / runs["toy-s0-dcd"]["score_seconds"]
    assert reals == pytest.approx(2.0)
    assert contents(place.path) == before
