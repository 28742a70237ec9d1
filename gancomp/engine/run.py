"""The run folder: one writer at a time; nothing good is overwritten."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gancomp.config import read
from gancomp.engine.checkpoint import remove_leftovers
from gancomp.errors import ConfigError, RunError
from gancomp.files import ASIDE, FULL_DISK, replacing, reporting_disk_errors, write_text
from gancomp.locks import OWNER, HeldError, locked
from gancomp.ranks import current
from gancomp.records import Record, check_schema, parse_json, read_record, versioned
from gancomp.settings import Settings

CONFIG = "config.json"
METRICS = "metrics.jsonl"
LATEST = Path("runs") / "latest"
LOCK = ".lock"


class RunFolder:
    """A folder that holds one training run; opened for writing by `writing_run`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"

    def write_config(self, config: dict[str, Any]) -> None:
        """Records the resolved settings and the versions that the run was started with."""
        write_text(self.path / CONFIG, json.dumps(versioned(config), indent=2) + "\n")

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Adds one line to `metrics.jsonl`; a crash leaves at most one unfinished last line."""
        with reporting_disk_errors(self.path / METRICS), (self.path / METRICS).open("a") as file:
            file.write(json.dumps(versioned(record)) + "\n")

    def forget_metrics_after(self, step: int, say: Callable[[str], None]) -> None:
        """Drops the lines of steps that a resumed run is about to take again.

        The unfinished last line that a crash leaves is dropped, too. If others cannot be read,
        the file is kept aside as it is, and `say` is told.
        """
        path = self.path / METRICS
        if not path.exists():
            return
        content = path.read_bytes()
        lines = content.decode("utf-8", errors="replace").splitlines()
        kept, damaged = [], []
        for number, line in enumerate(lines, 1):
            try:
                found = _step_of(line, path)
            except RunError as error:
                if number < len(lines) or content.endswith(b"\n"):
                    damaged.append(f"line {number}: {error}")
            else:
                if found <= step:
                    kept.append(line)
        if damaged:
            with replacing(path.with_suffix(".jsonl.damaged")) as aside:
                aside.write_bytes(content)
            say(
                f"warning: {damaged[0]}; {len(damaged)} such lines are left out, and the file as "
                f"it was is kept as {path}.damaged"
            )
        write_text(path, "".join(f"{line}\n" for line in kept))


class WatchedRun(RunFolder):
    """The run folder of ranks that do not write: what they would write, the first one writes."""

    def write_config(self, config: dict[str, Any]) -> None:
        """Nothing."""

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def forget_metrics_after(self, step: int, say: Callable[[str], None]) -> None:
        """Nothing."""


def _step_of(line: str, path: Path) -> int:
    """The step that a line of metrics is about; raises RunError if it is none."""
    try:
        values = parse_json(line)
    except ValueError as error:
        raise RunError(f"{path}: is no JSON ({error})") from error
    return Record(values, path, way_out="").get("step", int)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of the run at `path`, oldest first; none before its first.

    The last line is left out while it is being written, as it is where a crash cut it short.

    Raises:
        RunError: if another line is no record, or is of a later gancomp.
    """
    file = path / METRICS
    content = file.read_bytes() if file.exists() else b""
    records = []
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            values = parse_json(line)
        except ValueError as error:
            raise RunError(f"{file}: line {number} is no JSON ({error}); remove it") from error
        record = Record(values, file, way_out=f"remove line {number}").values
        check_schema(record, file)
        records.append(record)
    return records


def read_config(path: Path, *, way_out: str = "check the path") -> Record:
    """The `config.json` of the run at `path`.

    Args:
        path: the run's folder.
        way_out: for the message if it is none.

    Raises:
        RunError: if there is none or it is damaged.
    """
    try:
        config = read_record(path / CONFIG, way_out="choose another `out` for a new run")
    except OSError as error:
        raise RunError(f"{path}: is no gancomp run (no readable {CONFIG}); {way_out}") from error
    config.get("settings", dict)
    return config


def settings_in(config: Record) -> Settings:
    """The settings of a run, out of its `config.json`.

    Raises:
        RunError: if they are none.
    """
    try:
        return read(Settings, config.get("settings", dict))
    except ConfigError as error:
        raise config.damaged(f"settings: {error}") from error


@contextlib.contextmanager
def writing_run(path: Path, *, resume: bool) -> Iterator[RunFolder]:
    """Opens (or creates) the run at `path` for writing, alone, until the block ends.

    The lock belongs to the process: it is gone however the process ends. Of several ranks the first
    one writes.

    Raises:
        RunError: if the folder is used by another process, cannot be created, or holds a run that
            was not asked to be continued.
    """
    if not current().leads:
        yield WatchedRun(path)
        return
    check_place(path, resume=resume)
    is_new = not path.exists()
    with _alone(path), contextlib.ExitStack() as left:
        if is_new:
            left.callback(_remove_if_empty, path)
        check_place(path, resume=resume)  # another may have been here meanwhile
        run = RunFolder(path)
        with reporting_disk_errors(path):
            run.checkpoints.mkdir(exist_ok=True)
            run.samples.mkdir(exist_ok=True)
            tidy(run)
        yield run


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            path.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(path / LOCK))
        except HeldError as error:
            raise RunError(
                f"`out` {path}: {error} is writing this run; wait for it, or choose another"
            ) from error
        except OSError as error:
            if error.errno in FULL_DISK:
                raise RunError(
                    f"`out` {path}: not written, the disk is full ({error.strerror}); free some "
                    "space, or choose another folder"
                ) from error
            raise RunError(
                f"`out` {path}: cannot be written ({error.strerror}); choose another folder"
            ) from error
        yield


def check_place(path: Path, *, resume: bool) -> None:
    """Looks, without touching anything, whether a run can be written to `path`.

    Raises:
        RunError: if it is no place for a new run, or there is none to resume.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"`out` {path}: is a file; choose a folder that does not exist yet")
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise RunError(f"`out` {path}: {parent} is a file; choose another folder")
    holds_run = (path / CONFIG).exists()
    if holds_run and not resume:
        raise RunError(
            f"`out` {path}: already holds a run; continue it with `resume=True`, "
            "or choose another folder with `out`"
        )
    if resume and not holds_run:
        raise RunError(f"`resume`: there is no run in {path} to continue; remove `resume=True`")
    if path.is_dir() and not holds_run and any(not _is_own(entry) for entry in path.iterdir()):
        raise RunError(f"`out` {path}: is a folder with other files; choose a new or empty folder")


def tidy(run: RunFolder) -> None:
    """Removes what a killed process left half-written."""
    remove_leftovers(run.checkpoints)
    for left in (*run.path.glob(ASIDE), *run.samples.glob(ASIDE)):
        left.unlink()


def _remove_if_empty(path: Path) -> None:
    """Removes the folder of a run that was refused before it began; its lock is still held."""
    if (path / CONFIG).exists() or not all(map(_is_own, path.iterdir())):
        return
    with contextlib.suppress(OSError):  # of a system that keeps open files
        for folder in ("checkpoints", "samples"):
            (path / folder).rmdir()
        for file in path.iterdir():
            file.unlink()
        path.rmdir()


def _is_own(entry: Path) -> bool:
    # left by a run that was stopped before it wrote its settings
    return fnmatch(entry.name, ASIDE) or (
        entry.name in (LOCK, LOCK + OWNER)
        or (entry.name in ("checkpoints", "samples") and not any(entry.iterdir()))
    )


def name_latest(path: Path) -> str | None:
    """Points `runs/latest` at the run; returns what went wrong, if anything, for a warning."""
    aside = LATEST.with_name(f".latest.{os.getpid()}")
    try:
        LATEST.parent.mkdir(parents=True, exist_ok=True)
        home = LATEST.parent.resolve()
        inside = path.resolve().is_relative_to(home)
        aside.symlink_to(os.path.relpath(path.resolve(), home) if inside else path.resolve())
        aside.replace(LATEST)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        return f"{LATEST}: not updated ({error.strerror}); name the run in later commands"
    return None


def latest_run() -> Path | None:
    """The newest run's folder, if `runs/latest` names one that still exists."""
    target = LATEST.resolve() if LATEST.exists() else None
    return target if target and (target / CONFIG).exists() else None
