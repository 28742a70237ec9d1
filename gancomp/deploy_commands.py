"""`gancomp quantize`: what exports in 8 bits, and says what that costs and gains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gancomp import console
from gancomp.commands import Json, Part, size_of
from gancomp.network_options import OwnArch
from gancomp.own_code import naming
from gancomp.paths import expanded

Calibrate = Annotated[
    Path | None,
    typer.Option(
        "--calibrate",
        help="int8: folder of pictures as the model is to be given.",
        parser=expanded,
    ),
]

MinPsnr = Annotated[
    float | None,
    typer.Option(
        "--min-psnr",
        help="int8: dB against fp32 that no picture may fall below.",
        show_default="40",
    ),
]

OneSize = Annotated[
    str | None,
    typer.Option(
        "--size",
        help="executorch, coreml, openvino: the one size of images, N or HEIGHTxWIDTH.",
        show_default="the model's own; openvino: all",
    ),
]


def add_deploy_commands(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("quantize")(quantize)


def quantize(
    model: Annotated[
        Path, typer.Argument(help="A model file, or a run (its student).", parser=expanded)
    ],
    calibrate: Annotated[
        Path,
        typer.Option(
            "--calibrate", help="Folder of pictures as the model is to be given.", parser=expanded
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The .xml file to write.", parser=expanded)
    ],
    num: Annotated[
        int | None,
        typer.Option(
            "--num", help="Pictures, at most; every second calibrates.", show_default="40"
        ),
    ] = None,
    min_psnr: MinPsnr = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Bytes in and out, images of any size.")
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", help="The one size of images, N or HEIGHTxWIDTH.", show_default="all"
        ),
    ] = None,
    part: Part = None,
    arch: OwnArch = None,
    json: Json = False,
) -> None:
    """Export for OpenVINO with the convolutions in 8 bits, if that is good enough and faster.

    All of them; else all but the first and the last; else all but those that do most harm. Prints
    the pictures' PSNR against fp32, how far their FID moves, and milliseconds beside fp32 and bf16.
    Below --min-psnr, or where it is not faster than both (fp32 on processors without bf16), nothing
    is written. Needs the extra openvino.

    Example: gancomp quantize runs/latest --calibrate photos -o student-int8.xml
    """
    from gancomp.recipes.quantize import quantize as recipe
    from gancomp.recipes.quantize import show_quantized

    with naming(arch, to_open=True):
        document = recipe(
            model,
            out,
            calibrate=calibrate,
            num=num,
            min_psnr=min_psnr,
            pixels=pixels,
            size=size_of(size),
            part=part,
            say=console.say,
        )
    console.print_json(document) if json else show_quantized(document)
