"""What a search scores candidates on: training images held out, and never test images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from builders import small_generator
from commands import write_model
from stand_ins import Means

from gancomp.data import images
from gancomp.data.demo_set import write_demo_set
from gancomp.planning.plan import Plan, make_plan
from gancomp.settings import Overrides
from gancomp.training import judging
from gancomp.training.searching import searching_plan
from gancomp.training.selection import divide


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("score", ["fid", "l1"])
def test_candidates_are_scored_on_training_images_that_nothing_is_trained_on(
    score: str, paired: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(judging, "load_inception", lambda say: Means(2))
    whole = plan_of(tmp_path, paired, "once-for-all", {"search_score": score, "search_held_out": 3})
    plan = searching_plan(whole)
    opened = files_opened(monkeypatch)
    said: list[str] = []
    judge = judging.make_judge(plan, torch.device("cpu"), said.append)
    scores = [judge(small_generator(4, role=role)) for role in ("teacher", "student")]
    assert scores[0] != scores[1]
    assert all(value >= 0 for value in scores)
    assert said == []

    division = divide(plan.files, plan.settings)
    assert plan.files.test is not None
    test = {*plan.files.test.source, *plan.files.test.target}
    assert len(test) == (2 if paired else 4)
    assert not test & set(opened)
    assert set(division.judging.source) <= set(opened)
    assert len(division.judging.source) == 3
    trained_on = set(division.training.train.source)
    assert len(trained_on) == 3
    assert not trained_on & set(opened)


def test_both_domains_have_images_that_nothing_is_trained_on_where_both_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = plan_of(tmp_path, False, "co-evolution", {"search_held_out": 2})
    plan = searching_plan(whole)
    targets = {*whole.files.train.target} - {*plan.files.train.target}
    opened = files_opened(monkeypatch)
    read = judging.held_out_images(plan, sorted(targets), torch.device("cpu"), print)
    assert [len(each) for each in read] == [2, 2]
    assert read[0][0].shape == read[1][0].shape == (1, 3, 16, 16)
    assert set(opened) == {*divide(plan.files, plan.settings).judging.source, *targets}
    trained_on = divide(plan.files, plan.settings).training.train
    assert len(trained_on.source) == len(trained_on.target) == 4
    assert not {*trained_on.source, *trained_on.target} & set(opened)


def plan_of(tmp_path: Path, paired: bool, shrink: str, options: dict[str, Any]) -> Plan:
    root = tmp_path / "data"
    write_demo_set(root, size=32, train=6, test=2, paired=paired)
    task = "paired" if paired else "unpaired"
    teacher = write_model(tmp_path / "teacher.safetensors", task=task)
    settings: dict[str, Any] = {
        "data": {"dataset": str(root), "size": 16},
        "teacher": {"source": str(teacher), "freeze": True},
        "method": {"name": "gan-compression"},
        "run": {"device": "cpu"},
    }
    given = Overrides(settings, shrink=shrink, budget="60%", shrink_options=options)
    return make_plan("distill", given, lambda text: None)


def files_opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Those that are from now on."""
    opened: list[Path] = []
    original = images.open_image

    def recorded(file: Path) -> Any:
        opened.append(file)
        return original(file)

    monkeypatch.setattr(images, "open_image", recorded)
    return opened
