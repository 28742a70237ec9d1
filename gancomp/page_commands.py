"""The command that serves a page of generators, and the options that pages have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gancomp import console
from gancomp.commands import Json, Part
from gancomp.network_options import OwnArch
from gancomp.paths import expanded

PORT = 8000
Beside = Annotated[
    list[Path] | None,
    typer.Option(
        "--beside", help="html: another generator to compare with; repeatable.", parser=expanded
    ),
]
Runtime = Annotated[
    Path | None,
    typer.Option(
        "--runtime",
        help="Pages: onnxruntime-web's npm package, .tgz or folder.",
        show_default="fetched once",
        parser=expanded,
    ),
]


def playground(
    models: Annotated[
        list[Path],
        typer.Argument(help="Model files, or runs (with its teacher, if one).", parser=expanded),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write the page to this folder, and end.", parser=expanded
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="With --out: serve it, too, as without.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", help="Of 127.0.0.1; 0 for any free one.", show_default="8000"),
    ] = None,
    runtime: Runtime = None,
    part: Part = None,
    arch: OwnArch = None,
    json: Json = False,
) -> None:
    """Serve a page that runs generators in the browser, side by side, until Ctrl+C.

    It is the page that gancomp export -o student.html writes. With --out it becomes the index.html
    of a folder, for any server of files.

    Example: gancomp playground runs/latest
    """
    from gancomp.own_code import naming
    from gancomp.recipes import playground as recipe

    serves = serve or out is None
    recipe.check_port(port, serves=serves)
    with naming(arch, to_open=True):
        text = recipe.playground_page(models, part=part, runtime=runtime)
    written = {} if out is None else {"file": str(recipe.write_site(text, out))}
    size = len(text.encode())
    if written:
        console.say(f"written: {written['file']} ({size:,} bytes)")
    if not serves:
        if json:
            console.print_json(written | {"bytes": size})
        return

    def ready(url: str) -> None:
        if json:
            console.print_json({"url": url, "bytes": size} | written)
            sys.stdout.flush()  # whoever reads it would else wait for the end
        else:
            console.say(f"{url} (Ctrl+C ends it)")

    recipe.serve(text, PORT if port is None else port, ready)
