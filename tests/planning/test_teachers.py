"""A teacher that should be finished before: frozen if it is given, whole if that is needed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gancomp.console import ConsoleView
from gancomp.data.demo_set import write_demo_set
from gancomp.engine.checkpoint import load_newest
from gancomp.errors import ConfigError
from gancomp.planning.plan import Plan, make_plan
from gancomp.planning.teachers import refuse_lone_generator
from gancomp.recipes.distill import train
from gancomp.settings import Json, Overrides

BASE: Json = {
    "teacher": {"network": {"width": 4}},
    "discriminator": {"width": 4, "layers": 1},
    "schedule": {"max_steps": 1},
    "run": {"device": "cpu", "workers": 0},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets") / "toy"
    write_demo_set(root, size=32, train=2, test=1)
    return root


def plan(photos: Path, out: Path, said: list[str], **given: Any) -> Plan:
    teacher = BASE["teacher"] | given.pop("teacher", {})
    settings = BASE | {"data": {"dataset": str(photos), "size": 32}, "teacher": teacher}
    command = "distill" if given else "pretrain"
    return make_plan(
        command,
        Overrides(settings=settings | given, out=out, arch=None if "source" in teacher else ARCH),
        said.append,
    )


ARCH = "mobile-resnet6"


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished teacher's."""
    out = tmp_path_factory.mktemp("runs") / "teacher"
    train(plan(photos, out, []), ConsoleView())
    return out


@pytest.mark.parametrize("method", ["gan-compression", "dmad", "wavelet-kd"])
def test_a_given_teacher_is_frozen_unless_asked_otherwise(
    method: str, photos: Path, run: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    source = {"source": str(run)}
    named = {"method": {"name": method}}
    assert plan(photos, tmp_path, said, teacher=source, **named).settings.teacher.freeze
    kept = plan(photos, tmp_path, said, teacher=source | {"freeze": False}, **named)
    assert not kept.settings.teacher.freeze
    assert said == []
    alone = plan(photos, tmp_path, said, **named)
    assert not alone.settings.teacher.freeze
    assert len(said) == 1
    assert said[0].startswith(f"`method` {method}: its paper's teacher is finished before")


def test_discriminators_are_those_of_the_teachers_run(
    photos: Path, run: Path, tmp_path: Path
) -> None:
    """Whatever the preset has: a U-Net's have batch norm, those of gan-compression do not."""
    named: Json = {"teacher": {"source": str(run)}, "method": {"name": "gan-compression"}}
    found = plan(photos, tmp_path, [], discriminator={}, **named).settings.discriminator
    assert found == plan(photos, tmp_path, [], **named).settings.discriminator
    assert found.width == 4
    with pytest.raises(ConfigError, match="`d_width` 8: the discriminators of `teacher` .* have 4"):
        plan(photos, tmp_path, [], discriminator={"width": 8}, **named)
    alone = named | {"teacher": {"source": str(run / "teacher.safetensors")}}
    assert plan(photos, tmp_path, [], discriminator={}, **alone).settings.discriminator.width == 64


def test_dcd_trains_a_given_teacher_on(photos: Path, run: Path, tmp_path: Path) -> None:
    dcd = plan(photos, tmp_path, [], teacher={"source": str(run)}, perceptual={"source": "none"})
    assert not dcd.settings.teacher.freeze


def test_a_lone_generator_is_refused_where_its_discriminator_is_needed(
    photos: Path, run: Path, tmp_path: Path
) -> None:
    source = {"source": str(run / "teacher.safetensors")}
    with pytest.raises(ConfigError, match=r"teacher.safetensors: is a generator alone.*`method` "):
        plan(photos, tmp_path, [], teacher=source, method={"name": "dmad"})
    named = {"name": "gan-compression"}
    assert plan(photos, tmp_path, [], teacher=source, method=named).settings.teacher.freeze


def test_a_lone_generator_will_do_where_its_direction_is_the_only_one(tmp_path: Path) -> None:
    for task, refused in (("unpaired", True), ("paired", False)):
        settings: Any = SimpleNamespace(
            teacher=SimpleNamespace(source=str(tmp_path / "t.safetensors"), freeze=True),
            method=SimpleNamespace(name="wavelet-kd"),
            data=SimpleNamespace(task=task),
        )
        with pytest.raises(ConfigError) if refused else contextlib.nullcontext():
            refuse_lone_generator(settings)


def test_a_whole_teacher_comes_out_of_its_run_as_it_was(
    photos: Path, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "student"
    made = plan(photos, out, [], teacher={"source": str(run)}, method={"name": "dmad"})
    train(made, ConsoleView())
    before, after = (
        checkpoint.state["networks"]
        for folder in (run, out)
        if (checkpoint := load_newest(folder / "checkpoints", print)) is not None
    )
    names = ("generator", "discriminator", "backward_generator", "backward_discriminator")
    for name in names:
        assert all(torch.equal(after[name][key], value) for key, value in before[name].items())
