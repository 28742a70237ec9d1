"""The scripts in examples/ do what their first lines say, as a user would run them."""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run_command, write_model
from PIL import Image
from ready import context, run_script

from gancomp.data.demo_set import write_demo_set
from gancomp.data.layout import scan

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name: str, folder: Path, *arguments: str) -> str:
    """Runs an example in a folder and returns what it printed; all has been imported before."""
    said = folder.parent / f"{folder.name}-{Path(name).name}"
    process = context.Process(
        target=run_script, args=(EXAMPLES / name, list(arguments), folder, said)
    )
    process.start()
    process.join()
    assert process.exitcode == 0, said.with_suffix(".err").read_text()
    return said.with_suffix(".out").read_text()


def run_example_anew(name: str, folder: Path) -> None:
    """Runs an example in an empty folder, by an interpreter that has imported nothing."""
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=folder,
        # tiny networks: threads only get in the way
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_own_data_goes_from_a_folder_to_translated_pictures(tmp_path: Path) -> None:
    run_example_anew("own_data.py", tmp_path)
    translated = sorted(path.name for path in (tmp_path / "translated").iterdir())
    assert translated == ["red_0.png", "red_1.png", "red_2.png"]
    assert (tmp_path / "red_to_blue.safetensors").exists()


@pytest.mark.slow
def test_the_python_api_trains_opens_counts_and_runs_a_model(tmp_path: Path) -> None:
    printed = run_example("python_api.py", tmp_path)
    assert "dcd on unpaired data" in printed
    assert "step 2: " in printed
    assert "a tensor in, a tensor out: (2, 3, 64, 64)" in printed
    assert "batch_size is wrong: `batch_size` 0: must be at least 1" in printed
    assert len(list(tmp_path.glob("*_translated.png"))) == 2
    again = run_example("python_api.py", tmp_path, "runs/latest")
    (counted,) = [line for line in printed.splitlines() if line.startswith("parameters ")]
    assert counted in again.splitlines()


@pytest.mark.slow
def test_a_method_in_a_file_of_its_own_trains(tmp_path: Path) -> None:
    run_example("add_a_method.py", tmp_path)
    run = tmp_path / "runs" / "mimic"
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert settings["method"]["name"] == "mimic"
    assert settings["method"]["options"] == {"lambda_copy": 20.0}
    losses = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["losses"]
    assert [name for name in losses if name.startswith("student/")] == ["student/copy"]
    assert (run / "student.safetensors").exists()


@pytest.mark.slow
def test_the_short_super_resolution_study_compares_techniques_and_goes_on(tmp_path: Path) -> None:
    write_demo_set(tmp_path / "photos", size=48, train=3, test=2)
    arguments = ["--photos", "photos/trainA", "--benchmark", "photos/testA", "--out", "runs"]
    arguments += ["--seeds", "2", "--also", "gan2g"]
    arguments += ["--features", "--perceptual random --content-tap relu1_1"]
    arguments += ["--more", "--device cpu --width 4 --blocks 1 --batch-size 1 --max-steps 1"]
    arguments += ["--stages", "--teacher-srresnet-steps 1 --student-srresnet-steps 1"]
    arguments[-1] += " --teacher-content-steps 1"
    printed = run_example("sr_short.py", tmp_path, *arguments)
    scores = json.loads((tmp_path / "runs" / "scores.json").read_text())
    names = {"g2g-al", "no-kd", "gan2g", "bicubic", "student as SRResNet"}
    assert names <= scores.keys()
    assert all(len(values) == 2 for values in scores.values())
    assert "no-kd" in printed.splitlines()[-3]
    again = run_example("sr_short.py", tmp_path, *arguments)
    assert json.loads((tmp_path / "runs" / "scores.json").read_text()) == scores
    assert "--resume" in again


@pytest.mark.slow
def test_the_short_synthesis_study_trains_with_and_without_the_teacher_and_goes_on(
    tmp_path: Path,
) -> None:
    write_demo_set(tmp_path / "photos", size=32, train=5, test=2)
    weights = Path(os.environ.get("TORCH_HOME", "")) / "hub" / "checkpoints"
    num = "3" if list(weights.glob("pt_inception*")) else "0"
    arguments = ["--photos", "photos/trainA", "--out", "runs", "--seeds", "0", "--num", num]
    arguments += ["--more", "--device cpu --batch-size 4 --max-steps 2 --workers 0"]
    run_example("synthesis_short.py", tmp_path, *arguments)
    runs = {"teacher-s0": 0.0, "plain-s0": 0.0, "dgl-s0": 0.1}
    for name, weight in runs.items():
        settings = json.loads((tmp_path / "runs" / name / "config.json").read_text())["settings"]
        assert settings["method"]["options"].get("lambda_dgl", weight) == weight
    scores = json.loads((tmp_path / "runs" / "scores.json").read_text())
    assert set(scores) == ({"teacher", "plain", "dgl"} if num != "0" else set())
    assert "--resume" in run_example("synthesis_short.py", tmp_path, *arguments)


def test_every_example_script_has_a_test() -> None:
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert len(scripts) >= 3
    tests = ("test_examples.py", "test_readme.py", "test_many_gpus.py")
    tested = "".join(Path(__file__).with_name(name).read_text() for name in tests)
    assert [name for name in scripts if name not in tested] == []


def test_the_generator_of_ones_own_is_counted_and_its_width_is_its_factorys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = f"{EXAMPLES / 'own_generator.py'}:make_generator"
    counted = [
        run_command(
            capsys, "profile", "--arch", code, *["--width-argument", "ngf"], *width, "--json"
        )
        for width in (["--width", "8"], ["--width", "16"])
    ]
    small, large = (outcome.document["models"][0]["params"] for outcome in counted)
    assert 3 * small < large < 4 * small


def test_what_a_step_of_a_method_costs_is_tabled_with_the_names_of_all_terms(
    tmp_path: Path,
) -> None:
    script = runpy.run_path(str(EXAMPLES / "methods_cost.py"))  # not in another process: cheap
    write_demo_set(tmp_path / "stripes", size=32, train=3, test=1)
    options = ["size=32", "width=8", "d_layers=1", 'perceptual="none"']
    given = argparse.Namespace(
        dataset=str(tmp_path / "stripes"), task="unpaired", steps=3, set=options
    )
    cost = script["measure"]("fitnet", given, tmp_path / "fitnet")
    assert len(cost["each"]) == 2
    row, again = script["table"]([cost, cost]).splitlines()[2:]
    networks = "mobile-resnet9 8, 0.04M; mobile-resnet9 2, 0.00M"
    assert row.startswith(f"| `fitnet` | {networks} | 3 | ")
    assert " | 1.00 | " in row
    assert row.endswith(" | student: fitnet, gan |")
    assert again.startswith("| `fitnet`, again | ")
    assert script["methods_of"]("paired")[0] == "dcd"


def test_the_paired_set_of_the_study_is_drawn_from_unpaired_images(tmp_path: Path) -> None:
    write_demo_set(tmp_path / "data", size=32, train=2, test=1)
    run_example("study/edges2zebras.py", tmp_path, str(tmp_path / "data"), str(tmp_path / "out"))
    files = scan(tmp_path / "out", task="paired")
    assert (len(files.train.source), files.test and len(files.test.source)) == (2, 1)
    pair = Image.open(files.train.source[0])
    assert pair.size == (512, 256)
    assert set(pair.crop((0, 0, 256, 256)).convert("L").tobytes()) == {0, 255}


def test_the_table_of_deployed_files_has_a_line_for_each_way_to_run_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = runpy.run_path(str(EXAMPLES / "deploy_table.py"))
    model = tmp_path / "model.safetensors"
    write_model(model, "srresnet", settings={"blocks": 1}, task=None)
    script["FORMATS"][:] = [(".pt2", {}), (".txt", {"format": "unheard-of"})]
    script["show"](model, tmp_path, None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("|") for line in lines] == [7] * 4
    assert "unknown format" in lines[0]
    assert [
        name in line for name, line in zip(("eager", "gancomp", ".pt2"), lines[1:], strict=True)
    ]
