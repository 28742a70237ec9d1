"""Checkpoints: written aside, synced, renamed; only then the oldest goes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gancomp.errors import CheckpointError, one_line
from gancomp.files import reporting_disk_errors, sync, sync_file, sync_folder
from gancomp.records import read_record

STATE = "state.pt"
MANIFEST = "manifest.json"
FORMAT = 1
NAME = re.compile(r"step_\d{8,}")
LEFTOVER = re.compile(r"\.step_\d{8,}\.(partial|old)")


class NewerFormatError(CheckpointError):
    """A checkpoint that is whole but only a newer gancomp can read."""


@dataclass(frozen=True)
class Checkpoint:
    """A finished step and everything needed to go on exactly."""

    step: int
    path: Path
    state: dict[str, Any]

    def networks(self) -> dict[str, Any]:
        """The weights by network.

        Raises:
            CheckpointError: if there are none in it.
        """
        networks = self.state.get("networks")
        if not isinstance(networks, dict):
            raise CheckpointError(f"{self.path}: is damaged (no networks in its {STATE})")
        return networks


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Writes `folder/step_NNNNNNNN/` and removes all but the newest `keep` afterwards.

    A crash at any moment leaves the older checkpoints whole; a folder with its final name is whole.
    Checkpoints of later steps go too: a run that went back to an older one found them damaged.
    A folder that is not as a save leaves it, such as a user's copy or notes in it, is left alone.

    Args:
        folder: the run's `checkpoints/`.
        step: number of finished steps.
        state: nested containers of tensors and plain values, as `torch.load(weights_only=True)`
            reads them.
        keep: how many checkpoints stay, at least 1.

    Raises:
        RunError: if the disk is full or cannot be written; older checkpoints are untouched.
    """
    final = folder / f"step_{step:08d}"
    aside = folder / f".step_{step:08d}.partial"
    if final.exists() and _is_whole(final):  # the same step again: equal content
        return final
    remove_leftovers(folder)
    with reporting_disk_errors(final):
        try:
            aside.mkdir()
            _write_state(aside / STATE, state)
            manifest = {"format": FORMAT, "step": step, "sha256": _sha256(aside / STATE)}
            (aside / MANIFEST).write_text(json.dumps(manifest))
            sync_file(aside / MANIFEST)
            sync_folder(aside)
            if final.exists():  # damaged, else we had returned above
                _make_room(final)
            aside.rename(final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_folder(folder)
    found = [path for path in list_checkpoints(folder) if path == final or _is_own(path)]
    newest = found.index(final)
    for other in found[:newest] + found[newest + keep :]:
        _discard(other)
    return final


def remove_leftovers(folder: Path) -> None:
    """Removes what a process that was killed left half-written or half-removed in `folder`."""
    for left in folder.iterdir() if folder.is_dir() else ():
        if LEFTOVER.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)


def _is_whole(path: Path) -> bool:
    try:
        _check(path)
    except CheckpointError:
        return False
    return True


def _is_own(path: Path) -> bool:
    """Whether a save wrote `path`, by its manifest, and nobody put anything else into it."""
    if path.is_symlink() or {entry.name for entry in path.iterdir()} - {STATE, MANIFEST}:
        return False
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        return (manifest["format"], manifest["step"]) == (FORMAT, _step_of(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make_room(final: Path) -> None:
    """Takes a damaged checkpoint out of the way of a new one; keeps what may be somebody's own."""
    if _is_own(final):
        _discard(final)
        return
    number = 1
    while (kept := final.with_name(f"{final.name}.replaced-{number}")).exists():
        number += 1
    final.rename(kept)


def _discard(path: Path) -> None:
    """Takes the final name away first, so that a half-deleted folder is never taken for whole."""
    doomed = path.with_name(f".{path.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _write_state(path: Path, state: dict[str, Any]) -> None:
    try:
        with path.open("wb") as file:
            torch.save(state, file)
            file.flush()
            sync(file.fileno(), path.parent)
    except RuntimeError as error:
        # torch's zip writer hides the operating system's reason when a write comes up short
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints in `folder`, newest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    named = (path for path in found if NAME.fullmatch(path.name) and path.is_dir())
    return sorted(named, key=_step_of, reverse=True)


def load_newest(folder: Path, say: Any) -> Checkpoint | None:
    """The newest checkpoint that is whole; damaged ones are named through `warn` and passed over.

    Raises:
        CheckpointError: if there are checkpoints but none of them is whole, or the newest whole one
            is of a newer format.
    """
    found = list_checkpoints(folder)
    for path in found:
        try:
            return load_checkpoint(path)
        except NewerFormatError:
            raise
        except CheckpointError as error:
            say(f"{error}; going back to the one before")
    if found:
        raise CheckpointError(
            f"{folder}: none of {len(found)} checkpoints is whole; start anew with another `out`"
        )
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """Opens one checkpoint after checking it against its recorded SHA-256.

    Raises:
        CheckpointError: if it is incomplete, altered or of a newer format.
    """
    _check(path)
    try:
        state = torch.load(path / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever is wrong in a file that was written with a right checksum
        raise _damaged(path, error) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: is damaged (no table in its {STATE})")
    return Checkpoint(step=_step_of(path), path=path, state=state)


def _check(path: Path) -> None:
    """Raises CheckpointError unless the manifest and the state's checksum are right."""
    try:
        manifest = read_record(path / MANIFEST, way_out="", error=ValueError)
        version, step = manifest.get("format", int), manifest.get("step", int)
        digest = manifest.get("sha256", str)
        if version > FORMAT:
            raise NewerFormatError(f"{path}: was written by a newer gancomp; update this one")
        if (version, step) != (FORMAT, _step_of(path)):
            raise ValueError(f"{MANIFEST} tells of format {version} and step {step}")
        if digest != _sha256(path / STATE):
            raise ValueError("its checksum differs")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: is damaged ({one_line(error)})")


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step_"))
