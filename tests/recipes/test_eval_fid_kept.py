"""What `gancomp eval-fid` keeps: scores in the run, statistics, features of reals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run_command, saved_scores, write_model
from stand_ins import features, images

from gancomp.metrics.fid import statistics_of
from gancomp.metrics.statistics_files import load_statistics
from gancomp.scoring import measuring


@pytest.fixture
def run(tmp_path: Path, toy: Path) -> Path:
    """A run's folder, the latest, with a student of `toy`."""
    folder = tmp_path / "runs" / "some"
    folder.mkdir(parents=True)
    config = {"dataset": {"name": "toy", "root": str(toy)}, "settings": {}}
    (folder / "config.json").write_text(json.dumps(config))
    write_model(folder / "student.safetensors", width=2, dataset="toy")
    write_model(folder / "teacher.safetensors", width=4, role="teacher", dataset="toy")
    (tmp_path / "runs" / "latest").symlink_to("some")
    return folder


@pytest.mark.usefixtures("stub")
def test_without_a_model_the_latest_run_s_student_is_scored_and_remembered(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = run_command(capsys, "eval-fid", "--device", "cpu", "--json").document
    assert Path(score["fake"]).name == "student.safetensors"
    assert json.loads((run / "eval.json").read_text()) == {"schema": 1, "scores": [score]}
    assert score["protocol"] == {
        "features": "pytorch-fid InceptionV3 pool3 (2048), bilinear resize to 299",
        "precision": "float32 features",
        "device": "cpu",
        "reals": "native size",
        "fakes": "all test sources, bicubic to 32x32, output truncated to 8 bits",
        "task": "unpaired",
        "direction": "AtoB",
        "step": 1,
        "selection": "last",
    }


@pytest.mark.usefixtures("stub")
def test_eval_json_keeps_scores_of_other_protocols_and_replaces_equal_ones(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["--size", 16], [], ["--real-split", "test"]):
        assert run_command(capsys, "eval-fid", run, *more).status == 0
    run_command(capsys, "eval-fid", run / "teacher.safetensors")
    scores = saved_scores(run)
    assert len(scores) == 4
    assert [Path(score["fake"]).stem for score in scores] == ["student"] * 3 + ["teacher"]
    assert [score["n_real"] for score in scores] == [7, 7, 3, 7]


@pytest.mark.usefixtures("stub")
def test_a_damaged_eval_json_costs_no_score(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "eval.json").write_text("{")
    outcome = run_command(capsys, "eval-fid", run, "--json")
    assert saved_scores(run) == [outcome.document]
    assert "eval.json: was damaged; it is kept as eval.damaged-1.json" in outcome.err
    assert (run / "eval.damaged-1.json").read_text() == "{"


@pytest.mark.usefixtures("stub")
def test_without_a_home_folder_nothing_is_kept_between_commands_and_that_is_said_once(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")
    outcome = run_command(capsys, "eval-fid", run, "--json")
    assert outcome.status == 0
    assert outcome.err.count("no home folder: ") == 1
    assert saved_scores(run) == [outcome.document]


@pytest.mark.usefixtures("stub")
def test_a_score_that_cannot_be_kept_is_shown_all_the_same(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "eval.json").mkdir()
    outcome = run_command(capsys, "eval-fid", run, "--json")
    assert outcome.status == 0
    assert outcome.document["n_fake"] == 3
    assert "warning: the score is not kept" in outcome.err
    assert "eval.json" in outcome.err


@pytest.mark.usefixtures("stub")
def test_saved_statistics_give_the_same_score(
    model: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stats = tmp_path / "stats.npz"
    first = run_command(capsys, "eval-fid", model, "--save-stats", stats, "--json").document
    assert load_statistics(stats).num_images == 7
    second = run_command(capsys, "eval-fid", model, "--real", stats, "--json").document
    assert second["fid"] == pytest.approx(first["fid"], abs=1e-9)
    assert (second["n_real"], second["real"]) == (7, [str(stats)])


@pytest.mark.usefixtures("stub")
def test_statistics_without_a_count_are_scored_with_an_unknown_one(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reals = statistics_of(features(images(toy, "testB")))
    np.savez(tmp_path / "old.npz", mu=reals.mean, sigma=reals.covariance)
    arguments = ["--real", tmp_path / "old.npz", "--fake", toy / "testA"]
    outcome = run_command(capsys, "eval-fid", *arguments, "--json")
    assert outcome.document["n_real"] is None
    assert outcome.document["fid"] > 0
    assert outcome.err.startswith("warning: FID of 3 images")


@pytest.mark.usefixtures("stub")
def test_statistics_of_the_fakes_count_as_the_folder_they_are_of(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--real", toy / "testB", "--fake", toy / "testA"]
    expected = run_command(capsys, "eval-fid", *pair, "--json").document
    for name, folder in (("real.NPZ", "testB"), ("fake.npz", "testA")):
        found = statistics_of(features(images(toy, folder)))
        with (tmp_path / name).open("wb") as file:
            np.savez(file, mu=found.mean, sigma=found.covariance, n_images=found.num_images)
    reals, fakes = tmp_path / "real.NPZ", tmp_path / "fake.npz"
    for real, fake in ((toy / "testB", fakes), (reals, fakes), (reals, toy / "testA")):
        score = run_command(capsys, "eval-fid", "--real", real, "--fake", fake, "--json").document
        assert score["fid"] == pytest.approx(expected["fid"], abs=1e-5)
        assert score["n_fake"] == expected["n_fake"]


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("name", ["stats.npy", "stats.pkl"])
def test_other_files_of_statistics_are_told_what_is_wanted(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    for pair in (["--real", tmp_path / name, "--fake", toy / "testA"],
                 ["--real", toy / "testA", "--fake", tmp_path / name]):  # fmt: skip
        outcome = run_command(capsys, "eval-fid", *pair)
        assert outcome.status == 2
        assert (
            f"{tmp_path / name}: is a file; give a folder of images, or statistics as an .npz"
            in outcome.err
        )


@pytest.mark.usefixtures("stub")
def test_reals_are_computed_once(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    original = measuring.features_of

    def counting(*args: Any) -> Any:
        rows = original(*args)
        counted.append(len(rows))
        return rows

    monkeypatch.setattr(measuring, "features_of", counting)
    first, second = (run_command(capsys, "eval-fid", model, "--json").document for _ in range(2))
    assert counted == [3, 7, 3]
    assert first == second
