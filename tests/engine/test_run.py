from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gancomp.engine.run as run_module
from gancomp.engine.run import (
    RunFolder,
    latest_run,
    name_latest,
    read_config,
    read_metrics,
    writing_run,
)
from gancomp.errors import RunError
from gancomp.locks import locked


def hold_in_a_child(path: Path, also: Callable[[], None] = lambda: None) -> int:
    """Forks a process that holds the run at `path` until it is killed; returns its id."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with writing_run(path, resume=False):
                also()
                os.write(writing, b"x")
                signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_disk_that_is_full_from_the_start_is_one_line(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            with writing_run(tmp_path / "run", resume=False):
                pass
        except RunError as error:
            status = 0 if "disk is full (File too large)" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_second_writer_is_refused_with_the_first_ones_process_id(tmp_path: Path) -> None:
    child = hold_in_a_child(tmp_path / "run")
    try:
        with (
            pytest.raises(RunError, match=f"process {child} is writing this run"),
            writing_run(tmp_path / "run", resume=False),
        ):
            pytest.fail("two writers")
    finally:
        kill(child)


def test_the_lock_is_gone_with_its_killed_owner_even_while_the_owners_children_live(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pid"

    def start_worker() -> None:
        worker = os.fork()
        if worker == 0:
            signal.pause()
        pids.write_text(str(worker))

    child = hold_in_a_child(tmp_path / "run", start_worker)
    kill(child)
    worker = int(pids.read_text())
    os.kill(worker, 0)  # it lives
    try:
        with writing_run(tmp_path / "run", resume=False):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_forked_worker_does_not_give_the_lock_free_when_it_ends(tmp_path: Path) -> None:
    with writing_run(tmp_path / "run", resume=False):
        worker = os.fork()
        if worker == 0:
            os._exit(0)
        os.waitpid(worker, 0)
        other = os.fork()
        if other == 0:
            status = 1
            try:
                with writing_run(tmp_path / "run", resume=False):
                    pass
            except RunError:
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0


def test_the_lock_is_free_after_the_block_even_if_it_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing_run(tmp_path / "run", resume=False):
        raise ZeroDivisionError
    with writing_run(tmp_path / "run", resume=False):
        pass


def begun(path: Path) -> Path:
    with writing_run(path, resume=False) as run:
        run.write_config({"settings": {}})
    return path


def test_an_existing_run_is_not_written_without_being_asked_to_continue(tmp_path: Path) -> None:
    path = begun(tmp_path / "run")
    with (
        pytest.raises(RunError, match="already holds a run; continue it with `resume=True`"),
        writing_run(path, resume=False),
    ):
        pytest.fail("overwritten")
    with writing_run(path, resume=True):
        pass


def test_a_run_that_came_into_being_while_waiting_for_the_lock_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def locked_late(lock: Path) -> Iterator[None]:
        with locked(lock):
            (lock.parent / "config.json").write_text("{}")
            yield

    monkeypatch.setattr(run_module, "locked", locked_late)
    with (
        pytest.raises(RunError, match="already holds a run"),
        writing_run(tmp_path / "run", resume=False),
    ):
        pytest.fail("overwritten")


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match="`resume`: there is no run in"),
        writing_run(tmp_path / "run", resume=True),
    ):
        pytest.fail("resumed nothing")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all my work")
    with (
        pytest.raises(RunError, match="is a folder with other files"),
        writing_run(tmp_path, resume=False),
    ):
        pytest.fail("used")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with (
        pytest.raises(RunError, match="is a file; choose a folder"),
        writing_run(tmp_path / "run", resume=False),
    ):
        pytest.fail("used")


def test_a_run_that_was_killed_before_its_settings_were_written_begins_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run"
    (path / "checkpoints").mkdir(parents=True)
    (path / ".lock").write_text("1")
    (path / ".gancomp-0ab12cd4.partial").write_text('{"sett')
    with writing_run(path, resume=False) as run:
        run.write_config({})
    assert not list(path.glob("*.partial"))


def test_leftovers_of_a_crash_are_removed_when_the_run_goes_on(tmp_path: Path) -> None:
    path = begun(tmp_path / "run")
    left = [
        path / ".gancomp-x1.partial",
        path / "samples" / ".gancomp-x2.partial",
        path / "checkpoints" / ".step_00000004.partial" / "state.pt",
        path / "checkpoints" / ".step_00000002.old" / "state.pt",
    ]
    for file in left:
        file.parent.mkdir(exist_ok=True)
        file.write_text("half")
    for name in ("notes.partial", ".notes.partial"):
        (path / name).write_text("the user's own")
    with writing_run(path, resume=True):
        pass
    assert {str(file.relative_to(path)) for file in path.rglob("*")} == {
        ".lock", "config.json", "checkpoints", "samples", "notes.partial",
        ".notes.partial",
    }  # fmt: skip


def test_metrics_of_steps_to_be_taken_again_and_a_torn_last_line_are_dropped(
    tmp_path: Path,
) -> None:
    with writing_run(tmp_path / "run", resume=False) as run:
        for step in (1, 2, 3, 4):
            run.append_metrics({"step": step, "losses": {"a": 0.1 * step}})
        path = run.path / "metrics.jsonl"
        whole = path.read_text()
        path.write_text(whole + '{"step": 5, "los')
        run.forget_metrics_after(3, pytest.fail)
        assert path.read_text() == "".join(whole.splitlines(keepends=True)[:3])
        run.forget_metrics_after(0, pytest.fail)
        assert path.read_text() == ""


def test_lines_that_are_no_metrics_are_left_out_and_the_file_is_kept_aside(tmp_path: Path) -> None:
    content = '5\n{}\n{"step": 1}\n{"step": "2"}\n' + "[" * 100_000 + '\n{"step": 3}\n'
    (tmp_path / "metrics.jsonl").write_text(content)
    said: list[str] = []
    RunFolder(tmp_path).forget_metrics_after(2, said.append)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'
    assert (tmp_path / "metrics.jsonl.damaged").read_text() == content
    assert len(said) == 1
    assert "line 1: " in said[0]
    assert "4 such lines" in said[0]


def test_a_run_s_files_say_which_schema_they_are_of(tmp_path: Path) -> None:
    with writing_run(tmp_path / "run", resume=False) as run:
        run.write_config({"settings": {}})
        run.append_metrics({"step": 1})
    assert json.loads((run.path / "config.json").read_text()) == {"schema": 1, "settings": {}}
    assert json.loads((run.path / "metrics.jsonl").read_text()) == {"schema": 1, "step": 1}


def test_metrics_are_read_as_far_as_they_are_whole(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"schema": 1, "step": 2}\n{"step": 3, "los')
    assert read_metrics(tmp_path) == [{"step": 1}, {"schema": 1, "step": 2}]
    for line, problem in (("x", "line 1 is no JSON"), ("5", "line 1"), ('{"schema": 2}', "update")):
        path.write_text(f"{line}\n")
        with pytest.raises(RunError, match=f"metrics.jsonl: .*{problem}"):
            read_metrics(tmp_path)


def test_forgetting_metrics_that_were_never_written_is_no_error(tmp_path: Path) -> None:
    RunFolder(tmp_path).forget_metrics_after(3, pytest.fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": 3}'])
def test_a_damaged_config_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config.json: is damaged"):
        read_config(tmp_path)


def test_latest_names_the_newest_run_and_survives_a_move_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert latest_run() is None
    for name in ("one", "two"):
        assert name_latest(begun(Path("runs") / name)) is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    assert latest_run() == tmp_path / "there" / "runs" / "two"


def test_a_folder_called_latest_is_reported_and_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "latest").mkdir(parents=True)
    assert "runs/latest: not updated" in str(name_latest(begun(tmp_path / "run")))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["latest"]


def test_settings_are_written_as_json_with_a_line_end(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_config({"settings": {"a": 1}})
    text = (tmp_path / "config.json").read_text()
    expected = {"schema": 1, "settings": {"a": 1}}
    assert json.loads(text) == read_config(tmp_path).values == expected
    assert text.endswith("}\n")
