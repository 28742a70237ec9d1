"""What a search scores candidates on: training images held out, and never test images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from builders import small_generator
from commands import write_model
from torch import Tensor, nn

from gancomp.data import images
from gancomp.data.demo_set import write_demo_set
from gancomp.planning.plan import make_plan
from gancomp.settings import Overrides
from gancomp.training import judging
from gancomp.training.searching import searching_plan
from gancomp.training.selection import divide


class Means(nn.Module):
    """Stands in for Inception: means of color over a coarse grid."""

    weights_id = "6726825d as if"

    def forward(self, images_01: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images_01, 2).flatten(1)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("score", ["fid", "l1"])
def test_candidates_are_scored_on_training_images_that_nothing_is_trained_on(
    score: str, paired: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(judging, "load_inception", lambda say: Means())
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
    given = Overrides(
        settings,
        shrink="once-for-all",
        budget="60%",
        shrink_options={"search_score": score, "search_held_out": 3},
    )
    plan = searching_plan(make_plan("distill", given, lambda text: None))
    opened: list[Path] = []
    original = images.open_image

    def recorded(file: Path) -> Any:
        opened.append(file)
        return original(file)

    monkeypatch.setattr(images, "open_image", recorded)
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
