"""A plan is read with all its errors named, and becomes runs that share equal teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gancomp.cli  # noqa: F401  # which gives `eval` its options
from gancomp.errors import ConfigError
from gancomp.recipes.sweep import scoring_options
from gancomp.sweeping.plan import SweepPlan, read_plan
from gancomp.sweeping.runs import runs_of

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "study"
PLAN = """
seeds = [0, 1]
[datasets.horse2zebra]
[datasets.shoes]
dataset = "data/edges2shoes"
gan = "hinge"
[common]
size = 64
[teacher]
width = 16
[student]
freeze-teacher = true
[methods.dcd]
[methods.plain]
method = "gan-compression"
lambda-distill = 0
[methods.plain.shoes]
lambda-recon = 100
[methods.alone]
teacher = false
freeze-teacher = false
[grid.student]
ratio = [0.25, 0.5]
[grid.teacher]
lr = [1e-3, 2e-4]
[score]
metrics = "fid"
mirror = false
"""
SCORED = '\n[[score]]\nmetrics = "fid"\n'
ENLARGES = PLAN.partition("[score]")[0] + '[score]\ncommand = "eval-sr"\n'


def read(tmp_path: Path, text: str = PLAN) -> SweepPlan:
    (tmp_path / "plan.toml").write_text(text)
    return read_plan(tmp_path / "plan.toml", scoring_options())


def test_runs_with_equal_teachers_share_one_that_comes_before_them(tmp_path: Path) -> None:
    runs = runs_of(read(tmp_path))
    teachers = [run for run in runs if run.command == "pretrain"]
    assert len(teachers) == 2 * 2 * 2  # dataset, seed, rate
    assert len(runs) == len(teachers) + 2 * 2 * 3 * 4
    assert len({run.name for run in runs}) == len(runs)
    places = {run.name: place for place, run in enumerate(runs)}
    for run in runs:
        alone = run.method in ("alone", "teacher")
        assert (run.needs is None) == alone
        if run.needs is not None:
            assert places[run.needs] < places[run.name]
            teacher = runs[places[run.needs]]
            assert (teacher.seed, teacher.dataset) == (run.seed, run.dataset)
            assert teacher.options["lr"] == run.varied["teacher.lr"]


def test_a_run_is_the_command_line_that_makes_it(tmp_path: Path) -> None:
    runs = {run.name: run for run in runs_of(read(tmp_path))}
    run = runs["shoes-s1-plain-student-ratio-0.25-teacher-lr-0.001"]
    typed = " ".join(run.words(Path("out/runs")))
    assert typed == (
        "distill --size 64 --dataset data/edges2shoes --gan hinge --seed 1 --freeze-teacher "
        "--method gan-compression --lambda-distill 0 --lambda-recon 100 --ratio 0.25 "
        f"--teacher out/runs/shoes-s1-teacher-teacher-lr-0.001 --out out/runs/{run.name}"
    )
    assert "--train-teacher" in runs[
        "horse2zebra-s0-alone-student-ratio-0.5-teacher-lr-0.0002"
    ].words(Path("runs"))
    assert "lambda-recon" not in str(runs[f"horse2zebra{run.name[5:]}"].options)
    words = run.score_words(Path("runs"), run.scores[0])
    expected = f"runs/{run.name}/student.safetensors --metrics fid --no-mirror --json"
    assert words == ["eval", *expected.split()]


def test_a_teacher_is_not_compared_with_itself(tmp_path: Path) -> None:
    pairs = '[[score]]\nmetrics = "fid"\n[[score]]\nmetrics = ["psnr", "ssim"]\npairs = "teacher"\n'
    runs = runs_of(read(tmp_path, PLAN.partition("[score]")[0] + pairs))
    assert {(run.command, len(run.scores)) for run in runs} == {("pretrain", 1), ("distill", 2)}
    assert runs[1].scores[1] == {"metrics": "psnr,ssim", "pairs": "teacher"}


def test_all_errors_are_named_at_once(tmp_path: Path) -> None:
    text = """
seeds = [0, 0]
sweed = 1
datasets = []
[common]
ratio = 0.5
size = true
seed = 3
[teacher]
max-step = 4
[student]
ratio = "wide"
teacher = 3
[methods.teacher]
[methods."a/b"]
freeze-teacher = "yes"
select = "first"
[methods]
dcd = 3
[grid.student]
ratio = 0.5
[grid.score]
[score]
metrics = ["fid", "fidd"]
fake-splits = "all"
json = true
"""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    expected = [
        "sweed: is no key of a plan; did you mean seeds?",
        "seeds: should be whole numbers, each once",
        "datasets: should name some",
        "common.ratio: is no option here; it belongs in [student]",
        "common.size: should be text",
        "common.seed: is given to each run by the sweep",
        "teacher.max-step: is no option here; did you mean max-steps?",
        "student.ratio: should be a number",
        "student.teacher: should be false, a file or a run",
        "methods.teacher: this name is the teacher's",
        "methods.a/b: use letters, digits",
        "methods.a/b.freeze-teacher: should be true or false",
        "methods.a/b.select: is none of last, held-out, best-on-test",
        "methods.dcd: should be a table",
        "grid.student.ratio: should be a list of values",
        "grid.score: is none of common, teacher, student",
        "score.metrics: fidd: is none of fid, kid, ",
        "score.fake-splits: is no option of eval; did you mean fake-split?",
        "score.json: is given by the sweep",
    ]
    assert [part for part in expected if part not in message] == []
    assert message.startswith(f"{tmp_path / 'plan.toml'}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (PLAN.replace("[teacher]\nwidth = 16\n", ""), "grid.teacher: there is no [teacher]"),
        (PLAN.partition("[score]")[0], "score: is needed"),
        (PLAN.replace("[0.25, 0.5]", "[0.5, 0.5]"), "grid.student.ratio: has a value twice"),
        ("datasets = [", "is not valid TOML"),
        (ENLARGES, 'score.dataset: eval-sr needs one, as dataset = "Set5"'),
        (ENLARGES + "dataset = true", "score.dataset: should be text"),
        (ENLARGES + 'dataset = "a"\npairs = "teacher"', "score.pairs: is no option of eval-sr"),
        (ENLARGES.replace("-sr", "-st"), "score.command: is none of eval, eval-sr"),
        (
            PLAN.partition("[score]")[0] + 2 * SCORED,
            "score: two tables are equal; remove one of them",
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert part in str(caught.value)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.toml")), ids=lambda file: file.stem)
def test_the_study_is_a_plan(file: Path) -> None:
    runs = runs_of(read_plan(file, scoring_options()))
    methods: dict[str, Any] = {run.method: run.options for run in runs}
    assert len(methods) >= 6
    assert (
        len({options["max-steps"] for name, options in methods.items() if name != "teacher"}) == 1
    )
    assert all(options["freeze-teacher"] for name, options in methods.items() if name != "teacher")
