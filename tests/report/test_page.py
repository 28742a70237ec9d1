"""The page as a file: whole, harmless, small, the same every time, whatever a run lacks."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import pytest
from commands import run_command
from PIL import Image
from report_runs import HOSTILE, keep_scores, write_data, write_run

from gancomp.api.run import Run
from gancomp.errors import RunError
from gancomp.report import page
from gancomp.report.facts import facts
from gancomp.report.page import LIMIT, ReportRequest, report
from gancomp.report.pictures import encoded, examples_of
from gancomp.report.progress import losses
from gancomp.report.repeat import Repeat, repeat
from gancomp.report.subjects import Subject, subjects_of

pytest.importorskip("matplotlib", reason="needs the extra report")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    path = write_run(tmp_path_factory.mktemp("runs") / "first", data)
    keep_scores(path)
    return path


@pytest.fixture(scope="module")
def text(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the run."""
    return written(tmp_path_factory.mktemp("page") / "report.html", run)


def written(out: Path, *runs: Path, **options: str) -> str:
    report(ReportRequest(runs, out, **options), lambda message: None)  # type: ignore[arg-type]  # a title
    return out.read_text()


def test_the_page_of_a_run_has_all_parts_and_asks_for_nothing(text: str) -> None:
    parts = ("scores", "pareto", "costs", "pictures", "samples", "losses", "facts", "again")
    assert all(f'<section id="{name}">' in text for name in parts)
    assert not re.findall(r'(?:src|href)="(?!data:image/|#|data:,)', text)
    assert not re.findall(r"url\((?!#|&quot;|\"data:)", text)
    addresses = set(re.findall(r"https?://[^\s'\"<]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name within an icon, not asked for
    pictures = re.findall(r"<img [^>]*>", text.partition("<script")[0])
    # for each example the left one (to be filled), the student, two to choose from; and the grids
    assert len(pictures) == 2 * 4 + 3
    assert all(re.search(r' alt="[^"]+"', tag) or 'class="before"' in tag for tag in pictures)
    names = re.findall(r' id="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert len(text.encode()) < LIMIT


def test_scores_have_their_interval_and_the_student_its_place(text: str) -> None:
    assert "<td>90.00 (86.00 to 95.00)</td>" in text
    assert "teacher 60.50; lower is better" in text
    assert "FID against MACs: teacher " in text
    assert "Latency was not measured" in text


def test_names_that_are_code_stay_text(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "repeat", lambda subject: Repeat(HOSTILE, HOSTILE, HOSTILE, True))
    run = write_run(tmp_path / HOSTILE.replace("/", ":"), data)
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["name"] = config["preset"]["source"] = HOSTILE
    (run / "config.json").write_text(json.dumps(config))
    lines = (run / "metrics.jsonl").read_text().replace("student/gan", "<script>/<script>")
    (run / "metrics.jsonl").write_text(lines)
    text = written(tmp_path / "report.html", run, title=HOSTILE)
    assert f"<title>{html.escape(HOSTILE)}</title>" in text
    assert text.count("<script") == 1


def test_stages_and_the_choice_of_the_student_are_shown(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    for name in ("1-student-gan", "0-teacher-gan"):  # shown in their order
        stage = tmp_path / "run" / "stages" / name
        stage.mkdir(parents=True)
        for file in ("config.json", "metrics.jsonl"):
            shutil.copy(run / file, stage / file)
    history = [{"step": step, "fid": fid} for step, fid in ((1, 90.0), (2, 70.5), (3, 80.0))]
    document = {"schema": 1, "select": "held-out", "history": history}
    (tmp_path / "run" / "selection.json").write_text(json.dumps(document))
    subject = Subject("run", Run.open(tmp_path / "run"))
    text = losses(subject, "")
    stages = ("0-teacher-gan", "1-student-gan")
    heads = [text.index(f"<h3>Stage {name}: 3 steps</h3>") for name in stages]
    assert heads == sorted(heads)
    assert heads[-1] < text.index("<h3>The run itself</h3>")
    assert text.count('aria-label="Losses of the student over the steps: ') == 3
    assert "Scored 3 times on training images held out for that; the student of step 2" in text
    assert "FID from 90.00 to 80.00, least 70.50 at step 2." in text
    names = re.findall(r' id="([^"]+)"', text)
    assert len(names) == len(set(names))
    (tmp_path / "run" / "selection.json").write_text("{")
    with pytest.raises(RunError, match=r"selection\.json"):
        losses(subject, "")


def test_what_a_run_lacks_is_said(data: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", data, bare=True)
    request = ReportRequest([run], tmp_path / "report.html")
    result = report(request, lambda message: None)
    assert result["missing"] == {"run": ["losses", "scores", "samples", "pictures", "generators"]}
    text = (tmp_path / "report.html").read_text()
    for said in (
        "No scores were kept",
        "Nothing to plot",
        "No generator was written yet",
        "No pictures: the run has written no generator yet",
        "has no sample grids",
        "No losses were logged yet",
    ):
        assert said in text


def test_several_runs_are_compared_and_other_protocols_are_not_plotted(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "repeat", lambda subject: Repeat("", "", "", True))  # takes seconds
    second = write_run(tmp_path / "second", data, width=3, seed=1)
    keep_scores(second, student=80.0, n_fake=60)
    text = written(tmp_path / "report.html", run, second)
    assert text.count("<details") - text.count('class="card run"') >= 4
    assert '<th scope="row">first</th><td>dcd</td><td>0</td><td>student</td>' in text
    assert '<th scope="row">second</th><td>dcd</td><td>1</td><td>student</td>' in text
    assert "2 scored by another protocol are left out" in text


def test_runs_of_one_name_are_told_apart(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other" / "first")
    names = [item.name for item in subjects_of([run, tmp_path / "other" / "first"], latency=None)]
    assert names == [f"{run.parent.name}/first", "other/first"]


def test_without_the_dataset_the_last_grid_is_cut_up(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    run = write_run(tmp_path / "run", tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    (subject,) = subjects_of([run], latency=None)
    examples = examples_of(subject)
    assert [list(item.images) for item in examples.found] == [["input", "teacher", "student"]] * 2
    assert examples.found[1].images["student"].getpixel((0, 0)) == (240, 40, 90)
    assert "no such folder" in examples.origin
    assert "could not be checked" in repeat(subject).remark


def test_the_command_resolves_to_the_settings_of_the_run(run: Path) -> None:
    (subject,) = subjects_of([run], latency=None)
    found = repeat(subject)
    assert found.exact
    assert "--arch mobile-resnet6" in found.command
    assert "--student-width 2" in found.command
    assert "Checked" in found.remark


def test_steps_that_were_saved_but_not_logged_count(run: Path) -> None:
    (subject,) = subjects_of([run], latency=None)
    assert subject.last_step == 3
    saved = run / "checkpoints" / "step_00000004"
    saved.mkdir(parents=True)
    try:
        assert subject.last_step == 4
    finally:
        shutil.rmtree(saved.parent)


def test_pictures_are_kept_exactly_where_they_fit_and_made_smaller_where_not() -> None:
    noise = Image.effect_noise((256, 256), 90)
    assert encoded(noise, 200_000).startswith("data:image/png;")
    lossy = encoded(noise.convert("RGB"), 12_000)
    assert lossy.startswith("data:image/webp;")
    assert len(lossy) < 17_000


def test_a_page_that_is_too_large_gets_smaller_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(page, "_page", lambda *given: "x" * 7 * given[4].most)
    text = page._within_limit(ReportRequest([], tmp_path), [], [], [])
    assert LIMIT / 2 <= len(text) < LIMIT


@pytest.mark.parametrize(
    ("line", "named", "way_out"),
    [
        ("report", "--out", "gancomp report --help"),
        ("report nosuch -o new.html", "nosuch", "check the path"),
        ("report RUN RUN -o new.html", "given already", "name each run once"),
        ("report RUN -o new.pdf", "--out new.pdf", ".html"),
        ("report RUN/config.json -o new.html", "config.json", "folder of a run"),
        ("report RUN -o new.html --threads 1", "--threads 1", "--latency"),
        ("report -o new.html", "no latest run", "give a run's folder"),
        ("report RUN -o nosuch/new.html", "nosuch", "make it first"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    line: str,
    named: str,
    way_out: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_command(capsys, *line.replace("RUN", str(run)).split())
    assert outcome.status == 2
    assert (outcome.err.count("\n"), outcome.out) == (1, "")
    assert named in outcome.err
    assert way_out in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_missing_matplotlib_is_named_with_what_installs_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    outcome = run_command(capsys, "report", "nosuch", "-o", tmp_path / "report.html")
    assert outcome.status == 2
    assert "nosuch" in outcome.err  # which nothing that is installed would mend
    assert "matplotlib" not in outcome.err
    outcome = run_command(capsys, "report", run, "-o", tmp_path / "report.html")
    assert outcome.status == 2
    assert (
        outcome.err
        == 'error: report: needs the package matplotlib; pip install "gancomp[report]"\n'
    )


def test_the_same_run_gives_the_same_page_and_json_names_it(
    run: Path, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    document = run_command(capsys, "report", run, "-o", out, "--json").document
    assert out.read_text() == text
    assert document["file"] == str(out)
    assert document["bytes"] == out.stat().st_size
    assert document["runs"] == [str(run)]
    assert document["missing"] == {}


def test_a_time_that_was_a_budget_names_what_it_was_measured_in(run: Path) -> None:
    (subject,) = subjects_of([run], latency=None)
    measured = {"by": "width", "budget": "10ms", "measured_ms": 9.8, "device": "cpu", "threads": 2}
    for found, named in (({}, "cpu"), ({"runtime": "openvino 1, bf16"}, "openvino 1, bf16")):
        subject.config["shrink"] = measured | found
        assert f"9.8 ms for an image, measured before training on {named}, 2 threads" in str(
            facts(subject, "")
        )


def test_a_run_of_own_code_has_a_page_whose_commands_name_the_code(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "from torch import nn\n\n\ndef make(wide=4):\n    return nn.Sequential(\n"
    code += "        nn.Conv2d(3, wide, 3, padding=1), nn.Conv2d(wide, 3, 1), nn.Tanh()\n    )\n"
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    settings = "--width-argument wide --size 32 --max-steps 1 --perceptual none --lambda-dcd 0"
    options = f"{settings} --student-width 2 --d-width 4 --d-layers 1 --workers 0 --device cpu"
    own = ("--arch", "mine.py:make")
    words = ("--dataset", data, *own, *options.split(), "--out", "mine")
    assert run_command(capsys, "distill", *words).status == 0
    assert run_command(capsys, "report", "mine", "-o", "mine.html", *own).status == 0
    page = html.unescape((tmp_path / "mine.html").read_text())
    assert "Checked: it resolves to the settings of this run, on the same files." in page
    again = re.search(r"gancomp distill [^<]*", page)
    assert again is not None
    assert again[0].count("--width-argument wide") == 1
    assert "--taps" not in again[0]
    assert "gancomp export mine -o student.onnx --arch mine.py:make" in page
    assert "gancomp eval mine --metrics fid --arch mine.py:make" in page
