"""`gancomp.sweep`: the command from Python; scores of enlarged images by `eval-sr` among others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ready import context
from tiny_runs import PATIENCE_S
from tiny_sweeps import PLAN, sweep_from_python

import gancomp
from gancomp.data.demo_set import write_demo_set
from gancomp.sweeping.folder import named_values, numbers_in

ENLARGING = """
seeds = [0]
datasets = ["photos"]
[common]
task = "super-resolution"
size = 32
batch-size = 1
device = "cpu"
workers = 0
max-steps = 1
perceptual = "random"
content-tap = "relu1_1"
[teacher]
width = 8
blocks = 1
d-width = 4
[student]
freeze-teacher = true
ratio = 0.5
[methods.gan2g]
method = "gan2g"
[[score]]
command = "eval-sr"
dataset = "photos"
strict = false
[[score]]
command = "eval-sr"
dataset = "photos/train"
[[score]]
metrics = "psnr"
pairs = "teacher"
"""


def test_a_sweep_of_enlarging_models_from_python(tmp_path: Path) -> None:
    write_demo_set(tmp_path / "shapes", size=48, train=2, test=1)
    for split, side in (("train", "trainA"), ("test", "testA")):
        shutil.copytree(tmp_path / "shapes" / side, tmp_path / "photos" / split)
    (tmp_path / "plan.toml").write_text(ENLARGING)
    process = context.Process(target=sweep_from_python, args=(tmp_path,))
    process.start()
    process.join(4 * PATIENCE_S)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 0, said
    assert said == ""
    first, again = json.loads((tmp_path / "documents.json").read_text())
    assert first == again == json.loads((tmp_path / "out" / "sweep.json").read_text())
    teacher, student = first["runs"]
    means = {"psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"}
    both = {f"{name} ({place})" for name in means for place in ("photos", "photos/train")}
    assert set(teacher["values"]) == both
    assert set(student["values"]) == {*both, "psnr"}
    kept = json.loads((tmp_path / "out" / student["path"] / "eval.json").read_text())["scores"]
    assert student["values"]["psnr_y (photos)"] == kept[0]["mean"]["psnr_y"]
    assert student["protocols"][0]["protocol"]["num_images"] == 1
    rows = {row["method"]: row["scores"] for row in first["table"]}
    assert rows["gan2g"]["psnr"] == {"mean": student["values"]["psnr"], "sd": None, "n": 1}


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"jobs": 0}, "jobs", "`jobs` 0: must be at least 1"),
        ({"jobs": 1.5}, "jobs", "`jobs` 1.5: should be of type int"),
        ({"devices": "cpu"}, "devices", "`devices` cpu: plan.toml has a device of its own"),
        ({"devices": [3]}, "devices", "`devices` 3: should be of type str"),
        ({"out": "plan.toml"}, "out", "`out` plan.toml: is a file; choose a folder"),
        ({"plan": "no.toml"}, None, "no.toml: cannot be read"),
        ({"plan": "bad.toml"}, None, "bad.toml: seeds: should be whole numbers"),
    ],
)
def test_mistakes_name_the_argument(
    given: dict[str, Any],
    field: str | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plan.toml").write_text(PLAN)
    Path("bad.toml").write_text(PLAN.replace("[0, 1]", "0"))
    with pytest.raises(gancomp.GancompError) as caught:
        gancomp.sweep(**({"plan": "plan.toml", "out": "out"} | given))
    assert said in str(caught.value)
    assert caught.value.field == field
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.toml", "plan.toml"]


def test_equal_names_of_several_scores_are_told_apart() -> None:
    tests = {"asked": {"metrics": "fid,kid"}, "values": {"fid": 3.0, "kid": 1.0}}
    everything = {"metrics": "fid", "fake-split": "all", "strict": True, "recursive": False}
    passes = [tests, {"asked": everything, "values": {"fid": 2.0}}]
    assert named_values(passes) == {"fid": 3.0, "kid": 1.0, "fid (all, strict)": 2.0}
    document: dict[str, Any] = {"mean": {"psnr_y": 30.0, "ssim_y": None}, "images": [], "scale": 4}
    assert numbers_in(document) == {"psnr_y": 30.0}
    assert document == {"scale": 4}
