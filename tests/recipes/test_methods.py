"""`gancomp methods`: every method with its paper, every preset with its source."""

from __future__ import annotations

import pytest
from commands import run_command

from gancomp.presets import PRESETS
from gancomp.registry import METHODS


def test_every_method_is_listed_with_its_paper(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run_command(capsys, "methods", "--json").document["methods"]
    assert [row["name"] for row in rows] == list(METHODS)
    papers = {row["name"]: row["paper"] for row in rows}
    assert "CVPR 2023" in papers["dcd"]
    assert all(papers.values())


def test_every_preset_is_listed_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run_command(capsys, "methods", "--json").document["presets"]
    assert len(rows) == len(PRESETS)
    assert all(row["source"] and row["command"] in ("pretrain", "distill") for row in rows)
    keys = {"name", "command", "dataset", "task", "networks", "reported", "source"}
    assert all(row.keys() == keys for row in rows)


def test_the_table_names_them_too(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "methods")
    assert (outcome.status, outcome.err) == (0, "")
    for name in (*METHODS, "FID"):
        assert name in outcome.out
