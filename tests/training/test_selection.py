from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, run_command
from stand_ins import Means

from gancomp.data.demo_set import write_demo_set
from gancomp.data.in_order import uint8_folder
from gancomp.data.layout import scan
from gancomp.errors import ConfigError, WeightsError
from gancomp.export.model import open_model
from gancomp.metrics.statistics_files import cached_statistics
from gancomp.planning.plan import make_plan
from gancomp.scoring import measuring
from gancomp.scoring import request as requests
from gancomp.settings import Overrides, Settings
from gancomp.training import selection as recipe
from gancomp.training.selection import divide


@pytest.fixture(params=["unpaired", "paired"])
def toy(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(recipe, "load_inception", lambda say: Means())
    write_demo_set(tmp_path / "toy", size=32, train=8, test=3, paired=request.param == "paired")
    return tmp_path / "toy"


def settings_for(toy: Path, **selection: Any) -> Settings:
    overrides = {"data": {"dataset": str(toy), "size": 256}, "selection": selection}
    return make_plan("distill", Overrides(settings=overrides), print).settings


def test_held_out_images_are_not_trained_on_and_the_test_set_is_left_alone(toy: Path) -> None:
    files = scan(toy)
    division = divide(files, settings_for(toy, select="held-out", held_out=3))
    held, kept = set(division.judging.source), set(division.training.train.source)
    assert len(division.judging.source) == 3
    assert held | kept == set(files.train.source)
    assert not held & kept
    assert not held & set(files.test.source)
    if files.task == "paired":
        assert division.judging.target == division.judging.source  # halves of the same files
    else:
        assert division.judging.target == division.training.train.target == files.train.target


def test_the_last_student_and_best_on_test_train_on_everything(toy: Path) -> None:
    files = scan(toy)
    assert divide(files, settings_for(toy)).training == files
    by_test = divide(files, settings_for(toy, select="best-on-test"))
    assert (by_test.training, by_test.judging) == (files, files.test)


def test_which_images_are_held_out_follows_from_the_seed(toy: Path) -> None:
    files, settings = scan(toy), settings_for(toy, select="held-out", held_out=3)
    assert divide(files, settings) == divide(files, settings)


def test_holding_out_more_than_half_is_refused(toy: Path) -> None:
    with pytest.raises(ConfigError, match="`held_out` 5: is more than half"):
        divide(scan(toy), settings_for(toy, select="held-out", held_out=5))


def test_the_best_student_is_handed_out_and_the_last_one_kept(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([30.0, 10.0, 20.0])
    monkeypatch.setattr(recipe, "fid_from_features", lambda features, statistics: next(scores))
    options = SMALL.replace("--max-steps 1", "--max-steps 3").split()
    select = ["--select", "held-out", "--held-out", "2", "--eval-every", "1"]
    arguments = ["--dataset", toy, "--perceptual", "none", "--out", "run", *options, *select]
    outcome = run_command(capsys, "distill", *arguments, "--json")
    assert outcome.status == 0, outcome.err
    best, last = (open_model(Path("run") / name) for name in ("student.safetensors", recipe.LAST))
    assert (best.header["step"], best.header["selection"]) == (2, "held-out")
    assert last.header["step"] == 3
    document = json.loads((Path("run") / recipe.HISTORY).read_text())
    assert [item["fid"] for item in document["history"]] == [30.0, 10.0, 20.0]
    assert {item["n_fake"] for item in document["history"]} == {2}


def test_three_scores_build_inception_once_and_read_the_reals_once(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Means] = []
    read: list[int] = []
    hashed: list[int] = []

    def build(say: object) -> Means:
        built.append(Means())
        return built[-1]

    def reading(paths: Sequence[Path], **options: Any) -> Any:
        read.append(len(paths))
        return uint8_folder(paths, **options)

    def hashing(files: Sequence[Path], *arguments: Any, **options: Any) -> Any:
        hashed.append(len(files))
        return cached_statistics(files, *arguments, **options)

    monkeypatch.setattr(recipe, "load_inception", build)
    monkeypatch.setattr(requests, "uint8_folder", reading)
    monkeypatch.setattr(measuring, "cached_statistics", hashing)
    options = SMALL.replace("--max-steps 1", "--max-steps 3").split()
    select = ["--select", "best-on-test", "--eval-every", "1"]
    arguments = ["--dataset", toy, "--perceptual", "none", "--out", "run", *options, *select]
    assert run_command(capsys, "distill", *arguments, "--json").status == 0
    assert len(json.loads((Path("run") / recipe.HISTORY).read_text())["history"]) == 3
    assert (len(built), read, hashed) == (1, [3], [3])


def test_scoring_leaves_training_as_it_was(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = SMALL.replace("--max-steps 1", "--max-steps 3").split()
    students = []
    for every in ("1", "100"):
        select = ["--select", "best-on-test", "--eval-every", every]
        arguments = ["--dataset", toy, "--perceptual", "none", "--out", every, *options, *select]
        assert run_command(capsys, "distill", *arguments, "--json").status == 0
        name = recipe.LAST if (Path(every) / recipe.LAST).exists() else "student.safetensors"
        students.append(open_model(Path(every) / name).network.state_dict())
    assert all(bool((students[0][key] == value).all()) for key, value in students[1].items())


@pytest.mark.parametrize(
    ("held_out", "has_weights", "needle"), [("2", False, "no weights"), ("5", True, "--held-out 5")]
)
def test_what_keeps_a_student_from_being_scored_is_said_before_a_run_exists(
    held_out: str,
    has_weights: bool,
    needle: str,
    toy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(say: object) -> None:
        raise WeightsError("no weights here; put them there")

    if not has_weights:
        monkeypatch.setattr(recipe, "load_inception", missing)
    select = ["--select", "held-out", "--held-out", held_out]
    options = ["--perceptual", "none", "--out", "run", *SMALL.split(), *select]
    outcome = run_command(capsys, "distill", "--dataset", toy, *options)
    assert (outcome.status, needle in outcome.err) == (2, True)
    assert not Path("run").exists()
