"""`gancomp bench ...`: one command per benchmark; torch comes later."""

from __future__ import annotations

from typing import Annotated

import typer


bench_app = typer.Typer(
    help="Time gancomp beside the plain way of doing the same, in turns, on this machine."
)

Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[
    int | None, typer.Option("--threads", help="CPU threads.", show_default="torch's choice")
]
