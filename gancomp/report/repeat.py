"""The command that trains a run again, found by asking what it resolves to."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gancomp.declare import Option
from gancomp.errors import GancompError
from gancomp.flags import as_typed
from gancomp.launch import unheard
from gancomp.options import options_for, put
from gancomp.planning.plan import Plan, make_plan
from gancomp.registry import FROM_FILE
from gancomp.report.subjects import Subject
from gancomp.settings import Json, Overrides
from gancomp.sizes import shown_size

OF_BOTH = {  # what an option sets for teacher and student at once, or as a plain number
    "teacher.network.arch": "arch",
    "student.arch": "student_arch",
    "student.width": "student_width",
    "teacher.network.width_argument": "width_argument",
    "student.width_argument": "width_argument",
}
TAPS = {"teacher.network.taps": "taps", "student.taps": "student_taps"}  # found anew if not given
AS_FIELDS = OF_BOTH | TAPS
PLACE = "data.dataset"  # a path, which means another thing elsewhere
# what other settings follow from is looked at first, what no option sets last
EARLY = ("data.task", "data.direction", "data.size", "teacher.source", *OF_BOTH)
ROUNDS = 6
NEW = "settings.toml"


@dataclass(frozen=True)
class Repeat:
    """How to train a run again.

    Attributes:
        command: one line for a shell.
        toml: settings that have no option, for the file that the command names; may be empty.
        remark: whether that is known to give the same settings, and if not, why.
        exact: whether it is.
    """

    command: str
    toml: str
    remark: str
    exact: bool


def repeat(subject: Subject) -> Repeat:
    """The shortest command that is found to resolve to the settings of this run."""
    wanted: Json = json.loads(json.dumps(subject.settings.to_json()))
    chosen: Json = {PLACE: wanted["data"]["dataset"], "method.preset": wanted["method"]["preset"]}
    if wanted["command"] == "distill":
        chosen["method.name"] = wanted["method"]["name"]
    root = Path(str((subject.config.get("dataset") or {}).get("root", "")))
    remark, exact = "", False
    try:
        for _ in range(ROUNDS):
            plan = _planned(wanted["command"], chosen, root)
            found: Json = json.loads(json.dumps(plan.settings.to_json()))
            missing = dict(_differences(wanted, found))
            if not missing:
                remark, exact = _about_files(plan, subject)
                break
            chosen |= _first(missing, wanted["command"])
        else:
            remark = f"It does not give all of these settings; others: {', '.join(missing)}."
    except GancompError as error:
        remark = f"It could not be checked here: {as_typed(str(error))}."
        chosen |= {path: value for path, value in _leaves(wanted, "") if path in OF_BOTH}
    origins = map(str, subject.config.get("plugins") or [])  # installed ones need not be named
    files = [item.removeprefix(FROM_FILE) for item in origins if item.startswith(FROM_FILE)]
    command, toml = _written(wanted["command"], chosen, files)
    if gone := [file for file in files if not Path(file).is_file()]:  # older runs kept no folder
        remark += f" Not found here: {', '.join(gone)}; name where it is now."
    return Repeat(command, toml, remark, exact)


def _planned(command: str, chosen: Json, root: Path) -> Plan:
    settings: Json = {}
    fields: Json = {}
    for path, value in chosen.items():
        if path in AS_FIELDS:
            fields[AS_FIELDS[path]] = tuple(value) if path in TAPS else value
        else:
            put(settings, path, value)
    if root.is_dir():
        put(settings, PLACE, str(root))
    nowhere = Path("runs") / "a-run-that-is-not-begun"
    return make_plan(command, Overrides(settings=settings, out=nowhere, **fields), unheard)


def _first(missing: Json, command: str) -> Json:
    """Those of the settings that are to be given next: others may follow from them."""
    known = {path: value for path, value in missing.items() if value is not None}
    flags = _rows(command)
    typed = {path: value for path, value in known.items() if AS_FIELDS.get(path, path) in flags}
    early = {path: value for path, value in typed.items() if path.startswith(EARLY)}
    return early or typed or known


def _rows(command: str) -> dict[str, Option]:
    """The options that set one thing each, by what they set."""
    rows: dict[str, Option] = {}
    for row in options_for(command):
        if row.sets == (row.setting,):
            rows.setdefault(row.setting, row)
    return rows


def _about_files(plan: Plan, subject: Subject) -> tuple[str, bool]:
    recorded = (subject.config.get("dataset") or {}).get("fingerprint") or {}
    if json.loads(json.dumps(plan.files.fingerprint())) == recorded:
        return "Checked: it resolves to the settings of this run, on the same files.", True
    return "It resolves to the settings of this run, but the dataset's files have changed.", False


def _leaves(values: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        path = f"{where}{name}"
        if isinstance(value, Mapping) and path not in ("method.also",):
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _differences(wanted: Json, found: Json) -> Iterator[tuple[str, Any]]:
    """The settings that are others than they should be, with what they should be."""
    given = dict(_leaves(found, ""))
    for path, value in _leaves(wanted, ""):
        if path not in (PLACE, "command") and given.get(path) != value:
            yield path, value


def _written(command: str, chosen: Json, plugins: Iterable[str]) -> tuple[str, str]:
    """The command line with the files of plug-ins, and what it leaves to a file."""
    rows = _rows(command)
    words: list[str] = ["gancomp", command]
    for file in plugins:
        words += ["--plugin", file]
    rest: Json = {}
    for path, value in chosen.items():
        row = rows.get(AS_FIELDS.get(path, path))
        typed = _typed(row, value) if row is not None else None
        if typed is None:
            put(rest, path, value)
        elif typed[0] not in words:  # the width's name is that of teacher and student
            words += typed
    if rest:
        words += ["--config", NEW]
    return shlex.join([*words, "--out", "runs/again"]), "\n".join(_toml(rest, ""))


def _typed(row: Option, value: Any) -> list[str] | None:
    """The words that set it; None where there are none."""
    if isinstance(value, bool):
        on, _, off = row.flag.partition("/")
        flag = on if value else off
        return [flag] if flag else None
    if row.setting in ("data.size", "data.load_size"):
        return [row.name, shown_size(tuple(value) if isinstance(value, list) else value)]
    if row.setting in TAPS.values():
        return [row.name, ",".join(value)]
    if row.reads is None and isinstance(value, int | float | str):
        return [row.name, str(value)]
    return None


def _toml(values: Json, where: str) -> Iterator[str]:
    inner = {name: value for name, value in values.items() if isinstance(value, dict)}
    for name, value in values.items():
        if name not in inner:
            yield f"{_key(name)} = {json.dumps(value)}"
    for name, value in inner.items():
        path = f"{where}{_key(name)}"
        if not value or any(not isinstance(item, dict) for item in value.values()):
            yield f"[{path}]"
        yield from _toml(value, f"{path}.")


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else json.dumps(name)
