"""`gancomp data`: the commands about datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gancomp import console
from gancomp.commands import Json
from gancomp.completion import complete_dataset
from gancomp.errors import DataError
from gancomp.paths import expanded

data_app = typer.Typer(help="Known datasets: list, fetch, check.")


@data_app.command("list")
def data_list(json: Json = False) -> None:
    """List the datasets that gancomp knows by name.

    Example: gancomp data list
    """
    from gancomp.recipes.data import list_datasets, show_datasets

    rows = list_datasets()
    console.print_json({"datasets": rows}) if json else show_datasets(rows)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A known name.", autocompletion=complete_dataset)],
    out: Annotated[
        Path | None, typer.Option("--out", help="By default the user's cache.", parser=expanded)
    ] = None,
    json: Json = False,
) -> None:
    """Download a known dataset, resuming where it stopped, and verify it.

    Example: gancomp data fetch horse2zebra
    """
    from gancomp.recipes.data import fetch_dataset

    folder = fetch_dataset(name, out, console.say)
    console.print_json({"folder": str(folder)}) if json else console.stdout.print(str(folder))


@data_app.command("check")
def data_check(
    folder: Annotated[
        str, typer.Argument(help="A folder or a known name.", autocompletion=complete_dataset)
    ],
    task: Annotated[
        str | None,
        typer.Option("--task", help="unpaired, paired, super-resolution or synthesis."),
    ] = None,
    json: Json = False,
) -> None:
    """Read every image of a dataset and say what is wrong with it.

    Example: gancomp data check my_photos
    """
    from gancomp.recipes.data import check_dataset, show_check

    report = check_dataset(folder, task, console.say)
    console.print_json(report) if json else show_check(report)
    if problems := report["problems"]:
        raise DataError(f"{folder}: number of problems: {len(problems)}; the first: {problems[0]}")
