"""What other people's code adds: by an installed package, and by a file that somebody names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run_command, write_model

from gancomp.data.demo_set import write_demo_set
from gancomp.plugins import forget_plugins, load_plugins
from gancomp.registry import METHODS, TABLES, resolve

FILE = Path(__file__).parent / "plugin" / "gancomp_sharp.py"
ENTRY_POINTS = """
[gancomp.methods]
sharp = gancomp_sharp:Sharp
[gancomp.method_options]
sharp = gancomp_sharp:SharpOptions
[gancomp.networks]
plain-net = gancomp_sharp:plain_net
[gancomp.exporters]
arrays = gancomp_sharp:Arrays
[gancomp.checkpoints]
sharp's own = gancomp_sharp:recognize_plain
"""
SMALL = (
    "--arch plain-net --width 8 --size 32 --d-layers 1 --d-width 8 --max-steps 2 --workers 0 "
    "--device cpu --method sharp --lambda-edges 2 --edges columns"
)


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("GANCOMP_PLUGINS", raising=False)
    yield
    forget_plugins()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A distribution on Python's path, as pip leaves it."""
    site = tmp_path / "site"
    info = site / "gancomp_sharp-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gancomp-sharp\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "gancomp_sharp.py").write_text(FILE.read_text())
    monkeypatch.syspath_prepend(site)
    return "the package gancomp-sharp"


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> str:
    """The same file, named by the environment."""
    monkeypatch.setenv("GANCOMP_PLUGINS", str(FILE))
    return "the file gancomp_sharp.py"


@pytest.mark.parametrize("how", ["installed", "named"])
def test_a_plug_in_s_lines_work_in_every_command(
    how: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    origin = request.getfixturevalue(how)
    monkeypatch.chdir(tmp_path)
    write_demo_set(Path("data"), size=32, train=3, test=2)
    command = f"distill --dataset data {SMALL} --out run".split()
    outcome = run_command(capsys, *command)
    assert outcome.status == 0, outcome.err
    config = json.loads(Path("run/config.json").read_text())
    assert config["plugins"] == [origin]
    assert config["settings"]["method"]["options"] == {"lambda_edges": 2.0, "edges": "columns"}
    last = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[-1])
    assert {"student/copy", "student/edges"} <= set(last["losses"])

    exported = run_command(capsys, "export", "run", "-o", "student.npz", "--json").document
    assert (exported["format"], exported["parity"]) == ("arrays", 0.0)
    profiled = run_command(capsys, "profile", "--arch", "plain-net", "--width", "4", "--json")
    assert profiled.document["models"][0]["arch"] == "plain-net"
    run_command(capsys, "translate", "run", "data/testA", "-o", "out")
    assert len(list(Path("out").glob("*.png"))) == 2
    sys.modules.pop("gancomp_sharp", None)


def test_a_plug_in_s_options_are_shown_checked_and_refused_elsewhere(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
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


def test_a_foreign_layout_of_a_plug_in_opens(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_plugins([])
    module = next(name for name in sys.modules if name.startswith("gancomp_plugin_gancomp_sharp"))
    sys.modules[module].make_checkpoint(tmp_path / "theirs.pth")
    outcome = run_command(capsys, "profile", tmp_path / "theirs.pth", "--json")
    assert outcome.document["models"][0]["arch"] == "plain-net"


def test_a_model_says_which_plug_in_it_needs(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_plugins([])
    model = write_model(tmp_path / "student.safetensors", "plain-net")
    monkeypatch.delenv("GANCOMP_PLUGINS")
    forget_plugins()
    outcome = run_command(capsys, "profile", model)
    assert outcome.status == 2
    assert "comes from a plug-in, the file gancomp_sharp.py" in outcome.err
    outcome = run_command(capsys, "profile", f"--plugin={FILE}", model)
    assert outcome.status == 0


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


def test_all_lines_go_again(named: str) -> None:
    before = {table: dict(lines) for table, lines in TABLES.items()}
    assert load_plugins(["methods"]) == ["methods"]
    assert resolve(METHODS, "--method", "sharp").name == "sharp"
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
