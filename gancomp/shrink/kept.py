"""Lines of JSON that a search keeps as they come, by which it goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

from gancomp.errors import RunError
from gancomp.files import reporting_disk_errors, write_text
from gancomp.records import Record, parse_json, versioned
from gancomp.settings import Json


def read_kept(file: Path) -> list[Record]:
    """The lines of `file`, none if there is none; one that was cut short is removed.

    Raises:
        RunError: if a line that another follows cannot be read.
    """
    if not file.exists():
        return []
    lines = file.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):  # cut short when the process was killed
        lines.pop()
        write_text(file, b"".join(lines).decode())
    return [_parsed(line, file, number) for number, line in enumerate(lines, 1)]


def _parsed(line: bytes, file: Path, number: int) -> Record:
    way_out = f"remove line {number}"
    try:
        values = parse_json(line)
    except ValueError as error:
        raise RunError(f"{file}: line {number} is no JSON ({error}); {way_out}") from error
    return Record(values, file, way_out=way_out)


def keep(file: Path, line: Json) -> None:
    """Adds a line.

    Raises:
        RunError: if it cannot be written.
    """
    with reporting_disk_errors(file), file.open("a") as open_file:
        open_file.write(json.dumps(versioned(line)) + "\n")
