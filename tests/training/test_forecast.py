"""What is said before a run's first step: each part, its steps and images, about how long."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from loops import Told

from gancomp.config import merge
from gancomp.data.demo_set import write_demo_set
from gancomp.planning.plan import make_plan
from gancomp.recipes.distill import distill
from gancomp.recipes.pretrain import pretrain
from gancomp.settings import Json, Overrides
from gancomp.training import forecast


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forecast") / "set"
    write_demo_set(root, size=48, train=5, test=1)
    write_demo_set(root.parent / "pairs", size=32, train=5, test=1, paired=True)
    return root


RUN = {"workers": 0, "device": "cpu", "log_every": 1}
SMALL = {"network": {"arch": "mobile-resnet6", "width": 4}}
STYLES = {"style_channels": 8, "mapping_layers": 1, "const_channels": 8}


def settings_of(task: str, root: Path) -> Json:
    if task == "super-resolution":
        return {
            "data": {"dataset": str(root / "trainA"), "task": task, "size": 32, "batch_size": 2},
            "teacher": {"network": {"width": 4, "blocks": 2}},
            "discriminator": {"width": 2},
            "perceptual": {"source": "random"},
            "method": {"options": {"content_tap": "relu1_2"}},
            "run": RUN,
        }
    if task == "synthesis":
        return {
            "data": {"dataset": str(root / "trainA"), "task": task, "size": 16, "batch_size": 4},
            "teacher": {"network": {"width": 8, **STYLES}},
            "discriminator": {"width": 8},
            "run": RUN,
        }
    folder = root if task == "unpaired" else root.parent / "pairs"
    return {
        "data": {"dataset": str(folder), "size": 32, "batch_size": 1},
        "teacher": SMALL,
        "discriminator": {"width": 4, "layers": 1},
        "perceptual": {"source": "none"},
        "run": RUN,
    }


STAGES = {
    "unpaired": [],
    "paired": [],
    "super-resolution": ["0a-teacher-srresnet", "0b-student-srresnet", "1-teacher-content"],
    "synthesis": ["0-teacher-gan", "1-student-gan"],
}
ABOUT = r"time, by a step tried here: about (\d+h)?(\d+m)?\d+[sm]( \(.*\))?"


@pytest.mark.parametrize("task", sorted(STAGES))
def test_every_task_tells_its_parts_before_the_first_step(
    task: str, root: Path, tmp_path: Path
) -> None:
    values = merge(settings_of(task, root), {"schedule": {"max_steps": 1}})
    plan = make_plan("distill", Overrides(settings=values), pytest.fail)
    parts, view = len(STAGES[task]) + 1, Told()
    distill(Overrides(settings=values, out=tmp_path / "run"), view)
    (at,) = [index for index, line in enumerate(view.lines) if line.startswith("plan:")]
    assert not any(line.startswith(("step", "stage")) for line in view.lines[:at])
    size = plan.settings.data.batch_size
    # too few images to take any on trial
    assert view.lines[at] == f"plan: {parts} steps, {parts * size} images"
    told = view.lines[at + 1 : at + 1 + parts] if parts > 1 else []
    names = [*(f"stage {name}" for name in STAGES[task]), "distill"] if parts > 1 else []
    assert told == [f"  {name}: 1 steps, {size} images" for name in names]


@pytest.mark.parametrize("task", sorted(STAGES))
def test_the_time_is_estimated_by_a_step_that_leaves_no_trace(
    task: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = merge(settings_of(task, root), {"schedule": {"max_steps": 2}})
    before = torch.get_rng_state()
    for name, least in (("without", 10**6), ("with", 1)):
        monkeypatch.setattr(forecast, "WORTH_TIMING", least)
        view = Told()
        distill(Overrides(settings=values, out=tmp_path / name), view)
    assert torch.equal(torch.get_rng_state(), before)
    (line,) = [line for line in view.lines if line.startswith("time")]
    assert re.fullmatch(ABOUT, line)
    assert all(f"stage {name} " in line for name in STAGES[task])
    first = next(line for line in view.lines if line.startswith(("step", "stage")))
    assert view.lines.index(line) < view.lines.index(first)
    for file in (tmp_path / "without").rglob("*.safetensors"):
        twin = tmp_path / "with" / file.relative_to(tmp_path / "without")
        assert twin.read_bytes() == file.read_bytes()


def test_a_resumed_run_tells_what_is_left(root: Path, tmp_path: Path) -> None:
    values = merge(settings_of("synthesis", root), {"schedule": {"max_steps": 2}})
    out, view = tmp_path / "run", Told()
    short = merge(values, {"schedule": {"max_seconds": 1e-6}})
    distill(Overrides(settings=short, out=out), view)
    assert any(line.endswith("24 images; stops after 0s (`max_time`)") for line in view.lines)
    view = Told()
    distill(Overrides(settings=values, out=out, resume=True), view)
    # one step of the first stage is done
    assert "plan: 5 steps, 20 images" in view.lines
    assert "  stage 0-teacher-gan: 1 steps, 4 images" in view.lines
    view = Told()
    distill(Overrides(settings={"schedule": {"max_steps": 5}}, out=out, resume=True), view)
    assert "plan: 3 steps, 12 images" in view.lines


def test_pretrain_tells_the_steps_of_its_epochs(root: Path, tmp_path: Path) -> None:
    values = merge(settings_of("unpaired", root), {"schedule": {"epochs": 1, "decay_epochs": 1}})
    values["schedule"]["max_seconds"] = 1e-6  # told before the first step: one is enough
    del values["perceptual"]
    view = Told()
    pretrain(Overrides(settings=values, out=tmp_path / "run"), view)
    assert "plan: 10 steps, 10 images; stops after 0s (`max_time`)" in view.lines


def test_phases_count_as_often_as_they_have_their_turn(root: Path) -> None:
    values = settings_of("synthesis", root)
    plan = make_plan("pretrain", Overrides(settings=values), pytest.fail)
    method = forecast.make_fresh(plan, Told())
    part = forecast.Part("pretrain", plan, total=1600, steps=1600, epoch=10)
    shares = [forecast.share_of_turns(phase, part, method) for phase in method.phases()]
    assert shares == [1, 1 / 4, 1, 1 / 16]
    part = forecast.Part("pretrain", plan, total=2, steps=2, epoch=10)
    shares = [forecast.share_of_turns(phase, part, method) for phase in method.phases()]
    assert shares == [1, 1 / 2, 1, 1 / 2]
    blocks = {"teacher_block_epochs": 1, "student_block_epochs": 3}
    values = merge(settings_of("unpaired", root), {"method": {"options": blocks}})
    values["schedule"] = {"epochs": 4, "decay_epochs": 0}
    plan = make_plan("distill", Overrides(settings=values), pytest.fail)
    method = forecast.make_fresh(plan, Told())
    total = 5 * method.num_epochs(4)
    part = forecast.Part("distill", plan, total=total, steps=total, epoch=5)
    shares = [forecast.share_of_turns(phase, part, method) for phase in method.phases()]
    assert [phase.name for phase in method.phases()] == ["teacher", "discriminator", "student"]
    assert sum(shares[1:]) == pytest.approx(1)
    assert shares[0] == shares[1] > 0
