"""Checkpoints: written aside, synced, renamed; only then the oldest goes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gancomp.errors import CheckpointError
from gancomp.files import reporting_disk_errors, sync_file, sync_folder

STATE = "state.pt"
MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A finished step and everything needed to go on exactly."""

    step: int
    path: Path
    state: dict[str, Any]


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Writes `folder/step_NNNNNNNN/` and removes all but the newest `keep` afterwards.

    A crash at any moment leaves the older checkpoints whole; a folder with its final name is whole.

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
    with reporting_disk_errors(final):
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir()
            _write_state(aside / STATE, state)
            manifest = {"format": FORMAT, "step": step, "sha256": _sha256(aside / STATE)}
            (aside / MANIFEST).write_text(json.dumps(manifest))
            sync_file(aside / MANIFEST)
            sync_folder(aside)
            if final.exists():  # damaged, else we had returned above
                _discard(final)
            aside.rename(final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_folder(folder)
    for old in list_checkpoints(folder)[keep:]:
        _discard(old)
    return final


def _is_whole(path: Path) -> bool:
    try:
        return bool(json.loads((path / MANIFEST).read_text())["sha256"] == _sha256(path / STATE))
    except (OSError, ValueError, KeyError):
        return False


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
            os.fsync(file.fileno())
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
    return sorted(folder.glob("step_????????"), reverse=True)


def load_newest(folder: Path, warn: Any) -> Checkpoint | None:
    """The newest checkpoint that is whole; damaged ones are named through `warn` and passed over.

    Raises:
        CheckpointError: if there are checkpoints but none of them is whole.
    """
    found = list_checkpoints(folder)
    for path in found:
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            warn(f"{error}; going back to the one before")
    if found:
        raise CheckpointError(
            f"{folder}: none of {len(found)} checkpoints is whole; start anew with another --out"
        )
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """Opens one checkpoint after checking it against its recorded SHA-256.

    Raises:
        CheckpointError: if it is incomplete, altered or of a newer format.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        if manifest["format"] > FORMAT:
            raise CheckpointError(f"{path}: was written by a newer gancomp; update this one")
        if _sha256(path / STATE) != manifest["sha256"]:
            raise CheckpointError(f"{path}: is damaged (its checksum differs)")
        state = torch.load(path / STATE, map_location="cpu", weights_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: is damaged ({str(error).splitlines()[0]})") from error
    return Checkpoint(step=manifest["step"], path=path, state=state)
