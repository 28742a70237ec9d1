from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gancomp.errors import RunError
from gancomp.files import FULL_DISK, NO_PLACE, replacing, reporting_disk_errors, write_text


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
    assert "--resume" in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("number", NO_PLACE)
def test_a_place_that_cannot_be_written_is_one_line_with_a_way_out(
    number: int, tmp_path: Path
) -> None:
    with (
        pytest.raises(RunError, match=r"a.txt: cannot be written .*--out") as info,
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
