"""What other people's code adds: by an installed package, and by a file that somebody names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands import run_command, write_model
from PIL import Image

from gancomp.api.run import Run
from gancomp.data.demo_set import write_demo_set
from gancomp.export.model import open_model
from gancomp.plugins import forget_plugins, load_plugins
from gancomp.registry import METHODS, METRICS, TABLES, build_network, resolve
from gancomp.report.repeat import repeat
from gancomp.report.subjects import Subject

PROJECT = Path(__file__).parent / "plugin"
FILES = sorted((PROJECT / "gancomp_sharp").glob("[a-z]*.py"))
FILE = PROJECT / "gancomp_sharp" / "method.py"
SMALL = (
    "--arch plain-net --width 8 --depth 2 --student-depth 1 --size 32 --d-layers 1 --d-width 8 "
    "--max-steps 2 --workers 0 --device cpu --method sharp --lambda-edges 2 --edges columns "
    "--shrink thin --budget 30% --thin-step 2"
)


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("GANCOMP_PLUGINS", raising=False)
    yield
    forget_plugins()


def install(site: Path) -> Path:
    """The distribution in a folder, as pip leaves it; returns the folder."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    shutil.copytree(PROJECT / project["name"].replace("-", "_"), site / "gancomp_sharp")
    info = site / f"gancomp_sharp-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A distribution on Python's path."""
    monkeypatch.syspath_prepend(install(tmp_path / "site"))
    yield ["the package gancomp-sharp"]
    for module in [name for name in sys.modules if name.split(".")[0] == "gancomp_sharp"]:
        del sys.modules[module]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The same files, named by the environment."""
    monkeypatch.setenv("GANCOMP_PLUGINS", os.pathsep.join(map(str, FILES)))
    files = [FILE.with_name(f"{name}.py") for name in ("method", "network", "shrinker")]
    return [f"the file {file}" for file in files]


@pytest.mark.parametrize("how", ["installed", "named"])
def test_a_plug_in_s_lines_work_in_every_command(
    how: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    origins = request.getfixturevalue(how)
    monkeypatch.chdir(tmp_path)
    write_demo_set(Path("data"), size=32, train=3, test=2)
    command = f"distill --dataset data {SMALL} --out run".split()
    outcome = run_command(capsys, *command)
    assert outcome.status == 0, outcome.err
    config = json.loads(Path("run/config.json").read_text())
    assert config["plugins"] == origins
    settings = config["settings"]
    assert settings["method"]["options"] == {"lambda_edges": 2.0, "edges": "columns"}
    assert settings["teacher"]["network"] == {"arch": "plain-net", "width": 8, "depth": 2}
    assert settings["student"] == {"arch": "plain-net", "width": 4, "depth": 1}
    chosen = {"by": "thin", "budget": "30%", "parameters": 371}
    assert config["shrink"] == {**chosen, "options": {"thin_step": 2}}
    last = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[-1])
    assert {"student/copy", "student/edges"} <= set(last["losses"])

    repeated = repeat(Subject("run", Run.open(Path("run")))).command.split()
    named = [word for word in repeated if word.endswith(".py")]
    assert named == [origin.removeprefix("the file ") for origin in origins if "file" in origin]
    exported = run_command(capsys, "export", "run", "-o", "student.npz", "--json").document
    assert (exported["format"], exported["parity"]) == ("arrays", 0.0)
    command = ["profile", "--arch", "plain-net", "--width", "4", "--depth", "3", "--json"]
    assert run_command(capsys, *command).document["models"][0]["params"] == 112 + 3 * 148 + 111
    run_command(capsys, "translate", "run", "data/testA", "-o", "out")
    assert len(list(Path("out").glob("*.png"))) == 2
    if how == "named":
        monkeypatch.delenv("GANCOMP_PLUGINS")
        forget_plugins()
        outcome = run_command(capsys, *["distill", "--resume", "--out", "run", "--max-steps", "3"])
        assert outcome.status == 2
        assert f"has sharp from a plug-in, {', '.join(origins)};" in outcome.err
        assert Path(named[0]).is_file()
        kept = Path("run/config.json").read_text()  # as older runs have it
        Path("run/config.json").write_text(kept.replace(f"{FILE.parent}/", ""))
        remark = repeat(Subject("run", Run.open(Path("run")))).remark
        assert remark.endswith("method.py, network.py, shrinker.py; name where it is now.")


def test_a_plug_in_s_options_are_shown_checked_and_refused_elsewhere(
    named: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo_set(Path("data"), size=32, train=3, test=2)
    shown = run_command(capsys, "distill", "--method", "sharp", "--help").out
    assert all(flag in shown for flag in ("--lambda-copy", "--lambda-edges", "--edges", "(eq. 2)"))
    assert "--lambda-copy" not in run_command(capsys, "distill", "--help").out
    listed = run_command(capsys, "methods", "--json").document["methods"]
    assert listed[-1]["name"] == "sharp"
    page = run_command(capsys, "methods", "sharp").out
    assert all(word in page for word in ("a plug-in of the tests", "--edges", "levels"))
    base = "distill --dataset data --size 32 --max-steps 1 --device cpu --workers 0"
    for typed, said in (
        ("--method sharp --lambda-copy -1", "--lambda-copy -1.0: must be at least 0"),
        ("--method sharp --edges sides", "--edges sides: not one of rows, columns"),
        (
            "--method sharp --lambda-edges 0 --edges columns",
            "--edges: has no effect with --lambda-edges 0",
        ),
        ("--lambda-copy 2", "it belongs to --method sharp"),
        ("--method sharp --lambda-dgl 1", "it belongs to --method dgl"),
        ("--method shrap", "did you mean sharp?"),
    ):
        outcome = run_command(capsys, *base.split(), *typed.split())
        assert outcome.status == 2
        assert said in outcome.err


def test_a_network_s_knob_is_shown_checked_and_refused_elsewhere(
    named: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = run_command(capsys, "distill", "--arch", "plain-net", "--help").out
    assert all(text in shown for text in ("--depth", "Its hidden", "--student-depth", "plain-net"))
    assert "--depth" not in run_command(capsys, "distill", "--help").out
    write_demo_set(tmp_path, size=32, train=3, test=2)
    base = f"distill --dataset {tmp_path} --size 32 --max-steps 1 --device cpu --workers 0"
    for typed, said in (
        ("--arch plain-net --depth 0", "--depth 0: must be at least 1"),
        ("--arch plain-net --norm batch", "--norm: --arch plain-net has no such option"),
        ("--arch plain-net --norm batch", "plain-net has: --depth, in_channels, out_channels"),
        ("--depth 2", "--depth: --arch mobile-resnet9 has no such option; it belongs to plain-net"),
        ("--arch plian-net", "did you mean plain-net?"),
        ("--shrink tihn --budget 9%", "did you mean thin?"),
        ("--shrink thin --budget few", "--budget few: is no share of the parameters; write 30%"),
        ("--shrink thin", "--shrink thin: needs --budget, such as 30%"),
        ("--thin-step 2", "--thin-step: needs --shrink thin"),
    ):
        outcome = run_command(capsys, *base.split(), *typed.split())
        assert outcome.status == 2
        assert said in outcome.err


def test_a_shrinker_s_weights_are_those_that_the_student_begins_with(
    named: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_plugins([])
    write_demo_set(tmp_path / "data", size=32, train=3, test=2)
    teacher = write_model(tmp_path / "teacher.safetensors", "plain-net", role="teacher")
    base = f"distill --dataset {tmp_path}/data --teacher {teacher} --freeze-teacher --out"
    given = "--size 32 --max-steps 1 --device cpu --workers 0 --method sharp --lr 1e-12"
    command = [*base.split(), tmp_path / "run", *given.split(), "--shrink", "thin"]
    assert run_command(capsys, *command, "--budget", "60%").status == 0
    whole = open_model(teacher).network.state_dict()
    student = open_model(tmp_path / "run" / "student.safetensors").network
    assert student.width == 2
    for name, value in student.state_dict().items():
        corner = whole[name][tuple(slice(length) for length in value.shape)]
        torch.testing.assert_close(value, corner, rtol=0, atol=1e-9)


def test_a_score_and_a_format_of_a_plug_in_are_found_by_name(
    named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = unwrapped(run_command(capsys, "eval", "--help").out)
    assert all(text in shown for text in (f"{list(METRICS)[-2]}, gap.", "--gap-power"))
    shown = unwrapped(run_command(capsys, "distill", "--shrink", "thin", "--help").out)
    assert all(text in shown for text in ("With --shrink thin", "--thin-step", "|thin"))
    for typed, said in (
        ("eval --metrics gpa --fake x --real y", "--metrics gpa: unknown; did you mean gap?"),
        ("eval --metrics gap --gap-power 0 --fake x --real y", "--gap-power 0.0: must be at least"),
        ("export x -o y.bin --format arays", "known: safetensors, "),
        ("export x -o y.bin --format arays", "arrays"),
    ):
        outcome = run_command(capsys, *typed.split())
        assert outcome.status == 2
        assert said in outcome.err


def unwrapped(help: str) -> str:
    return " ".join(help.replace("│", " ").split())


def test_a_format_of_a_plug_in_is_in_the_help_of_export(named: list[str]) -> None:
    command = [sys.executable, "-m", "gancomp", "export", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "safetensors" in done.stdout
    assert ", arrays; by default from the suffix." in unwrapped(done.stdout)


def test_the_contract_tests_cover_what_a_plug_in_adds(tmp_path: Path) -> None:
    site = install(tmp_path / "site")
    tests = PROJECT.parent
    path = os.pathsep.join(map(str, (site, tests.parent)))
    # of the method's own contract a part; CI runs all of it with the package installed
    names = "method-sharp or [sharp] or plain-net or [gap] or [arrays] or [thin] or [plain-body]"
    names += " or (module_and_nothing_else and sharp-unpaired-False)"
    files = ("test_contract.py", "methods/test_contract.py", "networks/test_base.py")
    command = [sys.executable, "-m", "pytest", "-v", "-k", names, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--no-cov", *(str(tests / file) for file in files)],
        cwd=tests.parent,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    for name in ("method-sharp", "network-plain-net", "gap", "arrays", "thin", "plain-body"):
        assert f"[{name}" in done.stdout


def test_a_foreign_layout_of_a_plug_in_opens(
    named: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_plugins([])
    state = build_network("plain-net", width=4).state_dict()
    theirs = {name.replace("model.", "body."): value for name, value in state.items()}
    torch.save(theirs, tmp_path / "theirs.pth")
    outcome = run_command(capsys, "profile", tmp_path / "theirs.pth", "--json")
    assert outcome.document["models"][0]["arch"] == "plain-net"


def test_a_model_says_which_plug_in_it_needs(
    named: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_plugins([])
    model = write_model(tmp_path / "student.safetensors", "plain-net")
    monkeypatch.delenv("GANCOMP_PLUGINS")
    forget_plugins()
    outcome = run_command(capsys, "profile", model)
    assert outcome.status == 2
    assert "comes from a plug-in, the file network.py" in outcome.err
    outcome = run_command(capsys, "profile", f"--plugin={FILE.with_name('network.py')}", model)
    assert outcome.status == 0


PAIR_METRIC = """
from dataclasses import dataclass

from gancomp.declare import setting


@dataclass(frozen=True)
class MaeOptions:
    mae_channel: int = setting(0, "--mae-channel", "Which channel.", least=0, most=2)


class Mae:
    needs = "pairs"
    Options = MaeOptions

    def __init__(self, options):
        self.options = options

    def of_pair(self, image, reference):
        channel = self.options.mae_channel
        return float(abs(image[..., channel] * 1.0 - reference[..., channel]).mean())


GANCOMP = {"metrics": {"mae": Mae}}
"""


def test_a_score_of_pairs_needs_nothing_but_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(PAIR_METRIC)
    for name, color in (("real", (0, 9, 0)), ("fake", (0, 2, 0))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 16), color).save(tmp_path / name / "one.png")
    words = ["eval", "--plugin", tmp_path / "mine.py", "--pairs", "files", "--metrics", "mae"]
    sides = ["--fake", tmp_path / "fake", "--real", tmp_path / "real"]
    outcome = run_command(capsys, *words, *sides, "--mae-channel", "1", "--json")
    assert outcome.status == 0, outcome.err
    assert outcome.document["metrics"]["mae"]["value"] == 7.0
    assert outcome.document["protocol"]["pairs"]["options"] == {"mae": {"mae_channel": 1}}


def test_a_run_never_loads_code_by_itself(tmp_path: Path) -> None:
    (tmp_path / "gancomp_sharp.py").write_text("raise SystemExit('was run')")
    code = "import gancomp.__main__ as main; raise SystemExit(main.run(['data', 'list', '--json']))"
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent.parent}"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("x = 1", "adds nothing"),
        ("GANCOMP = {'method': {'a': 1}}", "no table method; known: methods, "),
        ("1 / 0", "fails (ZeroDivisionError: division by zero)"),
        (
            "class M: Options = None\nGANCOMP = {'methods': {'dcd': M}}",
            "adds dcd to methods, which gancomp itself has",
        ),
        ("GANCOMP = {'methods': ['x']}", "methods should be a mapping"),
        ("GANCOMP = {'methods': {'x': 5}}", "methods has x, which is none of these"),
        ("GANCOMP = {'networks': {5: 6}}", "networks has 5, which is none of these"),
        ("raise SystemExit(3)", "fails (SystemExit: 3)"),
    ],
)
def test_a_file_that_is_no_plug_in_is_one_line(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    outcome = run_command(capsys, "methods", "--plugin", file)
    assert outcome.status == 2
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_plugin_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "methods", "--plugin")
    assert (outcome.status, outcome.err.splitlines()[0][:28]) == (2, "error: --plugin: needs a fil")


def test_all_lines_go_again(named: list[str]) -> None:
    before = {table: dict(lines) for table, lines in TABLES.items()}
    assert load_plugins(["methods"]) == ["methods"]
    assert resolve(METHODS, "method", "sharp").name == "sharp"
    forget_plugins()
    assert before == TABLES


def test_two_files_may_have_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / folder / "mine.py" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        content = FILE.read_text().replace("GANCOMP = {", "UNUSED = {")
        name = f"sharp-{file.parent.name}"
        file.write_text(f"{content}\nGANCOMP = {{'methods': {{'{name}': Sharp}}}}\n")
    typed = [word for file in files for word in ("--plugin", str(file))]
    rows = run_command(capsys, "methods", "--json", *typed).document["methods"]
    assert [row["name"] for row in rows][-2:] == ["sharp-a", "sharp-b"]


def test_a_broken_package_is_told_to_who_chooses_it_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[gancomp.methods]\nbrk = nosuchmodule:Thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert run_command(capsys, "distill", "--help").status == 0
    assert run_command(capsys, "profile", "--arch", "mobile-resnet6").status == 0
    outcome = run_command(capsys, "methods", "brk")
    assert outcome.status == 2
    assert "brk: the package broken, which adds it, fails (ModuleNotFoundError" in outcome.err
