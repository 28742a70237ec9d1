"""`gancomp export`: one generator as one self-describing file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.formats import exporter_for
from gancomp.export.model import LoadedModel
from gancomp.inference.calibration import calibration_pictures
from gancomp.inference.models import choose
from gancomp.launch import unheard
from gancomp.paths import expanded
from gancomp.settings import Json


def export(
    model: Path,
    out: Path,
    *,
    format: str | None = None,
    part: str | None = None,
    options: Mapping[str, Any] | None = None,
    calibrate: Path | None = None,
    num: int | None = None,
    say: Callable[[str], None] = unheard,
) -> Json:
    """Writes the generator of `model` to `out`; returns file, format, bytes, SHA-256 and parity.

    And `checked`, at which sizes and batch sizes, where a runtime made the comparison, and
    `weights`, a second file that `bytes` counts, too.

    Args:
        model: a model file or a run.
        out: the file.
        format: its format by name, by default by the suffix of `out`.
        part: network of a model file that holds several.
        options: of the format, by name, None where they were not given; `beside` as paths.
        calibrate: a folder of pictures, for int8.
        num: of them, at most.
        say: told what takes long.

    Raises:
        ConfigError: if the format is unknown or needs an extra that is not installed.
        CheckpointError: if the model cannot be opened.
        ExportError: if it cannot be exported so, or the file would not give the model's images.
        RunError: if `out` cannot be written.
    """
    given = dict(options or {})
    given["beside"] = tuple(_beside(path) for path in given.get("beside") or ()) or None
    if calibrate is not None:
        given["calibrate"] = partial(calibration_pictures, folder=calibrate, num=num, say=say)
    name, exporter = exporter_for(out, format, given)
    if hasattr(exporter, "say"):
        exporter.say = say
    loaded = choose(model, part).model
    if getattr(exporter, "beside", None) == ():
        exporter.beside = tuple(with_teacher(model, loaded)[:-1])  # type: ignore[attr-defined]  # it has it
    if out.resolve() == loaded.path.resolve():
        raise ConfigError(f"`out` {out}: is the model itself; choose another file")
    exporter.write(loaded, out)
    content = _content(out)
    beside = getattr(exporter, "weights_file", None)  # a second file that belongs to the first
    document: Json = {
        "file": str(out),
        "format": name,
        "bytes": len(content) + (beside.stat().st_size if beside is not None else 0),
        "sha256": hashlib.sha256(content).hexdigest(),
        "parity": exporter.parity(loaded, out),
    }
    if beside is not None:
        document["weights"] = str(beside)
    checked = getattr(exporter, "checked", None)  # a format of a plug-in may not tell
    return document if checked is None else document | {"checked": checked}


def _beside(path: Path) -> LoadedModel:
    try:
        return choose(path).model
    except CheckpointError as error:
        raise CheckpointError(f"`beside` {error}") from error


def _content(out: Path) -> bytes:
    """Of a file, or of all files of a folder in the order of their names."""
    files = sorted(path for path in out.rglob("*") if path.is_file()) if out.is_dir() else [out]
    return b"".join(path.read_bytes() for path in files)


def with_teacher(model: Path, found: LoadedModel) -> list[LoadedModel]:
    """What was opened, behind its teacher where a run was given; a file stands for itself alone."""
    teacher = found.path.parent / "teacher.safetensors"
    is_student = expanded(model).is_dir() and found.path.name == "student.safetensors"
    return [choose(teacher).model, found] if is_student and teacher.exists() else [found]
