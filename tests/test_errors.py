"""Errors of the system become one line that names the file, whatever the command was doing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import SMALL, run_command, write_model
from PIL import Image

from gancomp import __main__ as entry
from gancomp.data.demo_set import write_demo_set
from gancomp.errors import explain_memory, explain_system_error, printable

REFUSED = (errno.EIO, errno.EMFILE, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.ENOMEM)


@pytest.mark.parametrize("number", REFUSED, ids=errno.errorcode.get)
def test_every_refusal_of_the_system_is_one_line_with_the_file_and_status_2(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(arguments: list[str]) -> int:
        raise OSError(number, os.strerror(number), arguments[0])

    monkeypatch.setattr(entry, "_command", refused)
    outcome = run_command(capsys, "some/file.png")
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: some/file.png: {os.strerror(number)}; ")
    assert outcome.err.count("\n") == 1


class BrokenDisk(type(open(os.devnull))):  # type: ignore[misc]  # noqa: SIM115  # its type only
    """A file whose disk fails while it is read."""

    def read(self, size: int | None = -1) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_an_error_that_names_no_file_is_given_the_file_that_was_open(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("")
    with (
        BrokenDisk(open(path, "rb", buffering=0)) as file,  # type: ignore[arg-type]
        pytest.raises(OSError, match="Input/output") as caught,
    ):
        _read(file)
    assert explain_system_error(caught.value).startswith(f"{path}: Input/output error; the disk")


def _read(file: object) -> None:
    file.read()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 4 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 99 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch.so: failed to map segment from shared object"),
    ],
)
def test_too_little_memory_is_one_line_with_a_way_out(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(entry, "_command", refused)
    outcome = run_command(capsys, "distill")
    assert outcome.status == 2
    assert outcome.err.startswith("error: not enough memory (")
    assert "--batch-size" in outcome.err
    assert outcome.err.count("\n") == 1
    assert explain_memory(RuntimeError("a defect")) is None


def test_of_an_import_that_had_no_memory_only_the_reason_is_told() -> None:
    reason = ImportError("libopenblas.so: failed to map segment from shared object")
    page = ImportError("IMPORTANT: PLEASE READ THIS FOR ADVICE. The original error: " + str(reason))
    page.__cause__ = reason
    told = explain_memory(page)
    assert told is not None
    assert told.startswith(f"not enough memory ({reason}); ")


@pytest.mark.parametrize("name", ["x" * 300, "loop", "file/inside"])
@pytest.mark.parametrize(
    "command",
    [
        "export {} -o out.safetensors",
        "export {model} -o {}",
        "profile {}",
        "translate {} {image} -o out",
        "translate {model} {} -o out",
        "translate {model} {image} -o {}",
        "eval-fid --real {} --fake {folder}",
        "eval-fid --real {folder} --fake {}",
        "generate {} -o out",
        "data check {}",
        "distill --dataset {}",
        "distill --dataset set --teacher {}",
        "distill --dataset set --out {} --max-steps 1",
        "distill --dataset {folder} --config {}",
        "demo --max-steps 1 -o {}",
    ],
)
def test_a_path_that_the_system_refuses_is_one_line_in_every_command(
    command: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    write_demo_set(tmp_path / "set", size=32, train=2, test=1)
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "folder" / "a.png")
    write_model(tmp_path / "model.safetensors")
    places = {"model": "model.safetensors", "image": "folder/a.png", "folder": "folder"}
    outcome = run_command(capsys, *command.format(name, **places).split())
    assert outcome.status == 2, outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in outcome.err
    assert name.split("/")[0][:50] in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("blocked", ["runs", "run/samples", "run/checkpoints"])
def test_a_file_where_a_folder_of_the_run_belongs_is_named(
    blocked: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo_set(tmp_path / "set", size=32, train=2, test=1)
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("mine")
    out = [] if blocked == "runs" else ["--out", "run"]
    outcome = run_command(capsys, "distill", "--dataset", "set", *out, *SMALL.split())
    assert outcome.status == 2
    assert blocked.split("/")[0] in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert (tmp_path / blocked).read_text() == "mine"
    assert not list(tmp_path.rglob(".latest.*"))


def test_names_cannot_command_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model.safetensors")
    evil = tmp_path / "\x1b]0;owned\x07.png"
    evil.write_bytes(b"no image")
    outcome = run_command(capsys, "translate", model, evil, "-o", tmp_path / "out")
    assert outcome.status == 2
    assert "\x1b" not in outcome.err
    assert r"\x1b]0;owned\x07.png" in outcome.err
    assert printable("ü 猫 \x9b\u202e\udcff") == r"ü 猫 \x9b\u202e\udcff"


def gancomp(shell: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a shell command in which `$G` is the program."""
    return subprocess.run(
        ["sh", "-c", shell],
        env=os.environ | {"G": f"{sys.executable} -m gancomp"} | variables,
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.skipif(os.name == "nt", reason="needs a shell of Unix")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_mean_silence(closed: str) -> None:
    result = gancomp(f"$G methods {closed}")
    assert result.returncode == 0, result.stderr
    assert result.stderr == b""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf_8_are_read_and_shown_escaped(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    folder.mkdir()
    write_model(folder / "model.safetensors")
    plain = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PLACE": str(tmp_path)}
    result = gancomp(
        '$G export "$PLACE"/*/model.safetensors -o "$PLACE"/*/copy.safetensors', **plain
    )
    assert result.returncode == 0, result.stderr
    assert rb"\udcff\udcfe" in result.stdout.replace(b"\n", b"") or b"copy" in result.stdout
    assert list(tmp_path.glob("*/*copy.safetensors"))
