from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from tiny_runs import assert_equal

import gancomp.engine.checkpoint as checkpoint_module
import gancomp.files as files_module
from gancomp.engine.checkpoint import (
    MANIFEST,
    STATE,
    list_checkpoints,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)
from gancomp.errors import CheckpointError, RunError

OURS = (checkpoint_module.__file__, files_module.__file__)


def state_of(step: int) -> dict[str, Any]:
    tensor = torch.arange(64.0) * step
    return {"networks": {"student": {"weight": tensor}}, "outcome": {"seconds": 0.5 * step}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


def save(folder: Path, step: int, *, keep: int = 2) -> Path:
    return save_checkpoint(folder, step, state_of(step), keep=keep)


def steps(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step_")) for path in list_checkpoints(folder)]


def newest(folder: Path) -> int:
    found = load_newest(folder, pytest.fail)
    assert found is not None
    assert_equal(found.state, state_of(found.step))
    return found.step


def test_what_was_saved_comes_back_bit_for_bit(folder: Path) -> None:
    path = save(folder, 3)
    loaded = load_checkpoint(path)
    assert (loaded.step, loaded.path, path.name) == (3, path, "step_00000003")
    assert_equal(loaded.state, state_of(3))


def test_an_empty_folder_has_no_checkpoint(folder: Path) -> None:
    assert load_newest(folder, pytest.fail) is None


def test_only_the_newest_are_kept(folder: Path) -> None:
    for step in (1, 2, 3, 4):
        save(folder, step, keep=2)
    assert steps(folder) == [4, 3]
    save(folder, 5, keep=1)
    assert [path.name for path in folder.iterdir()] == ["step_00000005"]


def test_a_checkpoint_goes_only_after_the_new_one_is_in_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(folder, 1, keep=1)
    seen = []
    monkeypatch.setattr(
        checkpoint_module, "_discard", lambda path: seen.append((path.name, newest(folder)))
    )
    save(folder, 2, keep=1)
    assert seen == [("step_00000001", 2)]


def test_everything_is_synced_before_it_gets_its_name_and_the_name_after_that(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(handle: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def noted_rename(self: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    save(folder, 1)
    assert calls == [STATE, MANIFEST, ".step_00000001.partial", "rename", "checkpoints"]


class Traced:
    """Calls `each` before every line of checkpoint.py and files.py that runs in the block."""

    def __init__(self, each: Callable[[], None]) -> None:
        self.each = each

    def __enter__(self) -> None:
        self.former = sys.gettrace()
        sys.settrace(self.trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.former)

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in OURS:
            return None
        if event == "line":
            self.each()
        return self.trace


@pytest.mark.parametrize("keep", [1, 2])
def test_a_crash_before_any_line_of_a_save_leaves_a_whole_checkpoint(
    keep: int, folder: Path, tmp_path: Path
) -> None:
    for step in (1, 2):
        save(folder, step, keep=keep)
    crashes: list[Path] = []

    def crash() -> None:
        """What lies on the disk at this moment is what a process that is gone leaves there."""
        crashes.append(Path(shutil.copytree(folder, tmp_path / f"before line {len(crashes)}")))

    with Traced(crash):
        save(folder, 3, keep=keep)
    assert len(crashes) > 40
    seen = set()
    for left_behind in crashes:
        seen.add(newest(left_behind))
        save(left_behind, 4, keep=keep)
        assert newest(left_behind) == 4
        left = {path.name for path in left_behind.iterdir()}
        assert left == {f"step_{step:08d}" for step in steps(left_behind)}, "leftovers of the crash"
        assert len(left) == keep
    assert seen == {2, 3}


@pytest.mark.parametrize(
    ("spoilt", "call"),
    [
        ("torch.save", 1),
        ("os.fsync", 1),
        ("os.fsync", 2),
        ("os.fsync", 3),
        ("os.fsync", 4),
        ("pathlib.Path.mkdir", 1),
        ("pathlib.Path.open", 1),
        ("pathlib.Path.write_text", 1),
        ("pathlib.Path.rename", 1),
    ],
)
def test_a_full_disk_at_any_system_call_is_one_line_and_leaves_a_whole_checkpoint(
    spoilt: str, call: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(folder, 1, keep=1)
    module, _, name = spoilt.rpartition(".")
    original = getattr({"torch": torch, "os": os, "pathlib.Path": Path}[module], name)
    calls = 0

    def full(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(spoilt, full)
        with pytest.raises(RunError, match=r"step_00000002: not written, the disk is full") as info:
            save(folder, 2, keep=1)
    assert "\n" not in str(info.value)
    assert "No space left" in str(info.value)
    # only the last sync comes after the new one has its name
    left = ["step_00000001", "step_00000002"][: 2 if (spoilt, call) == ("os.fsync", 4) else 1]
    assert sorted(path.name for path in folder.iterdir()) == left
    assert newest(folder) == len(left)


def test_the_reason_of_a_disk_that_fills_while_tensors_are_written_reaches_the_user(
    folder: Path,
) -> None:
    save(folder, 1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            save_checkpoint(folder, 2, {"weight": torch.zeros(100_000)}, keep=2)
        except RunError as error:
            text = str(error)
            status = 0 if "disk is full (File too large)" in text and "\n" not in text else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [path.name for path in folder.iterdir()] == ["step_00000001"]
    assert newest(folder) == 1


def test_a_keyboard_interrupt_at_any_line_of_a_save_leaves_a_whole_checkpoint(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    save(folder, 1, keep=1)
    for line in range(1, 200):
        left = line

        def step() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        try:
            with Traced(step):
                save(folder, line + 1, keep=1)
        except KeyboardInterrupt:
            assert newest(folder) in (line, line + 1)
            save(folder, line + 1, keep=1)
        else:
            break
    assert line > 40


def test_leftovers_of_a_crash_are_ignored_and_removed_at_the_next_save(folder: Path) -> None:
    save(folder, 1)
    for name in (".step_00000002.partial", ".step_00000000.old"):
        (folder / name).mkdir()
        (folder / name / STATE).write_bytes(b"half")
    assert newest(folder) == 1
    save(folder, 3)
    assert {path.name for path in folder.iterdir()} == {"step_00000001", "step_00000003"}


def truncate(path: Path) -> None:
    os.truncate(path / STATE, (path / STATE).stat().st_size // 2)


def flip_a_byte(path: Path) -> None:
    content = bytearray((path / STATE).read_bytes())
    content[len(content) // 2] ^= 1
    (path / STATE).write_bytes(content)


def lose_the_manifest(path: Path) -> None:
    (path / MANIFEST).unlink()


def lose_the_state(path: Path) -> None:
    (path / STATE).unlink()


def empty_the_manifest(path: Path) -> None:
    (path / MANIFEST).write_bytes(b"")


def put_a_list_into_the_manifest(path: Path) -> None:
    (path / MANIFEST).write_text("[1, 2]")


def lose_the_step(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["step"]
    (path / MANIFEST).write_text(json.dumps(manifest))


def tell_another_step(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(manifest | {"step": 7}))


DAMAGES = [
    truncate,
    flip_a_byte,
    lose_the_manifest,
    lose_the_state,
    empty_the_manifest,
    put_a_list_into_the_manifest,
    lose_the_step,
    tell_another_step,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    damage: Callable[[Path], None], folder: Path
) -> None:
    save(folder, 1)
    damage(save(folder, 2))
    warnings: list[str] = []
    found = load_newest(folder, warnings.append)
    assert found is not None
    assert found.step == 1
    (warning,) = warnings
    assert "step_00000002" in warning
    assert "damaged" in warning
    assert "\n" not in warning


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_same_step_saved_again_replaces_a_damaged_checkpoint(
    damage: Callable[[Path], None], folder: Path
) -> None:
    save(folder, 1)
    damage(save(folder, 2))
    save(folder, 2)
    assert newest(folder) == 2


def test_if_all_are_damaged_the_error_is_one_line_with_a_way_out(folder: Path) -> None:
    for step in (1, 2):
        flip_a_byte(save(folder, step))
    with pytest.raises(CheckpointError, match="none of 2 checkpoints is whole.*`out`") as info:
        load_newest(folder, lambda message: None)
    assert "\n" not in str(info.value)


def test_a_damaged_newer_checkpoint_does_not_push_out_the_new_good_one(folder: Path) -> None:
    # a run went back from 8 to 4, goes on and now keeps one checkpoint only
    save(folder, 4)
    flip_a_byte(save(folder, 8))
    save(folder, 6, keep=1)
    assert newest(folder) == 6
    assert steps(folder) == [6]


def notes_inside(folder: Path) -> Path:
    path = save(folder, 8)
    (path / "notes.txt").write_text("the good one")
    return path


def copy_called(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(save(folder, 2), folder / name))


OWN_FOLDERS = [
    notes_inside,
    partial(copy_called, "step_abcdefgh"),
    partial(copy_called, "step_00000009"),
    partial(copy_called, ".step_mine.old"),
]


@pytest.mark.parametrize("make", OWN_FOLDERS)
def test_saving_leaves_folders_alone_that_no_save_wrote(
    make: Callable[[Path], Path], folder: Path
) -> None:
    kept = make(folder)
    content = {path.name: path.read_bytes() for path in kept.iterdir()}
    for step in (3, 4, 5):
        save(folder, step, keep=1)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == content
    assert {path.name for path in folder.iterdir()} == {kept.name, "step_00000005"}


def test_what_stands_in_the_place_of_a_new_checkpoint_is_moved_and_kept(folder: Path) -> None:
    shutil.copytree(save(folder, 1), folder / "step_00000002")
    save(folder, 2)
    assert newest(folder) == 2
    moved = folder / "step_00000002.replaced-1"
    assert (moved / STATE).read_bytes() == (folder / "step_00000001" / STATE).read_bytes()


def test_steps_of_nine_digits_come_after_those_of_eight(folder: Path) -> None:
    for step in (99_999_999, 100_000_000):
        save(folder, step)
    assert steps(folder) == [100_000_000, 99_999_999]
    save(folder, 100_000_001, keep=1)
    assert steps(folder) == [100_000_001]


def test_a_checkpoint_of_a_newer_format_is_neither_passed_over_nor_removed(folder: Path) -> None:
    save(folder, 1)
    path = save(folder, 2)
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(CheckpointError, match="step_00000002: was written by a newer gancomp"):
        load_newest(folder, pytest.fail)


@pytest.fixture(autouse=True)
def no_trace_left() -> Iterator[None]:
    former = sys.gettrace()
    yield
    assert sys.gettrace() is former


@pytest.mark.parametrize("function", ["sync_file", "sync_folder", "_sha256"])
def test_a_disk_that_fails_keeps_the_last_good_checkpoint_and_leaves_nothing_behind(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = save_checkpoint(tmp_path, 1, {"value": 1}, keep=1)

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(f"gancomp.engine.checkpoint.{function}", fail)
    with pytest.raises(RunError, match=r"step_00000002: cannot be written \(Input/output error\)"):
        save_checkpoint(tmp_path, 2, {"value": 2}, keep=1)
    monkeypatch.undo()
    assert load_checkpoint(good).state == {"value": 1}
    assert not list(tmp_path.glob(".*"))
