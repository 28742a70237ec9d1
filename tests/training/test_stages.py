"""Super-resolution's stages: which there are, that they run, are skipped, resumed and stopped."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import write_model
from safetensors.torch import load_file

from gancomp.console import ConsoleView
from gancomp.data.demo_set import write_demo_set
from gancomp.engine.checkpoint import list_checkpoints, load_newest
from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.model import open_model
from gancomp.planning.plan import make_plan
from gancomp.recipes import distill as recipe
from gancomp.recipes.distill import distill
from gancomp.recipes.pretrain import pretrain
from gancomp.settings import Json, Overrides
from gancomp.training.stages import stages_of

LENGTHS = {"teacher_srresnet_steps": 3, "student_srresnet_steps": 2, "teacher_gan_steps": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sr") / "photos"
    write_demo_set(root, size=40, train=3, test=1)
    return root / "trainA"


def typed(photos: Path, **sections: Any) -> Json:
    values: Json = {
        "data": {"dataset": str(photos), "task": "super-resolution", "size": 32, "batch_size": 2},
        "teacher": {"network": {"width": 4, "blocks": 2}},
        "discriminator": {"width": 2},
        "perceptual": {"source": "random"},
        "method": {"options": {"content_tap": "relu1_2"}},
        "schedule": {"max_steps": 2},
        "run": {"workers": 0, "device": "cpu", "log_every": 1},
        "stages": dict(LENGTHS),
    }
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    return values


def with_method(name: str, **options: Any) -> Json:
    return {"name": name, "options": {"content_tap": "relu1_2", **options}}


def without_stages(values: Json) -> Json:
    """Lengths that a run without all stages would not look at."""
    return {key: value for key, value in values.items() if key != "stages"}


@pytest.mark.parametrize(
    ("command", "method", "sections", "names"),
    [
        ("distill", "gan2g", {}, ["0a-teacher-srresnet", "0b-student-srresnet", "1-teacher-srgan"]),
        ("distill", "g2g-al", {},
         ["0a-teacher-srresnet", "0b-student-srresnet", "1-teacher-content"]),
        ("distill", "no-kd", {}, ["0b-student-srresnet"]),
        ("distill", "gan2gan", {"teacher": "t.safetensors"}, ["0b-student-srresnet"]),
        ("distill", "gan2gan", {"student": "s.safetensors"},
         ["0a-teacher-srresnet", "1-teacher-srgan"]),
        ("distill", "gan2g-al", {"teacher": "t.safetensors", "student": "s.safetensors"}, []),
        ("distill", "no-kd", {"objective": "pixel"}, []),
        ("pretrain", "srgan", {}, ["0a-teacher-srresnet"]),
        ("pretrain", "srgan", {"objective": "content"}, ["0a-teacher-srresnet"]),
        ("pretrain", "srgan", {"objective": "pixel"}, []),
        ("pretrain", "srgan", {"teacher": "t.safetensors"}, []),
    ],
)  # fmt: skip
def test_a_run_has_the_stages_whose_results_it_was_not_given(
    command: str, method: str, sections: Json, names: list[str], photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    values = without_stages(typed(photos, method=with_method(method)))
    for role, width in (("t", 4), ("s", 2)):
        settings = {"blocks": 3 - width // 4}
        path = tmp_path / f"{role}.safetensors"
        write_model(path, "srresnet", width, task="super-resolution", settings=settings)
    if "teacher" in sections:
        values["teacher"] = {"source": sections["teacher"]}
    if "student" in sections:
        values["stages"] = {"student_source": sections["student"]}
    if "objective" in sections:
        values["method"]["options"] = {"objective": sections["objective"]}
    if sections.get("objective") == "pixel":
        del values["perceptual"], values["discriminator"]
    if sections.get("objective") == "content":
        del values["discriminator"]
    plan = make_plan(command, Overrides(settings=values), pytest.fail)
    assert [stage.name for stage in stages_of(plan.settings, plan.options)] == names


def test_the_defaults_are_the_full_lengths(photos: Path) -> None:
    values = without_stages(typed(photos))
    values["data"] = {"dataset": str(photos), "task": "super-resolution", "size": 32}
    for section in ("teacher", "discriminator", "method", "schedule"):
        del values[section]
    plan = make_plan("distill", Overrides(settings=values), pytest.fail)
    settings = plan.settings
    assert (settings.teacher.network.width, settings.teacher.network.blocks) == (64, 16)
    assert settings.student is not None
    assert (settings.student.width, settings.student.blocks) == (32, 8)
    assert (settings.method.name, settings.schedule.max_steps) == ("g2g-al", 200_000)
    steps = [stage.steps for stage in stages_of(settings, plan.options)]
    assert steps == [1_000_000, 1_000_000, 2_500]
    assert (settings.optimizer.lr, settings.optimizer.beta1, settings.optimizer.eps) == (
        1e-4, 0.9, 1e-7,
    )  # fmt: skip
    assert settings.data.batch_size == 16
    assert settings.discriminator.crop == 32
    assert plan.options.drop_step == 100_000
    assert plan.options.content_tap == "relu5_4"
    assert settings.teacher.freeze


def test_max_steps_bounds_the_stages_whose_length_was_not_typed(photos: Path) -> None:
    values = without_stages(typed(photos, schedule={"max_steps": 70}))
    plan = make_plan("distill", Overrides(settings=values), pytest.fail)
    assert [stage.steps for stage in stages_of(plan.settings, plan.options)] == [70, 70, 70]
    values["stages"] = {"student_srresnet_steps": 900}
    plan = make_plan("distill", Overrides(settings=values), pytest.fail)
    assert [stage.steps for stage in stages_of(plan.settings, plan.options)] == [70, 900, 70]
    assert plan.settings.schedule.max_steps == 70
    # shorter ones stay as they are
    values = without_stages(typed(photos, schedule={"max_steps": 4000}))
    plan = make_plan("distill", Overrides(settings=values), pytest.fail)
    assert [stage.steps for stage in stages_of(plan.settings, plan.options)] == [4000, 4000, 2500]
    values = without_stages(typed(photos, method={"name": "srgan", "options": {}}))
    plan = make_plan("pretrain", Overrides(settings=values), pytest.fail)
    assert [stage.steps for stage in stages_of(plan.settings, plan.options)] == [2]


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole staged run of gan2gan."""
    out = tmp_path_factory.mktemp("runs") / "run"
    values = typed(photos, method=with_method("gan2gan"))
    result = distill(Overrides(settings=values, out=out), ConsoleView())
    assert result.outcome.step == 2
    return out


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def test_each_stage_is_a_run_of_its_own_and_the_next_begins_with_its_result(
    finished: Path,
) -> None:
    stages = finished / "stages"
    assert sorted(path.name for path in stages.iterdir()) == [
        "0a-teacher-srresnet", "0b-student-srresnet", "1-teacher-srgan",
    ]  # fmt: skip
    steps = {}
    for run in stages.iterdir():
        (file,) = run.glob("*.safetensors")
        steps[run.name[:2]] = open_model(file).header["step"]
        assert (run / "config.json").exists()
        assert list_checkpoints(run / "checkpoints")
    assert steps == {"0a": 3, "0b": 2, "1-": 2}
    tuned = weights(stages / "1-teacher-srgan" / "teacher.safetensors")
    handed_on = weights(finished / "teacher.safetensors")
    assert all(torch.equal(handed_on[key], value) for key, value in tuned.items())
    config = json.loads((stages / "1-teacher-srgan" / "config.json").read_text())
    assert config["settings"]["teacher"]["source"].endswith(
        "0a-teacher-srresnet/teacher.safetensors"
    )


def test_models_say_their_low_resolution_size_and_scale(finished: Path) -> None:
    student = open_model(finished / "student.safetensors")
    assert student.header["input"]["size"] == [8, 8]
    assert student.header["task"] == "super-resolution"
    assert (student.network.width, student.network.scale) == (2, 4)
    assert student.network.settings()["blocks"] == 1


def test_a_finished_run_resumed_trains_nothing_again(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("state.pt")}
    result = distill(Overrides(out=finished, resume=True), ConsoleView())
    assert result.outcome.step == 2
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("state.pt")} == before
    assert len(before) == 4


def test_a_time_limit_ends_the_command_within_a_stage_and_resume_ends_like_an_unbroken_run(
    finished: Path, photos: Path, tmp_path: Path
) -> None:
    values = typed(photos, method=with_method("gan2gan"))
    short = typed(
        photos, method=with_method("gan2gan"), schedule={"max_steps": 2, "max_seconds": 1e-6}
    )
    out = tmp_path / "run"
    result = distill(Overrides(settings=short, out=out), ConsoleView())
    assert (result.run, result.outcome.step, result.student) == (out, 1, None)
    assert not (out / "stages" / "0b-student-srresnet").exists()
    assert not (out / "student.safetensors").exists()
    result = distill(Overrides(settings=values, out=out, resume=True), ConsoleView())
    assert result.outcome.step == 2
    for name in ("teacher.safetensors", "student.safetensors"):
        assert (out / name).read_bytes() == (finished / name).read_bytes()


def test_latest_names_the_run_and_never_its_stages(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = typed(photos, method=with_method("no-kd"))
    values["stages"] = {"student_srresnet_steps": 2}
    result = distill(Overrides(settings=values), ConsoleView())
    assert Path("runs/latest").resolve() == result.run.resolve()
    assert result.teacher is None
    assert result.to_json()["student"] == str(result.run / "student.safetensors")
    assert "teacher" not in result.to_json()


@pytest.mark.parametrize("method", ["gan2g-al", "gan2gan"])
def test_discriminators_begin_as_the_teachers_if_wanted(
    method: str, finished: Path, photos: Path, tmp_path: Path
) -> None:
    run = finished / "stages" / "1-teacher-srgan"
    values = without_stages(
        typed(photos, method=with_method(method, discriminator_from_teacher=True))
    )
    # a rate so low that a step cannot be seen
    values |= {"teacher": {"source": str(run)}, "optimizer": {"lr": 1e-30}}
    values["stages"] = {"student_source": str(finished / "stages" / "0b-student-srresnet")}
    out = tmp_path / "run"
    distill(Overrides(settings=values, out=out), ConsoleView())
    states = [load_newest(path / "checkpoints", pytest.fail) for path in (run, out)]
    given, found = (state.state["networks"] for state in states if state is not None)
    names = [name for name in found if "discriminator" in name]
    assert len(names) == (2 if method == "gan2gan" else 1)
    for name in names:
        for key, value in given["discriminator"].items():
            if "running" not in key and "tracked" not in key:
                assert torch.equal(found[name][key], value)


def test_a_teacher_without_discriminator_has_none_to_begin_with(
    finished: Path, photos: Path, tmp_path: Path
) -> None:
    values = without_stages(
        typed(photos, method=with_method("gan2g-al", discriminator_from_teacher=True))
    )
    values["teacher"] = {"source": str(finished / "stages" / "0a-teacher-srresnet")}
    values["stages"] = {"student_source": str(finished / "student.safetensors")}
    with pytest.raises(CheckpointError, match="has no discriminator; give the run"):
        distill(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())
    values["teacher"] = {"source": str(finished / "teacher.safetensors")}
    with pytest.raises(ConfigError, match="is a generator alone"):
        distill(Overrides(settings=values, out=tmp_path / "other"), ConsoleView())
    assert not (tmp_path / "other").exists()


def test_pretrain_makes_the_teacher_that_distill_would_have_made(
    finished: Path, photos: Path, tmp_path: Path
) -> None:
    values = typed(photos)
    values["stages"] = {"teacher_srresnet_steps": 3}
    result = pretrain(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())
    assert result.teacher is not None
    made, other = weights(result.teacher), weights(finished / "teacher.safetensors")
    assert all(torch.equal(made[key], other[key]) for key in other)


def test_the_stages_have_the_memory_to_themselves(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, alive = [], []
    build, run_stages = recipe.build, recipe.run_stages

    def noting(plan: Any, *others: Any) -> Any:
        made = build(plan, *others)
        built.append(weakref.ref(made.method))
        return made

    def looking(plan: Any, *others: Any, **more: Any) -> Any:
        alive.append([ref() is not None for ref in built])
        return run_stages(plan, *others, **more)

    monkeypatch.setattr(recipe, "build", noting)
    monkeypatch.setattr(recipe, "run_stages", looking)
    values = typed(photos, method=with_method("no-kd"), schedule={"max_steps": 1})
    recipe.distill(Overrides(settings=without_stages(values), out=tmp_path / "run"), ConsoleView())
    assert alive == [[False]]
    assert len(built) == 3  # the run's, its stage's, and the run's again
