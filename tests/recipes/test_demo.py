from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from gancomp.__main__ import run
from gancomp.export.model import open_model
from gancomp.recipes.demo import unused


@pytest.fixture
def shortened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> dict:
    """The real demo, cut after two steps of each training."""
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--max-steps", "2", "--json"]) == 0
    result: dict = json.loads(capsys.readouterr().out)
    return result


def test_the_demo_makes_teacher_student_picture_scores_and_costs(shortened: dict) -> None:
    assert shortened["steps"] == {"pretrain": 2, "distill": 2}
    student = open_model(shortened["student"])
    assert (student.network.arch, student.network.width) == ("mobile-resnet6", 4)
    assert student.header["role"] == "student"
    with Image.open(shortened["picture"]) as picture:
        assert picture.size == (3 * 128, 6 * 128)
    scores = {name: score["stripes"] for name, score in shortened["scores"].items()}
    assert scores["input"] < 0.05
    assert scores["real"] > 0.95
    assert 0 <= scores["student"] <= 1
    assert [row["role"] for row in shortened["profile"]["models"]] == ["teacher", "student"]
    assert Path("runs/latest").resolve() == Path(shortened["folder"], "student").resolve()


def test_a_second_demo_takes_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = unused(tmp_path / "demo"), unused(tmp_path / "demo")
    assert (first.name, second.name) == ("demo", "demo-2")
