from __future__ import annotations

import inspect
import os
import pwd
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from commands import SMALL, run_command, write_model

import gancomp.data.layout as layout
from gancomp.cli import app
from gancomp.data.demo_set import write_demo_set
from gancomp.errors import ConfigError, DataError, GancompError, WeightsError
from gancomp.paths import cache_folder, download_folder, expanded, weights_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(params=["unset", "empty"])
def no_home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has no line in /etc/passwd."""
    for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "empty":
        monkeypatch.setenv("HOME", "")

    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)


def test_the_home_folder_takes_the_place_of_the_sign(home: Path) -> None:
    assert expanded("~") == home
    assert expanded("~/x/y") == home / "x" / "y"
    assert expanded(Path("~/x")) == home / "x"
    assert expanded("~root/x") == Path(pwd.getpwnam("root").pw_dir) / "x"


@pytest.mark.parametrize("name", ["~nosuch/x", "~old", "a~b", "a/~/b", ".", "", "/x"])
def test_other_names_stay_as_they_are(name: str, home: Path) -> None:
    assert expanded(name) == Path(name)


@pytest.mark.usefixtures("no_home")
def test_without_a_home_its_sign_is_one_line_and_nothing_is_kept() -> None:
    for name in ("~", "~/x"):
        with pytest.raises(ConfigError, match=f"{name}: there is no home folder.*whole path"):
            expanded(name)
    assert expanded("~nosuch/x") == Path("~nosuch/x")
    assert cache_folder() is None
    with pytest.raises(DataError, match="no home folder.*XDG_CACHE_HOME"):
        download_folder()
    with pytest.raises(WeightsError, match="no home folder.*TORCH_HOME"):
        weights_folder()


@pytest.mark.usefixtures("no_home")
def test_variables_serve_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "~/x")
    assert cache_folder() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert cache_folder() == tmp_path / "gancomp"
    assert weights_folder() == tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.usefixtures("no_home")
def test_without_a_home_datasets_are_found_by_path_and_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "horse2zebra").mkdir()
    monkeypatch.setenv("GANCOMP_DATA", str(tmp_path))
    assert layout.locate("horse2zebra") == tmp_path / "horse2zebra"
    monkeypatch.delenv("GANCOMP_DATA")
    with pytest.raises(GancompError, match="no home folder"):
        layout.locate("horse2zebra")
    with pytest.raises(GancompError, match="no such folder"):
        layout.locate("~nosuch/data")


def path_parameters(group: typer.Typer, name: str = "") -> Iterator[tuple[str, Any]]:
    """Each parameter of a command that is a path, as `command.parameter`, and its declaration."""
    for command in group.registered_commands:
        assert command.callback is not None
        signature = inspect.signature(command.callback)
        hints = typing.get_type_hints(command.callback, include_extras=True)
        for parameter in signature.parameters:
            hint = hints.get(parameter)
            kind, *more = getattr(hint, "__args__", (hint,)), *getattr(hint, "__metadata__", ())
            if "Path" in str(kind):
                label = command.name or command.callback.__name__
                yield f"{name}{label}.{parameter}", more[0]
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from path_parameters(inner.typer_instance, f"{inner.name}.")


PATHS = dict(path_parameters(app))


def test_every_path_of_every_command_is_collected() -> None:
    assert {"distill.out", "pretrain.config", "export.out", "bench.fid.real"} <= set(PATHS)


@pytest.mark.parametrize("name", PATHS)
def test_every_path_of_every_command_is_expanded_in_one_place(name: str) -> None:
    assert PATHS[name].parser is expanded


def test_what_is_written_goes_into_the_home_folder_and_not_into_one_called_by_the_sign(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "a.safetensors", width=2)
    assert run_command(capsys, "export", "a.safetensors", "--out=~/b.safetensors").status == 0
    assert os.listdir(home) == ["b.safetensors"]
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "home"]


AS_NOBODY = """
import os, sys
import gancomp.data_commands, gancomp.recipes.data, gancomp.data.download, gancomp.__main__
import gancomp.data.check, gancomp.data.layout
gancomp.__main__.run(["data", "list"])  # imports what could not be read any more
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
sys.exit(gancomp.__main__.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("arguments", [["data", "fetch", "horse2zebra"], ["data", "check", "~/x"]])
def test_a_user_without_a_name_and_a_home_is_told_in_one_line(arguments: list[str]) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody whom the system does not know")
    names = ("HOME", "XDG_CACHE_HOME", "TORCH_HOME", "GANCOMP_DATA")
    found = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *arguments],
        env={name: value for name, value in os.environ.items() if name not in names},
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2, found.stderr
    assert found.stderr.startswith("error: ")
    assert "no home folder" in found.stderr
    assert found.stderr.count("\n") == 1


# root may write anywhere; without these rights it is as any owner of a folder
WITHOUT_RIGHTS = """
import ctypes, os, shlex, sys
MAY_WRITE_ANYWHERE, MAY_READ_ANYWHERE, MAY_ACT_AS_OWNER, DROP = 1, 2, 3, 24
for right in (MAY_WRITE_ANYWHERE, MAY_READ_ANYWHERE, MAY_ACT_AS_OWNER):
    failed = ctypes.CDLL(None).prctl(DROP, right, 0, 0, 0)
    if failed and os.getuid() == 0:
        sys.exit(77)
program = "import sys, gancomp.__main__ as g; sys.exit(max(g.run(c.split()) for c in sys.argv[1:]))"
os.execv(sys.executable, [sys.executable, "-c", program, *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes rights from root as Linux has them")
def test_in_a_folder_that_cannot_be_written_each_command_says_so_in_one_line(
    tmp_path: Path,
) -> None:
    write_demo_set(tmp_path / "data", size=32, train=2, test=2)
    write_model(tmp_path / "a.safetensors", width=2)
    begins = {
        f"pretrain --dataset data {SMALL}": "--out runs/data-pretrain-s0",
        f"distill --dataset data {SMALL} --perceptual none": "--out runs/data-dcd-r0.25-s0",
        "demo": "runs/demo",
        "export a.safetensors -o b.safetensors": "b.safetensors",
        "translate a.safetensors data/testA -o out": "out",
    }
    tmp_path.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_RIGHTS, *begins],
            cwd=tmp_path,
            check=False,
            timeout=120,
            capture_output=True,
            text=True,
        )
    finally:
        tmp_path.chmod(0o755)
    if done.returncode == 77:
        pytest.skip("root's rights cannot be taken away here")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    for line, place in zip(done.stderr.splitlines(), begins.values(), strict=True):
        assert line.startswith(f"error: {place}: cannot be written (Permission denied); choose an")
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "data"]
