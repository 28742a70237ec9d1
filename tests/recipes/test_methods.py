"""`gancomp methods`: every method with its paper, every preset with its source."""

from __future__ import annotations

import pytest
from commands import run_command

from gancomp.flags import as_typed
from gancomp.presets import all_presets
from gancomp.recipes.methods import describe_method, list_methods, list_presets
from gancomp.registry import METHODS, PRETRAINING


def test_every_method_is_listed_with_its_paper(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run_command(capsys, "methods", "--json").document["methods"]
    assert [row["name"] for row in rows] == list(METHODS)
    papers = {row["name"]: row["paper"] for row in rows}
    assert "CVPR 2023" in papers["dcd"]
    assert all(papers.values())
    commands = {name: "pretrain" if name in PRETRAINING else "distill" for name in METHODS}
    assert {row["name"]: row["command"] for row in rows} == commands


def test_every_preset_is_listed_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run_command(capsys, "methods", "--json").document["presets"]
    assert len(rows) == len(all_presets())
    assert all(row["source"] and row["command"] in ("pretrain", "distill") for row in rows)
    keys = {"name", "command", "dataset", "task", "networks", "reported", "source"}
    assert all(row.keys() == keys for row in rows)


def test_the_table_names_them_too(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "methods")
    assert (outcome.status, outcome.err) == (0, "")
    for name in (*METHODS, "FID"):
        assert name in outcome.out


def test_the_tables_keep_every_word_whole_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run_command(capsys, "methods").out
    lines = [line.strip() for line in shown.splitlines()]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    wanted = [[row["name"], row["command"]] for row in list_methods()]
    keys = ("name", "command", "dataset", "task")
    numbered = enumerate(list_presets(), start=1)
    wanted += [[str(number), *(row[key] for key in keys)] for number, row in numbered]
    assert rows == wanted
    assert all(len(line) <= 80 for line in shown.splitlines() if "│" in line)
    for row in list_methods():
        assert f"{row['name']}: {row['paper']}" in lines
    for row in list_presets():
        assert any(line.endswith(row["source"]) and row["networks"] in line for line in lines)
        assert row["reported"] is None or any(as_typed(row["reported"]) in line for line in lines)


def test_a_shared_option_has_the_equation_of_the_paper_whose_page_it_is_on() -> None:
    found = {
        name: {row["flag"]: row["equation"] for row in describe_method(name)["options"]}
        for name in ("dcd", "omgd")
    }
    assert found["dcd"]["--lambda-feature"] == "4"
    assert found["omgd"]["--lambda-feature"] is None
    assert found["omgd"]["--lambda-ssim"] == "6"
