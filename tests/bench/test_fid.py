from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest
from commands import run_command

from gancomp.bench import fid as bench
from gancomp.bench.fid import CACHED, OURS, THEIRS, bench_fid
from gancomp.data.demo_set import write_demo_set
from gancomp.errors import DataError, RunError


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    write_demo_set(tmp_path / "toy", size=32, train=1, test=3)
    return tmp_path / "toy"


Calls = list[tuple[str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Stands in for the processes; remembers who was called with how many entries in its cache."""
    calls: Calls = []

    def process(
        command: list[str], env: dict[str, str], **options: object
    ) -> subprocess.CompletedProcess[str]:
        name = command[2]
        state = ""
        if name == "gancomp":
            cache = Path(env["XDG_CACHE_HOME"]) / "entry"
            state = "cached" if cache.exists() else "cold"
            cache.parent.mkdir(exist_ok=True)
            cache.touch()
        calls.append((name, state))
        out = "FID:  12.5\n" if name == "pytorch_fid" else '{"fid": 12.50004}'
        return subprocess.CompletedProcess(command, 0, out, "")

    platform.platform()  # it starts a process, once
    monkeypatch.setattr(bench.subprocess, "run", process)
    return calls


def test_the_three_commands_take_turns_with_an_empty_cache_and_a_full_one(
    toy: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--real", toy / "testB", "--fake", toy / "testA"]
    document = run_command(capsys, "bench", "fid", *folders, "--rounds", 2, "--json").document
    turn = [("pytorch_fid", ""), ("gancomp", "cold"), ("gancomp", "cached")]
    assert calls == [("gancomp", "cold"), *turn, *turn]
    assert document["contestants"].keys() == document["fid"].keys() == {THEIRS, OURS, CACHED}
    assert document["difference"] == pytest.approx(4e-5)
    assert document["speedup"].keys() == document["speedup_with_cached_reals"].keys() == {THEIRS}
    assert "6 images" in document["what"]


def test_a_command_that_fails_is_one_line(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def process(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        said = "Traceback\n  line\nTypeError: sqrtm() got an unexpected keyword argument"
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr(bench.subprocess, "run", process)
    with pytest.raises(RunError, match=r"pytorch_fid could not be run \(TypeError: sqrtm") as error:
        bench.score_by_pytorch_fid(toy, toy, dict(os.environ))
    assert "\n" not in str(error.value)


def test_folders_without_images_are_refused_at_once(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"`fake` {tmp_path}: holds 0 images"):
        bench_fid(toy / "testB", tmp_path)
