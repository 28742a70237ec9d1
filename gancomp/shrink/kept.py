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


class KeptLines:
    """Lines of a file in a folder that may not be there yet: until then they are in memory.

    Args:
        file: holds the lines; None for a search that keeps none.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.waiting: list[Json] = []

    def read(self) -> list[Record]:
        """What is in the file; see `read_kept`."""
        return [] if self.file is None else read_kept(self.file)

    def keep(self, line: Json) -> None:
        """Adds a line.

        Raises:
            RunError: if it cannot be written.
        """
        self.waiting.append(line)
        self.write()

    def write(self) -> None:
        """Writes the lines that wait, if there is a folder for them by now.

        Raises:
            RunError: if they cannot be written.
        """
        while self.waiting and self.file is not None and self.file.parent.is_dir():
            keep(self.file, self.waiting.pop(0))


def keep(file: Path, line: Json) -> None:
    """Adds a line.

    Raises:
        RunError: if it cannot be written.
    """
    with reporting_disk_errors(file), file.open("a") as open_file:
        open_file.write(json.dumps(versioned(line)) + "\n")
