"""JSON that a command wrote and a later one reads back: each value is asked for by key and kind."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from gancomp.errors import RunError

T = TypeVar("T")
SCHEMA = 1  # of run files; those without a number are older, and hold the same
SCHEMA_KEY = "schema"
KINDS = {
    dict: "a table",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
}
MOST_SHOWN = 40  # characters of a value that is refused


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: for anything else, also if it is nested too deep or a number is too long.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def versioned(document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` as it is written to a run: with the version of its shape, first."""
    rest = {key: value for key, value in document.items() if key != SCHEMA_KEY}
    return {SCHEMA_KEY: SCHEMA} | rest


def check_schema(values: Mapping[str, Any], file: Path) -> None:
    """Refuses what a later gancomp wrote in another shape; what an earlier one wrote is fine.

    Raises:
        RunError: naming both versions.
    """
    found = values.get(SCHEMA_KEY, 0)
    if not isinstance(found, int) or isinstance(found, bool) or found <= SCHEMA:
        return
    raise RunError(
        f"{file}: is of schema {shown(found)}, this gancomp reads up to {SCHEMA}; update gancomp"
    )


class Record:
    """A table of values out of a file, none of which is believed to be what it should be.

    Args:
        values: as parsed.
        file: where they come from, for messages.
        way_out: what the user can do if they are wrong.
        error: raised then.
    """

    def __init__(
        self,
        values: Any,
        file: Path,
        *,
        way_out: str,
        error: type[Exception] = RunError,
    ) -> None:
        self.file, self.way_out, self.error = file, way_out, error
        if not isinstance(values, Mapping):
            raise self.damaged(f"it should be a table, and is {shown(values)}")
        self.values: dict[str, Any] = dict(values)

    def get(self, key: str, kind: type[T]) -> T:
        """The value at the dotted path `key`.

        Raises:
            RunError, or what `error` is: if there is none, or it is of another kind.
        """
        found = self._look_up(key)
        if found is None:
            raise self.damaged(f"no {key} in it")
        return self._checked(key, found, kind)

    def find(self, key: str, kind: type[T]) -> T | None:
        """The value at the dotted path `key`, None where there is none.

        Raises:
            RunError, or what `error` is: if it is of another kind.
        """
        found = self._look_up(key)
        return None if found is None else self._checked(key, found, kind)

    def records(self, key: str) -> list[Record]:
        """The tables in the list at `key`.

        Raises:
            RunError, or what `error` is: if it is no list of tables.
        """
        return [
            Record(
                self._checked(f"{key}[{index}]", item, dict),
                self.file,
                way_out=self.way_out,
                error=self.error,
            )
            for index, item in enumerate(self.get(key, list))
        ]

    def damaged(self, problem: str) -> Exception:
        """An error about the file."""
        way_out = f"; {self.way_out}" if self.way_out else ""
        return self.error(f"{self.file}: is damaged ({problem}){way_out}")

    def _look_up(self, key: str) -> Any:
        found: Any = self.values
        path = key.split(".")
        for index, name in enumerate(path):
            if not isinstance(found, Mapping):
                self._checked(".".join(path[:index]), found, dict)
                return None
            found = found.get(name)
            if found is None:
                return None
        return found

    def _checked(self, key: str, value: Any, kind: type[T]) -> T:
        wanted: Any = (int, float) if kind is float else kind
        if (
            not isinstance(value, wanted)
            or (isinstance(value, bool) and kind is not bool)
            or (isinstance(value, float) and not math.isfinite(value))
        ):
            raise self.damaged(f"{key} should be {KINDS[kind]}, and is {shown(value)}")
        found: T = value
        return found


def read_record(path: Path, *, way_out: str, error: type[Exception] = RunError) -> Record:
    """The table in a JSON file.

    Raises:
        OSError: if it cannot be read.
        RunError: if a later gancomp wrote it.
        RunError, or what `error` is: if it is damaged.
    """
    try:
        values = parse_json(path.read_bytes())
    except ValueError as reason:
        said = " ".join(str(reason).split())[:200]
        raise Record({}, path, way_out=way_out, error=error).damaged(said) from reason
    record = Record(values, path, way_out=way_out, error=error)
    check_schema(record.values, path)
    return record


def shown(value: Any) -> str:
    """A value in a message: short, on one line, whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
