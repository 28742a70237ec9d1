from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lacking import compiled, lacking

from gancomp.errors import RunError
from gancomp.files import (
    FULL_DISK,
    LACKING,
    NO_PLACE,
    replacing,
    reporting_disk_errors,
    sync_folder,
    write_text,
)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_new_file_appears_whole_and_nothing_else(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as aside:
        assert aside.parent == tmp_path
        assert not (tmp_path / "a.txt").exists()
        aside.write_bytes(b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def write_half(path: Path, error: BaseException) -> None:
    with replacing(path) as aside:
        aside.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError, SystemExit])
def test_an_exception_leaves_the_old_file_and_nothing_else(
    error: type[BaseException], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(b"old")
    with pytest.raises(error):
        write_half(tmp_path / "a.txt", error())
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    old=st.binary(max_size=200), new=st.binary(max_size=200), cut=st.none() | st.integers(0, 200)
)
def test_a_file_holds_the_old_or_the_new_content_and_never_a_mixture(
    old: bytes, new: bytes, cut: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(old)
    try:
        with replacing(path) as aside:
            aside.write_bytes(new[:cut])
            if cut is not None:
                raise ValueError("torn")
    except ValueError:
        pass
    assert path.read_bytes() == (new if cut is None else old)
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask_and_the_umask_stays(
    mask: int, mode: int, tmp_path: Path, umask: None
) -> None:
    os.umask(mask)
    write_text(tmp_path / "a.txt", "x")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode
    assert os.umask(mask) == mask


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def noted_replace(self: Path, target: Path) -> Path:
        calls.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_text(tmp_path / "a.txt", "x")
    assert calls == ["file", "replace", "folder"]


@pytest.mark.parametrize("number", FULL_DISK)
def test_a_full_disk_is_one_line_that_names_the_file_and_the_reason(
    number: int, tmp_path: Path
) -> None:
    with (
        pytest.raises(RunError, match=r"a.txt: not written, the disk is full") as info,
        reporting_disk_errors(tmp_path / "a.txt"),
    ):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in str(info.value)
    assert "go on with `resume=True`" in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("number", NO_PLACE)
def test_a_place_that_cannot_be_written_is_one_line_with_a_way_out(
    number: int, tmp_path: Path
) -> None:
    with (
        pytest.raises(RunError, match=r"a.txt: cannot be written .*`out`") as info,
        reporting_disk_errors(tmp_path / "a.txt"),
    ):
        raise OSError(number, os.strerror(number))
    assert "\n" not in str(info.value)


def test_an_error_of_ours_is_not_mistaken_for_one_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"), reporting_disk_errors(tmp_path):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "no" / "a.txt", "x")


def test_when_the_kernel_refuses_more_bytes_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            write_text(path, "new" * 1000)
        except RunError as error:
            status = 0 if "disk is full (File too large)" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Zürich 馬\n")
    assert (tmp_path / "a.txt").read_bytes() == "Zürich 馬\n".encode()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_a_replaced_file_keeps_its_permissions(mode: int, tmp_path: Path, umask: None) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    with replacing(path) as aside:
        assert not stat.S_IMODE(aside.stat().st_mode) & 0o077 & ~mode, "readable for a moment"
        aside.write_text("new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for name in ("there", "not-yet"):
        target, link = tmp_path / "disk" / name, tmp_path / f"to-{name}"
        if name == "there":
            target.write_text("old")
        link.symlink_to(Path("disk") / name)
        write_text(link, "new")
        assert link.is_symlink()
        assert target.read_text() == link.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["disk", "to-not-yet", "to-there"]
    assert len(os.listdir(tmp_path / "disk")) == 2


def test_links_in_a_circle_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(RunError, match=r"a: cannot be written"):
        write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_and_stays_what_it_is(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")
    before = path.stat()
    with pytest.raises(RunError, match=f"x: cannot be written, it is a {kind}; give the name"):
        write_text(path, "x")
    assert (path.stat().st_mode, path.stat().st_ino) == (before.st_mode, before.st_ino)
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("name", ["n" * 255, "\u99ac" * 85])
def test_a_name_as_long_as_names_can_be_is_written(name: str, tmp_path: Path) -> None:
    write_text(tmp_path / name, "x")
    write_text(tmp_path / name, "y")
    assert os.listdir(tmp_path) == [name]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


WRITE = """
import sys
from pathlib import Path
from gancomp.files import write_text
for text in ("one", "two"):
    write_text(Path(sys.argv[1]), text)
"""


@pytest.mark.parametrize("number", sorted({*LACKING}))
def test_a_file_system_without_folder_sync_or_permissions_gets_the_file_and_one_warning(
    number: int, shim: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    path.chmod(0o666)  # not what the umask gives, so it is to be set
    command = [sys.executable, "-c", WRITE, str(path)]
    for lacks in ({"fsync": number}, {"chmod": number}, {"fsync": number, "chmod": number}):
        path.chmod(0o666)
        found = subprocess.run(
            command,
            env=lacking(shim, **lacks),
            umask=0o022,
            check=False,
            timeout=60,
            capture_output=True,
            text=True,
        )
        assert (found.returncode, path.read_text()) == (0, "two"), found.stderr
        assert found.stderr.count("\n") == found.stderr.count("warning: ") == 1
        assert os.listdir(tmp_path) == ["a.txt"]


RUN = """
import sys
import torch
from pathlib import Path
from gancomp.engine.checkpoint import load_newest, save_checkpoint
from gancomp.engine.run import writing_run
for resume in (False, True):
    with writing_run(Path(sys.argv[1]), resume=resume) as run:
        run.write_config({"settings": {}})
        step = 2 if resume else 1
        save_checkpoint(run.checkpoints, step, {"weight": torch.ones(3)}, keep=1)
print(load_newest(run.checkpoints, print).step)
"""


def test_a_run_is_written_and_continued_on_a_file_system_without_any_of_them(
    shim: Path, tmp_path: Path
) -> None:
    number = errno.ENOSYS
    found = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "run")],
        env=lacking(shim, flock=number, fsync=number, chmod=number),
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert found.stdout == "2\n"
    assert found.stderr.count("warning: ") == 1
    assert "Traceback" not in found.stderr


def test_a_disk_that_fails_to_sync_is_no_file_system_without_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)
