"""The contract of the command line: help, versions, streams, exit statuses, JSON."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pkgutil
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, run_command, write_model
from rich.console import Console

import gancomp
from gancomp import console
from gancomp.console import ConsoleView, duration, milestones, say
from gancomp.data.demo_set import write_demo_set
from gancomp.engine.stopping import InterruptedRunError


def test_known_datasets_are_listed_without_torch() -> None:
    code = "from gancomp.__main__ import run; import sys; status = run(['data', 'list'])"
    code += "; sys.exit(status or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_imports_the_compiler_which_takes_seconds() -> None:
    modules = {name for _, name, _ in pkgutil.walk_packages(gancomp.__path__, "gancomp.")}
    modules.remove("gancomp.__main__")  # would run
    if importlib.util.find_spec("triton") is None:
        modules.remove("gancomp.networks.fused_kernels")  # written in Triton's language
    code = f"import {', '.join(sorted(modules))}, sys; sys.exit('torch._dynamo' in sys.modules)"
    assert len(modules) > 100
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "--version")
    assert (outcome.status, outcome.out, outcome.err) == (0, f"gancomp {gancomp.__version__}\n", "")


def test_python_m_gancomp_works_like_gancomp() -> None:
    calls = ([sys.executable, "-m", "gancomp"], [str(Path(sys.executable).parent / "gancomp")])
    results = [
        subprocess.run([*call, "data", "list", "--json"], capture_output=True, check=True)
        for call in calls
        if call[0] == sys.executable or Path(call[0]).exists()
    ]
    documents = [json.loads(done.stdout) for done in results]
    assert documents[0]["datasets"][0]["name"] == "horse2zebra"
    assert documents[0] == documents[-1]


def test_a_pipe_that_is_closed_early_is_no_error() -> None:
    code = "import sys; from gancomp.__main__ import main; sys.argv = ['gancomp', 'data', 'list']"
    program = f"{code}; import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (InterruptedRunError("stopped at step 3; saved"), 130, "error: stopped at step 3; saved\n"),
        (gancomp.errors.DataError("two\nlines  here"), 2, "error: two lines here\n"),
    ],
)
def test_what_stops_a_command_decides_the_exit_status(
    error: BaseException,
    status: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop() -> Any:
        raise error

    monkeypatch.setattr("gancomp.recipes.data.list_datasets", stop)
    outcome = run_command(capsys, "data", "list")
    assert (outcome.status, outcome.out, outcome.err) == (status, "", line)


def test_memory_that_is_not_there_is_a_matter_of_smaller_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def stop() -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("gancomp.recipes.data.list_datasets", stop)
    outcome = run_command(capsys, "data", "list")
    assert outcome.status == 2
    assert outcome.err == (
        "error: CUDA out of memory; use a smaller --size, --batch-size or --width\n"
    )


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("gancomp.recipes.data.list_datasets", fail)
    with pytest.raises(ZeroDivisionError):
        gancomp.__main__.run(["data", "list"])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--arch mobile-resnet8", "mobile-resnet9"),
        ("--method dcb", "dcd"),
        ("--preset dcd-release", "dcd-released"),
        ("--student-arch unet25", "unet256"),
    ],
)
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(
    typed: str, meant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_demo_set(tmp_path / "data", size=32, train=1, test=1)
    line = f"distill --dataset {tmp_path / 'data'} --perceptual none {typed}"
    outcome = run_command(capsys, *line.split())
    assert outcome.status == 2
    assert f"did you mean {meant}?" in outcome.err


NEXT = "--- next command ---\n"
ONE_AFTER_THE_OTHER = f"""
import json, sys
from gancomp.__main__ import run
for number, command in enumerate(json.loads(sys.argv[1])):
    if number:
        for stream in (sys.stdout, sys.stderr):
            stream.write({NEXT!r})
            stream.flush()
    if run(command) != 0:
        sys.exit(f"{{command}} failed")
"""


@dataclass(frozen=True)
class Printed:
    """What a command of a process wrote to its two streams."""

    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One tiny pretraining and one tiny distillation from the command line, `--json`."""
    root = tmp_path_factory.mktemp("training")
    write_demo_set(root / "data", size=32, train=3, test=3)
    small = SMALL.replace("--max-steps 1", "--max-steps 2 --log-every 1").split()
    commands = [
        [name, "--dataset", "data", *small, *more, "--json"]
        for name, more in (("pretrain", []), ("distill", ["--perceptual", "none"]))
    ]
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env=os.environ | {"NO_COLOR": "1", "FORCE_COLOR": ""},
    )
    assert done.returncode == 0, done.stderr
    printed = zip(done.stdout.split(NEXT), done.stderr.split(NEXT), strict=True)
    pretrained, distilled = (Printed(out, err) for out, err in printed)
    return {"root": root, "pretrain": pretrained, "distill": distilled}


@pytest.mark.parametrize("name", ["pretrain", "distill"])
def test_training_prints_one_json_document_with_the_promised_keys(
    name: str, training: dict[str, Any]
) -> None:
    document = json.loads(training[name].stdout)
    promised = {"run", "step", "seconds", "images_per_second", "losses", "teacher"}
    assert promised | ({"student"} if name == "distill" else set()) <= document.keys()
    assert document["step"] == 2
    assert document["losses"]
    assert all(isinstance(value, float) for value in document["losses"].values())
    for role in {"teacher", "student"} & document.keys():
        assert (training["root"] / document[role]).is_file()


def test_progress_is_plain_lines_where_stderr_is_no_terminal(training: dict[str, Any]) -> None:
    for name in ("pretrain", "distill"):
        lines = training[name].stderr.splitlines()
        assert [line.split()[1] for line in lines if line.startswith("step ")] == ["1/2", "2/2"]
        assert "\x1b" not in training[name].stderr
        assert "\r" not in training[name].stderr


def test_the_default_folder_names_the_run_and_latest_points_to_the_newest(
    training: dict[str, Any],
) -> None:
    runs = training["root"] / "runs"
    assert sorted(path.name for path in runs.iterdir()) == [
        "data-dcd-r0.25-s0",
        "data-pretrain-s0",
        "latest",
    ]
    assert (runs / "latest").resolve().name == "data-dcd-r0.25-s0"
    written = {path.name for path in (runs / "latest").iterdir()}
    assert written >= {
        "config.json",
        "metrics.jsonl",
        "samples",
        "checkpoints",
        "teacher.safetensors",
        "student.safetensors",
    }


def test_every_command_that_asks_for_a_model_takes_the_run(
    training: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(training["root"])
    costs = run_command(capsys, "profile", "--json").document
    assert [row["role"] for row in costs["models"]] == ["teacher", "student"]
    assert [row["width"] for row in costs["models"]] == [8, 2]
    assert costs == run_command(capsys, "profile", "runs/latest", "--json").document
    exported = run_command(capsys, "export", "runs/latest", "-o", "s.safetensors", "--json")
    assert exported.document["bytes"] == Path("s.safetensors").stat().st_size
    written = run_command(capsys, "translate", "runs/latest", "data/testA", "-o", "new", "--json")
    assert len(written.document["written"]) == 3


def test_no_color_is_honoured_even_where_color_is_forced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model.safetensors")
    command = [sys.executable, "-m", "gancomp", "data", "list"]
    color = os.environ | {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    color.pop("NO_COLOR", None)

    def colors(env: dict[str, str]) -> list[str]:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        return re.findall(r"\x1b\[[0-9;]*3[0-9]m", done.stdout)

    assert colors(color | {"NO_COLOR": "1"}) == []
    assert "\x1b" not in run_command(capsys, "profile", model).out


def test_names_of_files_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # rich would take [red] for a color and :smile: for a picture
    monkeypatch.chdir(tmp_path)
    write_model(Path("[red]:smile:.safetensors"))
    outcome = run_command(capsys, "export", "[red]:smile:.safetensors", "-o", "[b]:x:.safetensors")
    assert outcome.status == 0
    assert "[b]:x:.safetensors" in outcome.out


def test_times_are_short() -> None:
    assert [duration(value) for value in (8, 750, 3900)] == ["8s", "12m30s", "1h05m"]


def test_on_a_terminal_every_loss_is_shown_whole_below_the_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = io.StringIO()
    shown = Console(file=terminal, force_terminal=True, width=60, highlight=False)
    monkeypatch.setattr(console, "stderr", shown)
    losses = {f"teacher/term_number_{index}": 1.25 for index in range(9)} | {"student/gan": 0.5}
    view = ConsoleView()
    view.start(10, 0)
    view.advance(RECORD | {"losses": losses})
    view.finish()
    text = terminal.getvalue()
    assert all(f"term_number_{index}" in text for index in range(9))
    assert "student: gan 0.5" in text


def test_a_run_that_is_done_is_not_said_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    for step in (10, 12):
        view = ConsoleView()
        view.start(10, step)
        view.finish()
    assert capsys.readouterr().err == ""


def test_progress_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    view = ConsoleView()
    view.start(10, 4)
    record = {
        "step": 5,
        "losses": {"student/gan": 0.25},
        "images_per_second": 2.0,
        "memory_mb": 512.4,
        "seconds": 10.0,
    }
    view.advance(record)
    view.finish()
    first, second = capsys.readouterr().err.splitlines()
    assert first == "going on after step 4 of 10"
    assert second == "step 5/10  2.00 images/s  512 MB  10s left  student: gan 0.25"


class Broken:
    """A standard stream whose reader has gone."""

    def __init__(self, error: OSError, terminal: bool = False) -> None:
        self.error, self.terminal, self.tries = error, terminal, 0
        self.encoding = "utf-8"

    def write(self, text: str) -> int:
        self.tries += 1
        raise self.error

    def flush(self) -> None:
        raise self.error

    def isatty(self) -> bool:
        return self.terminal

    def fileno(self) -> int:
        raise OSError("none")


RECORD = {"step": 5, "losses": {"a": 1.0}, "images_per_second": 2.0, "memory_mb": 1, "seconds": 1}


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "the terminal is gone")])
def test_progress_that_nobody_can_read_stops_nothing(
    error: OSError, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Broken(error, terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    view = ConsoleView()
    view.start(10, 4)
    view.advance(RECORD)
    view.say("a warning")
    say("another")
    view.finish()
    assert stream.tries > 0


TINY_RUN = [*SMALL.replace("--max-steps 1", "--max-steps 4 --log-every 1").split(), "--seed", "3"]


@pytest.mark.parametrize("together", [True, False], ids=["2>&1", "2>"])
def test_a_run_goes_on_to_its_end_when_the_reader_of_its_progress_leaves(
    together: bool, tmp_path: Path
) -> None:
    write_demo_set(tmp_path / "data", size=32, train=2, test=1)
    command = [sys.executable, "-m", "gancomp", "pretrain", "--dataset", "data", *TINY_RUN]
    read_end, write_end = os.pipe()
    with subprocess.Popen(
        [*command, "--out", "run"],
        stdout=write_end if together else subprocess.DEVNULL,
        stderr=write_end,
        cwd=tmp_path,
    ) as process:
        os.close(write_end)
        assert os.read(read_end, 1)  # training has begun
        os.close(read_end)
    assert process.returncode == 0
    assert (tmp_path / "run" / "checkpoints" / "step_00000004").is_dir()
    assert (tmp_path / "run" / "teacher.safetensors").is_file()


def run_python(code: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from gancomp import __main__; {code}"
    return subprocess.run(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [("SystemExit(7)", 7, ""), ("SystemExit()", 0, ""), ("SystemExit('full')", 1, "full\n")],
)
def test_a_library_that_leaves_keeps_its_exit_status(raised: str, status: int, line: str) -> None:
    done = run_python(
        f"from gancomp.recipes import data\ndef leave(): raise {raised}\n"
        "data.list_datasets = leave; sys.argv = ['gancomp', 'data', 'list']; __main__.main()"
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", line)


def test_a_pipe_of_somebody_else_that_breaks_is_a_defect_with_a_traceback() -> None:
    done = run_python(
        "from gancomp.recipes import data\n"
        "def leave(): raise BrokenPipeError(32, 'a worker died')\n"
        "data.list_datasets = leave; sys.argv = ['gancomp', 'data', 'list']; __main__.main()"
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a worker died" in done.stderr


@pytest.mark.parametrize("arguments", ["data list --json", "data list", "distill --help"])
def test_results_and_help_into_a_closed_pipe_are_no_error(arguments: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = run_python(f"sys.argv = 'gancomp {arguments}'.split(); __main__.main()", write_end)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", ["data list --json", "data list"])
def test_results_that_do_not_fit_on_the_disk_are_not_called_done(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        code = f"sys.argv = 'gancomp {arguments}'.split(); __main__.main()"
        done = run_python(code, full.fileno())
    assert done.returncode == 2
    assert done.stderr.startswith("error: the output cannot be written")


def test_an_error_that_nobody_reads_keeps_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(BrokenPipeError()))
    assert gancomp.__main__.run(["data", "check", "nosuch"]) == 2


def test_progress_by_count_is_said_at_each_multiple(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    tell = milestones(lines.append, 100, lambda done: f"{done} done")
    for done in (50, 100, 150, 250, 260):
        tell(done)
    assert lines == ["100 done", "250 done"]


def test_numbers_that_json_does_not_have_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"fid": float("inf"), "all": [1.5, float("nan")]})
    assert json.loads(capsys.readouterr().out) == {"fid": None, "all": [1.5, None]}
