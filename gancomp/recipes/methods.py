"""`gancomp methods`: what can be distilled, and which rows of settings are known."""

from __future__ import annotations

from gancomp import console
from gancomp.declare import Option
from gancomp.flags import as_typed
from gancomp.options import method_options
from gancomp.presets import all_presets
from gancomp.registry import METHODS, resolve
from gancomp.settings import Json


def list_methods() -> list[Json]:
    """Name, command and paper of every method; what does not distill is for `pretrain`."""
    methods = {name: resolve(METHODS, "method", name) for name in METHODS}
    return [
        {
            "name": name,
            "command": "distill" if method.distills else "pretrain",
            "paper": method.paper,
        }
        for name, method in methods.items()
    ]


def list_presets() -> list[Json]:
    """One row per preset; `reported` figures are their papers', none is ours."""
    return [
        {
            "name": row.name,
            "command": row.command,
            "dataset": row.dataset or "any",
            "task": row.task,
            "networks": row.arch,
            "reported": row.reported,
            "source": as_typed(row.source),
        }
        for row in all_presets()
    ]


def show_methods() -> None:
    """Prints both lists: narrow tables, and below them, by name or number, what is long."""
    methods, presets = list_methods(), list_presets()
    rows = [[row["name"], row["command"]] for row in methods]
    console.print_table(["method", "command"], rows, figures=False)
    for row in methods:
        console.stdout.print(f"{row['name']}: {row['paper']}")
    columns = ["name", "command", "dataset", "task"]
    rows = [
        [str(number), *(row[column] for column in columns)]
        for number, row in enumerate(presets, start=1)
    ]
    console.stdout.print()
    console.print_table(["", "preset", *columns[1:]], rows, figures=False)
    for number, row in enumerate(presets, start=1):
        reported = f"reported {row['reported']}; " if row["reported"] else ""
        console.stdout.print(f"{number}: {row['networks']}; {reported}{row['source']}")


def describe_method(name: str) -> Json:
    """The page of one method: its paper, the data it is for, its options and its presets.

    Raises:
        ConfigError: for an unknown name.
    """
    method = resolve(METHODS, "method", name)
    return {
        "name": name,
        "command": "distill" if method.distills else "pretrain",
        "paper": method.paper,
        "tasks": list(method.tasks),
        "summary": (method.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " "),
        "options": [_option_row(option) for option in method_options(name)],
        "presets": [row for row in list_presets() if row["name"] in _presets_of(name)],
    }


def _presets_of(name: str) -> set[str]:
    return {row.name for row in all_presets() if row.method == name}


def _option_row(option: Option) -> Json:
    return {
        "flag": option.flag,
        "default": as_typed(option.default),
        "help": as_typed(option.help),
        "equation": option.equation,
        "unit": option.unit,
        "no_effect_with": [as_typed(case.reason) for case in option.unused],
    }


def show_method(page: Json) -> None:
    """Prints the page of one method."""
    out = console.stdout.print
    out(f"{page['name']} (gancomp {page['command']}; {', '.join(page['tasks'])} data)")
    out(page["paper"])
    out(page["summary"])
    for row in page["options"]:
        notes = [f"default {row['default']}"]
        notes += [f"eq. {row['equation']}"] if row["equation"] else []
        notes += [f"in {row['unit']}"] if row["unit"] else []
        notes += [f"no effect with {reason}" for reason in row["no_effect_with"]]
        out(f"  {row['flag']}: {row['help']} ({'; '.join(notes)})")
    for row in page["presets"]:
        reported = f"reported {row['reported']}; " if row["reported"] else ""
        where = f"{row['name']}, {row['dataset']}, {row['networks']}"
        out(f"  preset {where}: {reported}{row['source']}")
