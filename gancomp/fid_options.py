"""The options of `gancomp eval-fid` that no other command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gancomp.paths import expanded

FidReal = Annotated[
    list[Path] | None,
    typer.Option(
        "--real", help="Folder of real images (repeatable) or STATS.npz.", parser=expanded
    ),
]
FidFake = Annotated[
    Path | None,
    typer.Option(
        "--fake",
        help="Folder of generated images or STATS.npz, instead of a model.",
        parser=expanded,
    ),
]
FidRealSplit = Annotated[
    str,
    typer.Option(
        "--real-split",
        help="all (train and test) or test.",
        show_default="all unpaired, test paired",
    ),
]
FidFakeSplit = Annotated[
    str,
    typer.Option("--fake-split", help="Sources to translate: test, or all (train and test)."),
]
FidSaveStats = Annotated[
    Path | None,
    typer.Option("--save-stats", help="Write the reals' statistics (.npz).", parser=expanded),
]
FidNum = Annotated[
    int | None,
    typer.Option("--num", "-n", help="Synthesis: images to make.", show_default="50,000"),
]
FidSeed = Annotated[
    int | None, typer.Option("--seed", help="Synthesis: of these images.", show_default="0")
]
FidTruncation = Annotated[
    float | None,
    typer.Option("--truncation", help="Synthesis: as generate has it.", show_default="none"),
]
FidMirror = Annotated[
    bool | None,
    typer.Option(
        "--mirror/--no-mirror",
        help="Synthesis: count mirror images of the reals.",
        show_default="as the run was trained, else no",
    ),
]
FidRecursive = Annotated[bool, typer.Option("--recursive", help="Folders with all inside them.")]
