"""`gancomp report`, as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gancomp import console
from gancomp.commands import Json
from gancomp.network_options import OwnArch, TimedOn, TimedThreads
from gancomp.paths import expanded


def add_report_command(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(report)


def report(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The HTML file to write.", parser=expanded)
    ],
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of runs or sweeps; by default the latest run.", parser=expanded
        ),
    ] = None,
    title: Annotated[
        str | None, typer.Option("--title", help="Of the page.", show_default="the run's name")
    ] = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Time the generators on this machine for it.")
    ] = False,
    device: TimedOn = None,
    threads: TimedThreads = None,
    arch: OwnArch = None,
    json: Json = False,
) -> None:
    """Write one HTML page about a run, or to compare several: it needs no network and no server.

    Settings, losses, scores with their protocols, teacher and student with a slider between them,
    samples over time, cost against score, and the commands to repeat it. Needs gancomp[report].

    Example: gancomp report runs/latest -o report.html
    """
    from gancomp.own_code import naming
    from gancomp.recipes.profile import latency_asked_for
    from gancomp.report.page import ReportRequest
    from gancomp.report.page import report as write

    timed = latency_asked_for(latency, device=device, threads=threads)
    with naming(arch, to_open=True):
        result = write(ReportRequest(runs or [], out, title, timed), console.say)
    if json:
        console.print_json(result)
        return
    for name, missing in result["missing"].items():
        console.say(f"{name}: not in the report, because the run has none: {', '.join(missing)}")
    console.say(f"written: {result['file']} ({result['bytes']:,} bytes)")
