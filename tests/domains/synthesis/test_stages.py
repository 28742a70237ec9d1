"""Runs of synthesis: what settings come to, their stages, going on, whose discriminator it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import write_model
from synthesis_builders import STYLES, planned, tiny_generator, typed
from tiny_runs import assert_equal

from gancomp.config import merge
from gancomp.console import ConsoleView
from gancomp.engine.checkpoint import load_newest
from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.model import open_model
from gancomp.planning.plan import make_plan
from gancomp.recipes.distill import distill
from gancomp.recipes.pretrain import pretrain
from gancomp.registry import build_network
from gancomp.settings import Json, Overrides
from gancomp.training.stages import stages_of


def under(teacher: Path | str, photos: Path, **sections: Any) -> Json:
    """A student's settings: the teacher's networks follow from its file."""
    values = typed(photos, teacher={"source": str(teacher)}, stages={"stage1_kimg": 0.0})
    del values["teacher"]["network"], values["discriminator"]
    return merge(values, sections)


@pytest.fixture(scope="module")
def teacher(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished `pretrain`."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    pretrain(Overrides(settings=typed(photos), out=out), ConsoleView())
    return out


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole `distill` that trains its teacher, then the student alone, then both."""
    out = tmp_path_factory.mktemp("runs") / "run"
    distill(Overrides(settings=all_stages(photos), out=out), ConsoleView())
    return out


def all_stages(photos: Path, **sections: Any) -> Json:
    stages = {"teacher_kimg": 0.008, "stage1_kimg": 0.012, "stage2_kimg": 0.016}
    values = typed(photos, stages=stages)
    del values["schedule"]
    return merge(values, sections)


def networks_of(run: Path) -> Json:
    checkpoint = load_newest(run / "checkpoints", pytest.fail)
    assert checkpoint is not None
    networks: Json = checkpoint.state["networks"]
    return networks


def same_weights(one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor]) -> None:
    """Equal names, equal bits, whatever their order."""
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], value) for key, value in two.items())


# what settings come to


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        ({}, ["0-teacher-gan", "1-student-gan"]),
        ({"stages": {"stage1_kimg": 0.0}}, ["0-teacher-gan"]),
        ({"method": {"options": {"lambda_dgl": 0.0}}}, ["1-student-gan"]),
        ({"method": {"options": {"lambda_dgl": 0.0}}, "stages": {"stage1_kimg": 0.0}}, []),
    ],
)
def test_a_run_has_the_stages_whose_results_it_lacks(
    sections: Json, names: list[str], photos: Path
) -> None:
    plan = planned("distill", typed(photos, **sections))
    assert [stage.name for stage in stages_of(plan.settings, plan.options)] == names


@pytest.mark.parametrize("preset", ["dgl", "dgl-short"])
@pytest.mark.parametrize("batch_size", [4, 16, 64])
def test_every_length_of_a_preset_is_a_number_of_images(
    preset: str, batch_size: int, photos: Path
) -> None:
    values = {
        "data": {"dataset": str(photos), "task": "synthesis", "batch_size": batch_size},
        "method": {"preset": preset},
    }
    for arch in ("stylegan2", "biggan"):
        options = {"accumulation": 1} if arch == "biggan" else {}
        typed_values = merge(values, {"method": {"options": options}})
        plan = planned("distill", typed_values, arch=arch)
        steps = [stage.steps for stage in stages_of(plan.settings, plan.options)]
        assert plan.settings.schedule.max_steps is not None
        steps.append(plan.settings.schedule.max_steps)
        kimg = {
            ("dgl", "stylegan2"): [60_000, 35_000, 25_000],
            ("dgl", "biggan"): [282_624, 282_624],
            ("dgl-short", "stylegan2"): [160, 160],
            ("dgl-short", "biggan"): [320, 320],
        }[preset, arch]
        assert [count * batch_size / 1000 for count in steps] == kimg


def test_turns_of_the_discriminator_count_as_images(photos: Path) -> None:
    stages = {"teacher_kimg": 0.08, "stage1_kimg": 0.16, "stage2_kimg": 0.24}
    values = typed(photos, stages=stages, method={"options": {"d_steps": 4}})
    del values["schedule"]
    plan = planned("distill", values)
    assert [stage.steps for stage in stages_of(plan.settings, plan.options)] == [5, 10]
    assert plan.settings.schedule.max_steps == 15


def test_several_turns_run_through_all_stages(photos: Path, tmp_path: Path) -> None:
    options = {"d_steps": 2, "turn_order": "discriminator-first"}
    values = all_stages(
        photos,
        stages={"teacher_kimg": 0.008, "stage1_kimg": 0.008, "stage2_kimg": 0.016},
        method={"options": options | {"teacher_discriminator": "finetune"}},
    )
    result = distill(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())
    assert (result.outcome.step, result.outcome.num_images) == (2, 16)
    assert {"discriminator-2/real", "teacher_discriminator-2/fake"} <= result.outcome.losses.keys()


@pytest.mark.parametrize("command", ["distill", "pretrain"])
def test_max_steps_bounds_the_whole_command_stages_included(command: str, photos: Path) -> None:
    values = {
        "data": {"dataset": str(photos), "task": "synthesis", "batch_size": 12},
        "schedule": {"max_steps": 7},
    }
    plan = planned(command, values)
    steps = [stage.steps for stage in stages_of(plan.settings, plan.options)]
    assert steps == ([7, 7] if command == "distill" else [])
    assert plan.settings.schedule.max_steps == 7
    # a stage's own option wins
    if command == "distill":
        plan = planned(command, values | {"stages": {"teacher_kimg": 0.12, "stage1_kimg": 0.0}})
        steps = [stage.steps for stage in stages_of(plan.settings, plan.options)]
        assert steps == [10]
    else:
        with pytest.raises(ConfigError, match="`teacher_kimg` and `max_steps`: give one of them"):
            planned(command, values | {"stages": {"teacher_kimg": 0.12}})


def test_a_teachers_length_in_images_is_that_of_pretrain_too(photos: Path) -> None:
    values = typed(photos, stages={"teacher_kimg": 1.0})
    del values["schedule"]
    assert planned("pretrain", values).settings.schedule.max_steps == 250


def test_a_given_teacher_needs_no_stage(teacher: Path, photos: Path) -> None:
    plan = planned("distill", under(teacher, photos))
    assert stages_of(plan.settings, plan.options) == []
    assert planned("pretrain", typed(photos)).settings.stages.stage1_kimg == 0


@pytest.mark.parametrize(("narrow", "channels"), [(None, 8), (False, 8), (True, 4)])
def test_the_students_constant_is_as_wide_as_its_teachers_unless_narrowed(
    narrow: bool | None, channels: int, photos: Path
) -> None:
    plan = planned("distill", typed(photos), narrow_const=narrow)
    assert plan.settings.student is not None
    assert (plan.settings.student.width, plan.settings.student.const_channels) == (4, channels)


def test_a_second_stage_in_images_says_how_many_steps(photos: Path) -> None:
    values = typed(photos, stages={"stage2_kimg": 1.0})
    del values["schedule"]
    assert planned("distill", values).settings.schedule.max_steps == 250
    # one that only the preset has gives way to steps that were typed
    plan = planned("distill", typed(photos))
    assert plan.settings.schedule.max_steps == 3
    assert plan.settings.stages.stage2_kimg is None


def test_networks_without_classes_say_so_where_the_data_has_some(classes: Path) -> None:
    said: list[str] = []
    make_plan("pretrain", Overrides(settings=typed(classes)), said.append)
    assert said == [f"{classes}: has 2 class folders; stylegan2 takes no account of classes"]


# runs


def test_each_stage_is_a_run_and_the_next_begins_with_its_networks(finished: Path) -> None:
    stages = finished / "stages"
    assert sorted(path.name for path in stages.iterdir()) == ["0-teacher-gan", "1-student-gan"]
    steps = {
        file.parent.name[:1]: open_model(file).header["step"]
        for file in stages.rglob("*.safetensors")
    }
    assert steps == {"0": 2, "1": 3}
    teacher, whole = networks_of(stages / "0-teacher-gan"), networks_of(finished)
    same_weights(whole["teacher_generator"], teacher["average"])
    same_weights(whole["teacher_discriminator"], teacher["discriminator"])
    student = json.loads((stages / "1-student-gan" / "config.json").read_text())["settings"]
    assert (student["method"]["name"], student["method"]["options"]["lambda_dgl"]) == ("dgl", 0)
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 4
    assert all("student/dgl" in record["losses"] for record in records)
    lines = (stages / "1-student-gan" / "metrics.jsonl").read_text().splitlines()
    assert not any("dgl" in line for line in lines)


def test_the_second_stage_goes_on_with_generator_discriminator_and_average(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    first = under(teacher, photos, method={"options": {"lambda_dgl": 0.0, "ema_start": 100}})
    distill(Overrides(settings=first, out=tmp_path / "first"), ConsoleView())
    # a rate so low that steps cannot be seen; an average that would at once be a copy, but is past
    # its start
    slow = {"optimizer": {"lr": 1e-30}, "stages": {"student_source": str(tmp_path / "first")}}
    options = {"options": {"ema_start": 100, "ema_beta": 0.5}}
    values = under(teacher, photos, method=options, **slow)
    del values["stages"]["stage1_kimg"]
    distill(Overrides(settings=values, out=tmp_path / "second"), ConsoleView())
    before, after = networks_of(tmp_path / "first"), networks_of(tmp_path / "second")
    for name in ("generator", "discriminator"):
        assert all(torch.equal(after[name][key], item) for key, item in before[name].items())
    assert after["standing"]["_extra_state"] == {"average_start": 0}
    assert before["standing"]["_extra_state"] == {"average_start": 100}
    assert before["standing"]["path_mean"] != after["standing"]["path_mean"]


def test_models_say_their_size_and_task(finished: Path) -> None:
    student = open_model(finished / "student.safetensors")
    assert student.header["input"]["size"] == [16, 16]
    assert (student.header["task"], student.header["role"]) == ("synthesis", "student")
    assert student.network.settings()["width"] == 4
    average = networks_of(finished)["average"]
    same_weights(student.network.state_dict(), average)


def test_resumed_after_three_of_six_steps_it_ends_like_a_straight_run(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    for name, lengths in (("straight", (6,)), ("broken", (3, 6))):
        for index, steps in enumerate(lengths):
            values = under(teacher, photos, schedule={"max_steps": steps})
            given = Overrides(settings=values, out=tmp_path / name, resume=index > 0)
            distill(given, ConsoleView())
    one, two = (networks_of(tmp_path / name) for name in ("straight", "broken"))
    assert_equal(one, two)
    assert_same_files(tmp_path / "straight", tmp_path / "broken")


def assert_same_files(one: Path, two: Path) -> None:
    for name in ("student.safetensors", "teacher.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    states = [load_newest(run / "checkpoints", pytest.fail).state for run in (one, two)]  # type: ignore[union-attr]  # there is one
    assert_equal(states[0]["optimizers"], states[1]["optimizers"])


def test_a_finished_run_resumed_trains_nothing_again(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("state.pt")}
    result = distill(Overrides(out=finished, resume=True), ConsoleView())
    assert result.outcome.step == 4
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("state.pt")} == before
    assert len(before) == 3


def test_pretrain_makes_the_teacher_that_distill_would_have_made(
    finished: Path, photos: Path, tmp_path: Path
) -> None:
    values = typed(photos, schedule={"max_steps": 2})
    pretrain(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())
    made = open_model(tmp_path / "run" / "teacher.safetensors").network.state_dict()
    same_weights(made, open_model(finished / "teacher.safetensors").network.state_dict())


def test_a_teacher_goes_on_from_its_run_with_its_discriminator(
    teacher: Path, photos: Path, tmp_path: Path
) -> None:
    values = under(teacher, photos, optimizer={"lr": 1e-30}, schedule={"max_steps": 1})
    del values["stages"]
    pretrain(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())
    given, found = networks_of(teacher), networks_of(tmp_path / "run")
    same_weights(found["discriminator"], given["discriminator"])
    for key, value in found["generator"].items():
        assert torch.equal(value, given["average"][key])


# where the teacher's discriminator comes from


def test_it_comes_from_the_run_of_the_teacher(teacher: Path, photos: Path, tmp_path: Path) -> None:
    distill(Overrides(settings=under(teacher, photos), out=tmp_path / "run"), ConsoleView())
    given, found = networks_of(teacher), networks_of(tmp_path / "run")
    same_weights(found["teacher_discriminator"], given["discriminator"])


def test_of_a_distilled_run_it_is_the_teachers_not_the_students(
    finished: Path, photos: Path, tmp_path: Path
) -> None:
    distill(Overrides(settings=under(finished, photos), out=tmp_path / "run"), ConsoleView())
    given, found = networks_of(finished), networks_of(tmp_path / "run")
    same_weights(found["teacher_discriminator"], given["teacher_discriminator"])


def test_it_comes_from_a_checkpoint_of_others_that_holds_both(photos: Path, tmp_path: Path) -> None:
    generator = tiny_generator()
    judge = build_network("stylegan2-discriminator", width=4, resolution=16)
    parts = {"g_ema": generator.state_dict(), "d": judge.state_dict()}
    torch.save(parts, tmp_path / "teacher.pt")
    values = under(tmp_path / "teacher.pt", photos, schedule={"max_steps": 1})
    assert planned("distill", values).settings.discriminator.width == 4
    distill(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())
    same_weights(networks_of(tmp_path / "run")["teacher_discriminator"], judge.state_dict())
    torch.save({"g_ema": generator.state_dict()}, tmp_path / "alone.pt")
    with pytest.raises(ConfigError, match=r"`teacher` .*alone.pt: has no discriminator, which"):
        planned("distill", under(tmp_path / "alone.pt", photos))


def test_it_comes_from_the_folder_of_a_biggan(classes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "biggan"
    folder.mkdir()
    shape = {"width": 4, "resolution": 32, "num_classes": 2}
    generator = build_network("biggan", **shape)
    judge = build_network("biggan-discriminator", **shape)
    torch.save(generator.state_dict(), folder / "G_ema.pth")
    torch.save(judge.state_dict(), folder / "D.pth")
    values = under(folder, classes, method={"options": {"accumulation": 2}})
    del values["data"]["size"]
    values["method"] = {"options": {"accumulation": 2}}
    distill(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())
    found = networks_of(tmp_path / "run")
    same_weights(found["teacher_discriminator"], judge.state_dict())
    same_weights(found["teacher_generator"], generator.state_dict())


def test_a_generator_alone_is_enough_for_a_plain_student(photos: Path, tmp_path: Path) -> None:
    file = write_model(
        tmp_path / "alone.safetensors", "stylegan2", 8, task="synthesis", role="teacher",
        input_size=16, settings={"resolution": 16, **STYLES},
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"has no discriminator, which `lambda_dgl` needs"):
        planned("distill", under(file, photos))
    values = under(
        file, photos, method={"options": {"lambda_dgl": 0.0}}, discriminator={"width": 8}
    )
    result = distill(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())
    assert result.student is not None
    assert open_model(result.student).network.settings()["width"] == 4
    assert "teacher_discriminator" not in networks_of(tmp_path / "run")


def test_a_student_of_other_widths_does_not_fit(
    finished: Path, teacher: Path, photos: Path, tmp_path: Path
) -> None:
    values = under(teacher, photos, method={"options": {"d_multiplier": 0.25}})
    values["stages"] = {"student_source": str(finished)}
    with pytest.raises(CheckpointError, match="its networks do not fit .*`d_multiplier`"):
        distill(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())


def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    given = Overrides(settings=under(teacher, photos), out=out)
    distill(given, ConsoleView())
    wanted = (out / "student.safetensors").read_bytes()
    shutil.rmtree(out / "checkpoints")
    (out / "checkpoints").mkdir()
    distill(Overrides(out=out, resume=True), ConsoleView())
    assert (out / "student.safetensors").read_bytes() == wanted
