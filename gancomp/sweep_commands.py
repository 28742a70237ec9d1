"""`gancomp sweep`: parses, calls its recipe, shows the table."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Annotated, Any

import typer

from gancomp import console
from gancomp.commands import Json
from gancomp.errors import RunError
from gancomp.paths import expanded
from gancomp.score_commands import evaluate


def add_sweep_command(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("sweep")(sweep)


def sweep(
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN.toml", help="What to run.", parser=expanded)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The sweep's folder.",
            show_default="sweeps/ and the plan's name",
            parser=expanded,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", help="Runs at a time.", show_default="one per device, or 1"),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option("--devices", help="Shared among them, as cuda:0,cuda:1."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only list the runs, their steps and about how long they take here."
        ),
    ] = False,
    slurm: Annotated[
        bool,
        typer.Option("--slurm", help="Submit --jobs jobs to Slurm, which do it (extra: slurm)."),
    ] = False,
    json: Json = False,
) -> None:
    """Train and score every method x seed x dataset of a plan, and compare the methods.

    Whatever is killed: the same command goes on, and may be given on several machines that share
    the folder.

    Example: gancomp sweep examples/study/short.toml -o sweeps/short
    """
    from gancomp.recipes.sweep import SweepRequest, show_sweep, state_of
    from gancomp.recipes.sweep import sweep as recipe
    from gancomp.sweeping.plan import read_plan

    named = tuple(part.strip() for part in (devices or "").split(",") if part.strip())
    read = read_plan(plan, scoring_options())
    request = SweepRequest(read, out or Path("sweeps") / plan.stem, jobs, named)
    if dry_run or slurm:
        _only_begin(request, dry_run=dry_run, json=json)
        return
    document = recipe(request, console.say)
    console.print_json(document) if json else show_sweep(document)
    unfinished = [run for run in document["runs"] if run["state"] != "done"]
    if unfinished:
        raise RunError(f"{request.out}: {state_of(document['runs'])} {_first_of(unfinished)}")


def _only_begin(request: Any, *, dry_run: bool, json: bool) -> None:
    """Lists what there is to do, or hands it to Slurm."""
    if not dry_run:
        from gancomp.recipes.sweep import submit_sweep

        submitted = submit_sweep(request, console.say)
        if json:
            console.print_json(submitted)
        return
    from gancomp.recipes.sweep_forecast import foresee, show_forecast

    expected = foresee(request, console.say)
    console.print_json(expected) if json else show_forecast(expected)


def _first_of(unfinished: list[dict[str, Any]]) -> str:
    """Why the first run that failed is not done."""
    first = next((run for run in unfinished if run["error"]), unfinished[0])
    why = first["error"] or first["state"]
    return f"The first that is not: {first['name']}: {why}; the same command tries again"


def scoring_options() -> dict[str, type]:
    """The options of `gancomp eval`, by name, with the kinds of their values."""
    found: dict[str, type] = {}
    for parameter in inspect.signature(evaluate).parameters.values():
        hint, *declared = typing.get_args(parameter.annotation)
        option = declared[-1]  # which takes its first name for a default, as typer will see later
        names = [option.default, *(option.param_decls or ())]
        names = [name for name in names if isinstance(name, str)]
        if not names:
            continue  # the model
        kinds = [kind for kind in (typing.get_args(hint) or (hint,)) if kind is not type(None)]
        longest = max(names, key=len).split("/")[0]
        found[longest.removeprefix("--")] = kinds[0] if isinstance(kinds[0], type) else str
    return found
