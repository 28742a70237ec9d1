"""The options of `gancomp profile` that describe a network by name."""

from __future__ import annotations

from typing import Annotated

import typer

from gancomp.completion import complete_network

NetArch = Annotated[
    str | None,
    typer.Option(
        "--arch", help="A network by name instead of a file.", autocompletion=complete_network
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
