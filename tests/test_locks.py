from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from lacking import compiled, lacking

import gancomp.files as files_module
import gancomp.locks as locks
from gancomp.locks import NO_LOCKS, HeldError, locked

HOLD = """
import sys, time
from pathlib import Path
from gancomp.locks import HeldError, locked
try:
    with locked(Path(sys.argv[1])):
        print("mine", flush=True)
        time.sleep(60 * int(sys.argv[2]))
except HeldError as error:
    print(error, flush=True)
"""
COUNT = """
import sys, time
from pathlib import Path
from gancomp.locks import locked
for _ in range(20):
    with locked(Path(sys.argv[1]), waiting=lambda owner: None):
        found = int(Path(sys.argv[2]).read_text())
        time.sleep(0.001)
        Path(sys.argv[2]).write_text(str(found + 1))
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture(autouse=True)
def warns_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "_told", set())


def start(path: Path, environment: dict[str, str], *, hold: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(path), str(int(hold))]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", sorted({*NO_LOCKS, 0}))
def test_one_holder_with_and_without_locks_and_none_once_it_was_killed(
    number: int, shim: Path, tmp_path: Path
) -> None:
    path, environment = tmp_path / ".lock", lacking(shim, flock=number)
    first = start(path, environment, hold=True)
    try:
        assert said(first) == "mine"
        second, errors = start(path, environment, hold=False).communicate(timeout=60)
        assert second.startswith(f"process {first.pid}")
        assert errors.count("warning: ") == (1 if number else 0)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    third, errors = start(path, environment, hold=False).communicate(timeout=60)
    assert third == "mine\n"
    assert "Traceback" not in errors
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


def test_one_that_finds_locks_respects_one_that_found_none(shim: Path, tmp_path: Path) -> None:
    first = start(tmp_path / ".lock", lacking(shim, flock=errno.ENOLCK), hold=True)
    try:
        assert said(first) == "mine"
        with pytest.raises(HeldError, match=f"process {first.pid} on "), locked(tmp_path / ".lock"):
            pytest.fail("two holders")
    finally:
        first.kill()
        first.communicate()
    with locked(tmp_path / ".lock"):
        pass


@pytest.mark.parametrize("number", [0, errno.ENOSYS])
def test_those_that_wait_come_one_after_another(number: int, shim: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path / ".lock"), str(count)]
    environment = lacking(shim, flock=number)
    many = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in "123"]
    assert [process.wait(timeout=60) for process in many] == [0, 0, 0]
    assert count.read_text() == "60"


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)


def test_without_the_systems_module_the_owner_file_serves(
    no_locks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path / ".lock"):
        found = json.loads((tmp_path / ".lock.owner").read_text())
        assert found["pid"] == os.getpid()
        with pytest.raises(HeldError), locked(tmp_path / ".lock"):
            pytest.fail("two holders")
    with locked(tmp_path / ".lock"):
        pass
    assert capsys.readouterr().err.count("this file system has no locks") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


GONE = 4_000_000  # more than Linux gives


@pytest.mark.parametrize(
    ("changed", "dead"),
    [
        ({}, False),
        ({"started": "1"}, True),  # the number belongs to another process now
        ({"pid": GONE}, True),
        ({"boot": "another", "machine": "m"}, True),
        ({"boot": "another", "machine": None}, False),
        ({"host": "elsewhere", "pid": GONE}, False),
        ({"machine": "another", "pid": GONE}, False),
        ({"namespace": "pid:[1]", "pid": GONE}, False),
        ({"pid": "x"}, False),
    ],
)
def test_an_owner_is_dead_only_where_that_is_sure(
    changed: dict[str, Any],
    dead: bool,
    no_locks: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = changed.get("machine", "m") and "m"
    myself = locks._myself() | {"machine": machine}
    monkeypatch.setattr(locks, "_myself", lambda: myself)
    (tmp_path / ".lock.owner").write_text(json.dumps(myself | changed))
    if dead:
        with locked(tmp_path / ".lock"):
            pass
        return
    with pytest.raises(HeldError, match=r"\.lock\.owner; remove it if that process has ended"):
        locked(tmp_path / ".lock").__enter__()


def test_without_proc_the_process_is_asked_for_itself(
    no_locks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = {"machine": None, "boot": None, "namespace": None, "started": None}
    myself = locks._myself() | unknown
    monkeypatch.setattr(locks, "_myself", lambda: myself)
    owner = tmp_path / ".lock.owner"
    owner.write_text(json.dumps(myself | {"pid": 1}))
    with pytest.raises(HeldError, match="process 1 on "), locked(tmp_path / ".lock"):
        pytest.fail("two holders")
    owner.write_text(json.dumps(myself | {"pid": GONE}))
    with locked(tmp_path / ".lock"):
        pass


def test_patience_ends(no_locks: None, tmp_path: Path) -> None:
    told: list[str] = []
    with locked(tmp_path / ".lock"), pytest.raises(HeldError, match=f"process {os.getpid()} on "):
        locked(tmp_path / ".lock", waiting=told.append, patience_s=0.12).__enter__()
    (told_once,) = told
    assert ".lock.owner" in told_once


@pytest.mark.parametrize("content", ["", "[1]", "{", "{}"])
def test_an_owner_file_without_sense_is_named(content: str, no_locks: None, tmp_path: Path) -> None:
    (tmp_path / ".lock.owner").write_text(content)
    with pytest.raises(HeldError, match=r"remove it"), locked(tmp_path / ".lock"):
        pytest.fail("two holders")


def test_while_one_takes_over_from_a_dead_owner_no_other_does(
    no_locks: None, tmp_path: Path
) -> None:
    (tmp_path / ".lock.owner").write_text(json.dumps(locks._myself() | {"pid": GONE}))
    (tmp_path / ".lock.owner.taking").write_text("")
    with pytest.raises(HeldError, match=r"owner\.taking"), locked(tmp_path / ".lock"):
        pytest.fail("two holders")


def test_other_errors_of_the_lock_are_not_swallowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", broken)
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path / ".lock"):
        pytest.fail("locked")


def test_windows_locks_a_byte_beyond_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def locking(handle: int, mode: int, count: int) -> None:
        calls.append((os.lseek(handle, 0, os.SEEK_CUR), mode, count))
        if len(calls) > 1:
            raise PermissionError(errno.EACCES, "Permission denied")

    fake = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
    monkeypatch.setattr(locks, "msvcrt", fake, raising=False)
    monkeypatch.setattr(locks, "sys", types.SimpleNamespace(platform="win32"))
    with locked(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
        held = pytest.raises(HeldError, match=f"process {os.getpid()}")
        with held, locked(tmp_path / ".lock"):
            pytest.fail("two holders")
    assert calls == [(locks.BEYOND, 2, 1)] * 2
