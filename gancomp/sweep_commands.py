"""`gancomp sweep`: parses, calls its recipe, shows the table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gancomp import console
from gancomp.commands import Json
from gancomp.paths import expanded


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
    from gancomp.recipes.sweep import asked_for, refuse_unfinished, show_sweep
    from gancomp.recipes.sweep import sweep as recipe

    request = asked_for(plan, out, jobs=jobs, devices=(devices or "").split(","))
    if dry_run or slurm:
        _only_begin(request, dry_run=dry_run, json=json)
        return
    document = recipe(request, console.say)
    console.print_json(document) if json else show_sweep(document)
    refuse_unfinished(request, document)


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
