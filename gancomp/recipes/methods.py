"""`gancomp methods`: what can be distilled, and which rows of settings are known."""

from __future__ import annotations

from gancomp import console
from gancomp.presets import PRESETS
from gancomp.registry import METHODS, resolve
from gancomp.settings import Json


def list_methods() -> list[Json]:
    """Name, command and paper of every method; what does not distil is for `pretrain`."""
    methods = {name: resolve(METHODS, "--method", name) for name in METHODS}
    return [
        {
            "name": name,
            "command": "distill" if method.distils else "pretrain",
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
            "source": row.source,
        }
        for row in PRESETS
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
