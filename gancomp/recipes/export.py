"""`gancomp export`: one generator as one self-describing file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gancomp.errors import ConfigError
from gancomp.export.native import save_model
from gancomp.recipes.models import choose
from gancomp.settings import Json

FORMATS = {".safetensors": "safetensors"}


def export(model: Path, out: Path, *, format: str | None = None, part: str | None = None) -> Json:
    """Writes the generator of `model` to `out`; returns file, format, bytes and SHA-256.

    Raises:
        ConfigError: if the format is unknown.
        CheckpointError: if the model cannot be opened.
        RunError: if `out` cannot be written.
    """
    chosen = format or FORMATS.get(out.suffix.lower())
    if chosen not in FORMATS.values():
        named = f"--format {format}" if format else f"-o {out}"
        way_out = "" if format else f"; end the name in {', '.join(FORMATS)}, or give --format"
        raise ConfigError(f"{named}: unknown format; known: {', '.join(FORMATS.values())}{way_out}")
    loaded = choose(model, part).model
    if out.resolve() == loaded.path.resolve():
        raise ConfigError(f"-o {out}: is the model itself; choose another file")
    header = loaded.header
    save_model(
        out,
        loaded.network,
        role=header["role"] or "generator",
        task=header["task"],
        step=header["step"],
        method=header["method"],
        dataset=header["dataset"],
        direction=header.get("direction"),
        input_size=(header["input"]["size"][0], header["input"]["size"][1]),
        extra={"pixels": header["pixels"]} if header.get("pixels") else None,
    )
    content = out.read_bytes()
    return {
        "file": str(out),
        "format": chosen,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
