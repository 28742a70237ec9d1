"""`gancomp shrink`: its options, among them those of the ways to shrink."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gancomp import console
from gancomp.commands import Device, Json, Part, SizeOfModel, parameter_of, sign, signed_by, size_of
from gancomp.completion import complete_shrinker
from gancomp.declare import Option
from gancomp.errors import ConfigError
from gancomp.network_options import OwnArch
from gancomp.options import all_options, put
from gancomp.own_code import naming
from gancomp.paths import expanded
from gancomp.registry import SHRINKERS

OPTIONS = "shrink_options"
By = Annotated[
    str,
    typer.Option(
        "--by",
        help=f"{', '.join(SHRINKERS)} or a plug-in.",
        autocompletion=complete_shrinker,
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Of a search and of new weights; default: 0.")
]
Dataset = Annotated[
    str | None, typer.Option("--dataset", help="Images for a search; default: the run's own.")
]
Task = Annotated[
    str | None,
    typer.Option("--task", help="Of --dataset: unpaired or paired; default: the model's."),
]
Perceptual = Annotated[
    str | None, typer.Option("--perceptual", help="With --by agd: vgg16, random or none.")
]
Vgg = Annotated[
    Path | None, typer.Option("--vgg", help="With --by agd: VGG16 weights.", parser=expanded)
]


def add_shrink_command(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("shrink")(shrink)
    signed_by(partial(_sign, inspect.signature(shrink, eval_str=True)))


def shrink(
    model: Annotated[
        Path, typer.Argument(help="A model file, or a run (its teacher).", parser=expanded)
    ],
    by: By,
    budget: Annotated[
        str, typer.Option("--budget", help="At most 2.4G (MACs), 0.3M (parameters), 25ms or 50%.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The .safetensors file.", parser=expanded)
    ],
    size: SizeOfModel = None,
    seed: Seed = None,
    device: Device = "auto",
    dataset: Dataset = None,
    task: Task = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search that was begun for --out.")
    ] = False,
    perceptual: Perceptual = None,
    vgg: Vgg = None,
    part: Part = None,
    arch: OwnArch = None,
    json: Json = False,
    **own: Any,
) -> None:
    """Make a smaller generator out of a teacher, within a budget.

    magnitude and cat prune a trained one; once-for-all, gcc, dmad, agd and
    co-evolution train on images first, in a folder beside the file.
    The others give a network to be trained.

    Example: gancomp shrink runs/latest --by magnitude --budget 50% -o student.safetensors
    """
    from gancomp.recipes.search_alone import ShrinkWanted
    from gancomp.recipes.shrink import show_shrunk
    from gancomp.recipes.shrink import shrink as recipe

    wanted = ShrinkWanted(
        model,
        by,
        budget,
        out,
        size=size_of(size),
        device=device,
        part=part,
        options=_gathered(by, own),
        seed=seed,
        dataset=dataset,
        task=task,
        resume=resume,
        perceptual=perceptual,
        vgg=vgg,
    )
    with naming(arch, to_open=True):
        document = recipe(wanted, console.ConsoleView())
    console.print_json(document) if json else show_shrunk(document)


def _rows() -> list[Option]:
    """The shrinkers' own options, which belong to `--shrink` in `distill` and to `--by` here."""
    return [
        replace(row, owners=tuple(owner.replace("--shrink", "--by") for owner in row.owners))
        for row in all_options()
        if row.setting.startswith(f"{OPTIONS}.")
    ]


def _sign(signature: inspect.Signature) -> None:
    parameters = list(signature.parameters.values())[:-1]
    sign(shrink, [*parameters, *map(parameter_of, _rows())])


def _gathered(by: str, typed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in _rows():
        value = typed.get(row.parameter)
        if value is None:
            continue
        if f"--by {by}" not in row.owners and by in SHRINKERS:
            raise ConfigError(f"{row.name}: belongs to {' or '.join(row.owners)}; remove it")
        put(found, row.setting, value if row.reads is None else row.reads(value))
    options: dict[str, Any] = found.get(OPTIONS, {})
    return options
