"""The options of commands that describe a network by name, say where its code is, or time it."""

from __future__ import annotations

from typing import Annotated

import typer

from gancomp.completion import complete_network

NetArch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        help="A network by name instead of a file, or FILE.py:FACTORY, with a file or without.",
        autocompletion=complete_network,
    ),
]
NetWidth = Annotated[
    int | None,
    typer.Option(
        "--width", help="Its width (ngf or ndf).", show_default="64; stylegan2 512, biggan 96"
    ),
]
NetNorm = Annotated[
    str | None, typer.Option("--norm", help="instance or batch; by default the network's own.")
]
NetInChannels = Annotated[
    int | None, typer.Option("--in-channels", help="Its input channels.", show_default="3")
]
NetBlocks = Annotated[
    int | None,
    typer.Option("--blocks", help="Its residual blocks.", show_default="srresnet: 16"),
]
NetScale = Annotated[
    int | None, typer.Option("--scale", help="Upscaling factor.", show_default="srresnet: 4")
]
NetWidthArgument = Annotated[
    str | None,
    typer.Option(
        "--width-argument", help="The parameter of your own FACTORY that --width sets, e.g. ngf."
    ),
]
OwnArch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        metavar="CODE",
        help="Of a model of your own generator: its code, FILE.py:FACTORY or module:FACTORY.",
    ),
]
TimePasses = Annotated[
    bool, typer.Option("--latency", help="Time forward passes on this machine too.")
]
TimedOn = Annotated[
    str | None, typer.Option("--device", help="For --latency.", show_default="auto")
]
TimedThreads = Annotated[
    int | None,
    typer.Option("--threads", help="CPU threads for --latency.", show_default="torch's choice"),
]
