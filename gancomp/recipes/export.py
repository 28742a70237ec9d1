"""`gancomp export`: one generator as one self-describing file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gancomp.errors import ConfigError
from gancomp.export.formats import exporter_for
from gancomp.inference.models import choose
from gancomp.settings import Json


def export(model: Path, out: Path, *, format: str | None = None, part: str | None = None) -> Json:
    """Writes the generator of `model` to `out`; returns file, format, bytes, SHA-256 and parity.

    Raises:
        ConfigError: if the format is unknown.
        CheckpointError: if the model cannot be opened.
        RunError: if `out` cannot be written.
    """
    name, exporter = exporter_for(out, format)
    loaded = choose(model, part).model
    if out.resolve() == loaded.path.resolve():
        raise ConfigError(f"-o {out}: is the model itself; choose another file")
    exporter.write(loaded, out)
    content = out.read_bytes()
    return {
        "file": str(out),
        "format": name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "parity": exporter.parity(loaded, out),
    }
