from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import write_model

from gancomp.config import read
from gancomp.console import ConsoleView
from gancomp.data.demo_set import write_demo_set
from gancomp.engine.run import writing_run
from gancomp.errors import ConfigError, DataError, GancompError, RunError
from gancomp.planning.plan import Plan, make_plan
from gancomp.settings import Json, Overrides, Settings
from gancomp.training.steps import begin_or_continue, describe_run


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an unpaired and a paired set."""
    root = tmp_path_factory.mktemp("sets")
    write_demo_set(root / "toy", size=32, train=2, test=1)
    write_demo_set(root / "pairs", size=32, train=2, test=1, paired=True)
    return root


def small(dataset: Path, **sections: Any) -> Json:
    base: Json = {
        "data": {"dataset": str(dataset), "size": 32},
        "teacher": {"network": {"width": 8}},
    }
    for name, values in sections.items():
        base[name] = base.get(name, {}) | values
    return base


def plan(overrides: Json, command: str = "distill", **given: Any) -> Plan:
    return make_plan(command, Overrides(settings=overrides, **given), pytest.fail)


@pytest.fixture
def run(sets: Path, tmp_path: Path) -> Path:
    """A run that has just begun."""
    begun = plan(small(sets / "toy", perceptual={"source": "none"}), out=tmp_path / "run")
    with writing_run(begun.out, resume=False) as folder:
        folder.write_config(describe_run(begun, None))
    return begun.out


def resume(
    run: Path, overrides: Json | None = None, command: str = "distill", **given: Any
) -> Plan:
    return plan(overrides or {}, command, out=run, resume=True, **given)


def test_the_data_decides_the_task_and_the_ratio_the_student(sets: Path) -> None:
    unpaired = plan(small(sets / "toy"))
    paired = plan(small(sets / "pairs"), arch="mobile-resnet9")
    assert (unpaired.settings.data.task, paired.settings.data.task) == ("unpaired", "paired")
    assert unpaired.settings.student is not None
    assert unpaired.settings.student.width == 2
    assert unpaired.out == Path("runs/toy-dcd-r0.25-s0")
    assert unpaired.settings.data.load_size == 36
    assert not unpaired.resume


def test_pretrain_has_no_student_and_needs_no_perceptual_weights(sets: Path) -> None:
    settings = plan(small(sets / "toy", run={"seed": 4}), "pretrain")
    assert settings.settings.student is None
    assert settings.settings.perceptual.source == "none"
    assert settings.out == Path("runs/toy-pretrain-s4")


def test_options_win_over_the_config_file_and_that_over_the_preset(
    sets: Path, tmp_path: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[optimizer]\nlr = 0.5\nbeta1 = 0.1\n[run]\nseed = 3\n")
    settings = plan(small(sets / "toy", optimizer={"lr": 0.25}), config=config).settings
    assert (settings.optimizer.lr, settings.optimizer.beta1, settings.run.seed) == (0.25, 0.1, 3)
    assert settings.schedule.decay_epochs == 100


@pytest.mark.parametrize(
    "content", ["data = 5", "teacher = 'x'", "teacher.network = 3", "student = 1", "method = []",
                "run = true", "perceptual = 0", "method.options = 2", "schedule = [[1]]", "x = 1"]
)  # fmt: skip
def test_a_config_file_with_a_value_for_a_table_is_refused_and_not_a_crash(
    content: str, sets: Path, tmp_path: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(content)
    overrides = small(sets / "toy")
    for name in ("data", "teacher"):
        if content.startswith(name):
            del overrides[name]
    name = content.split(" ")[0]
    with pytest.raises(ConfigError, match=name) as info:
        plan(overrides, config=config)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("overrides", "given", "message"),
    [
        ({}, {}, "`dataset`: is needed"),
        ({"teacher": {"freeze": True}}, {}, "`freeze_teacher`: needs `teacher` FILE"),
        ({"schedule": {"epochs": 0, "decay_epochs": 0}}, {}, "there would be no training"),
        ({"data": {"load_size": 16}}, {}, "`load_size` 16: must be at least `size` 32"),
        ({"data": {"size": 34}}, {}, "`size` 34: .* needs a multiple of 4"),
        ({"method": {"name": "teacher-only"}}, {}, "`method` teacher-only: does not distill"),
        ({}, {"ratio": 0.5, "student_width": 3}, "`ratio` and `student_width`: give one"),
        ({}, {"arch": "patchgan"}, "is a discriminator"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_starts(
    overrides: Json, given: Json, message: str, sets: Path, tmp_path: Path
) -> None:
    typed = small(sets / "toy", **overrides)
    if message.startswith("`dataset`"):
        del typed["data"]["dataset"]
    with pytest.raises(ConfigError, match=message):
        plan(typed, out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_pretrain_by_a_method_that_distills_names_the_command_for_it(
    sets: Path, tmp_path: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[method]\nname = "dcd"\n')
    with pytest.raises(ConfigError) as info:
        plan(small(sets / "toy"), "pretrain", config=config)
    assert str(info.value) == (
        "`method` dcd: distills, which is for gancomp distill; "
        "gancomp pretrain knows: teacher-only, srgan, gan"
    )


def test_a_missing_dataset_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="horse2zebra"):
        plan(small(tmp_path / "no"))


def test_a_resumed_run_has_the_settings_it_was_started_with(sets: Path, run: Path) -> None:
    saved = read(Settings, json.loads((run / "config.json").read_text())["settings"])
    resumed = resume(run)
    assert resumed.settings == saved
    assert (resumed.out, resumed.resume) == (run, True)
    again = resume(run, small(sets / "toy", perceptual={"source": "none"}), ratio=0.25)
    assert again.settings == saved


def test_resume_lists_all_changes_of_what_a_step_computes(sets: Path, run: Path) -> None:
    changes = {
        "optimizer": {"lr": 0.01},
        "run": {"seed": 9, "workers": 0},
        "data": {"batch_size": 2},
        "method": {"options": {"lambda_dcd": 3.0}},
        "schedule": {"epochs": 7},
    }
    with pytest.raises(ConfigError) as info:
        resume(run, changes)
    message = str(info.value)
    for change in (
        "optimizer.lr: 0.0002 -> 0.01",
        "run.seed: 0 -> 9",
        "data.batch_size: 1 -> 2",
        "method.options.lambda_dcd: None -> 3.0",
        "schedule.epochs: 0 -> 7",
    ):
        assert change in message
    assert "workers" not in message
    assert "choose another `out`" in message


def test_resume_may_change_length_and_conduct(run: Path) -> None:
    changes = {
        "run": {"workers": 0, "log_every": 3, "checkpoint_every": 5, "keep_checkpoints": 7,
                "sample_every": 9, "tensorboard": True, "device": "cpu", "compile": "off"},
        "schedule": {"max_steps": 11, "max_seconds": 60.0},
        "data": {"strict": True},
    }  # fmt: skip
    settings = resume(run, changes).settings.to_json()
    for section, values in changes.items():
        assert {name: settings[section][name] for name in values} == values


@pytest.mark.parametrize(
    "given",
    [{"arch": "resnet6"}, {"student_arch": "resnet6"}, {"student_width": 3}, {"ratio": 0.5}],
)
def test_resume_with_other_networks_is_refused(given: Json, run: Path) -> None:
    (name,) = given
    with pytest.raises(ConfigError, match=f"`{name}` .* was started with another"):
        resume(run, **given)


@pytest.mark.parametrize("change", ["added", "removed", "renamed"])
def test_resume_with_other_files_in_the_dataset_is_refused(
    change: str, sets: Path, run: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "toy"
    shutil.copytree(sets / "toy", changed)
    image = min((changed / "trainA").iterdir())
    if change == "added":
        shutil.copy(image, image.with_name("zz.png"))
    elif change == "removed":
        image.unlink()
    else:
        image.rename(image.with_name("zz.png"))
    with pytest.raises(ConfigError, match="are not those that the run was started with"):
        resume(run, {"data": {"dataset": str(changed)}})


def test_resume_with_the_dataset_at_another_place_goes_on(
    sets: Path, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(sets / "toy", tmp_path / "moved")
    resumed = resume(run, {"data": {"dataset": str(tmp_path / "moved")}})
    assert resumed.files.train.source[0].is_relative_to(tmp_path / "moved")


def test_resume_takes_perceptual_weights_from_another_place_but_no_other_weights(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begun = plan(small(sets / "toy"), out=tmp_path / "run")

    def config(file: str, digest: str) -> Json:
        weights = {"source": "vgg16", "file": file, "sha256": digest}
        return describe_run(begun, None) | {"perceptual": weights}

    with writing_run(begun.out, resume=False) as folder:
        folder.write_config(config("a.pth", "1"))
    resumed = resume(begun.out, {"perceptual": {"file": "elsewhere/b.pth"}})
    assert resumed.settings.perceptual.file == "elsewhere/b.pth"
    with writing_run(begun.out, resume=True) as folder:
        assert begin_or_continue(resumed, folder, config("b.pth", "1"), ConsoleView()) is None
        with pytest.raises(ConfigError, match=r"other perceptual weights \(a.pth\)"):
            begin_or_continue(resumed, folder, config("a.pth", "2"), ConsoleView())


def test_resume_of_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no gancomp run .*or remove `resume=True`"):
        resume(tmp_path)
    with pytest.raises(RunError, match="is no gancomp run"):
        resume(tmp_path / "nothing")


def test_resume_by_another_command_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="is a run of gancomp distill, not pretrain"):
        resume(run, command="pretrain")


def test_resume_without_a_folder_finds_the_run_by_the_options_it_was_started_with(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = small(sets / "toy")
    begun = plan(typed)
    with writing_run(begun.out, resume=False) as folder:
        folder.write_config(describe_run(begun, None))
    assert resume(None, typed).out == begun.out  # type: ignore[arg-type]  # no --out is the point
    with pytest.raises(ConfigError, match="`resume`: give the run's folder with `out`"):
        resume(None)  # type: ignore[arg-type]  # likewise


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": {}}'])
def test_a_damaged_config_is_an_error_with_a_way_out(content: str, run: Path) -> None:
    (run / "config.json").write_text(content)
    with pytest.raises(GancompError) as info:
        resume(run)
    assert "\n" not in str(info.value)


def test_a_known_dataset_keeps_its_presets_under_its_other_name(sets: Path, tmp_path: Path) -> None:
    shutil.copytree(sets / "toy", tmp_path / "summer2winter_yosemite")
    given = {"data": {"dataset": str(tmp_path / "summer2winter_yosemite")}}
    assert plan(given).preset["reported"].startswith("FID 73.63")
    released = plan(given | {"method": {"preset": "dcd-released"}})
    assert released.options.teacher_block_epochs == 6


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": {"max_steps": 20}},
        {"schedule": {"decay_epochs": 5}},
        {"perceptual": {"source": "none"}},
        {"teacher": {"network": {"width": 32}}},
    ],
)
def test_a_reported_figure_is_quoted_with_its_own_settings_only(
    change: Json, sets: Path, tmp_path: Path
) -> None:
    shutil.copytree(sets / "toy", tmp_path / "horse2zebra")
    given: Json = {"data": {"dataset": str(tmp_path / "horse2zebra")}}
    assert plan(given | {"run": {"seed": 3, "workers": 0}}).preset["reported"]
    assert plan(given | change).preset["reported"] is None


@pytest.mark.parametrize(("entry", "value"), [("direction", "BtoA"), ("task", "paired")])
def test_a_teacher_of_another_direction_or_task_is_refused(
    entry: str, value: str, sets: Path, tmp_path: Path
) -> None:
    header = {"direction": "AtoB", "task": "unpaired", entry: value}
    teacher = write_model(tmp_path / "teacher.safetensors", role="teacher", **header)
    with pytest.raises(ConfigError, match=f"was trained for {entry} {value}"):
        plan({"data": {"dataset": str(sets / "toy")}, "teacher": {"source": str(teacher)}})


def test_the_runs_name_has_the_ratio_as_it_was_typed(sets: Path) -> None:
    assert plan(small(sets / "toy"), ratio=0.3).out == Path("runs/toy-dcd-r0.3-s0")


def test_a_time_limit_ends_with_its_sitting_and_a_step_limit_stays(
    sets: Path, tmp_path: Path
) -> None:
    limits = {"max_steps": 9, "max_seconds": 60.0}
    overrides = small(sets / "toy", perceptual={"source": "none"}, schedule=limits)
    begun = plan(overrides, out=tmp_path / "run")
    with writing_run(begun.out, resume=False) as folder:
        folder.write_config(describe_run(begun, None))
    schedule = resume(begun.out).settings.schedule
    assert (schedule.max_steps, schedule.max_seconds) == (9, None)


def test_a_raised_limit_is_written_to_the_run(run: Path) -> None:
    raised = resume(run, {"schedule": {"max_steps": 77}})
    with writing_run(run, resume=True) as folder:
        begin_or_continue(raised, folder, describe_run(raised, None), ConsoleView())
    assert resume(run).settings.schedule.max_steps == 77


def test_a_run_started_with_a_relative_path_goes_on_from_anywhere(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sets)
    begun = plan(small(Path("toy"), perceptual={"source": "none"}), out=tmp_path / "run")
    with writing_run(begun.out, resume=False) as folder:
        folder.write_config(describe_run(begun, None))
    monkeypatch.chdir(tmp_path)
    assert resume(begun.out).files.train.source
