"""`gancomp eval-fid` and `gancomp eval`: one request, one score or several."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from gancomp import console
from gancomp.commands import (
    Device,
    Direction,
    InRange,
    Json,
    OutRange,
    Part,
    SizeOfModel,
    parameter_of,
    range_of,
    sign,
    signed_by,
    size_of,
)
from gancomp.completion import complete_dataset, complete_metrics
from gancomp.network_options import OwnArch
from gancomp.options import all_metric_options, put
from gancomp.own_code import naming
from gancomp.paths import expanded
from gancomp.registry import METRICS

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


def add_score_commands(app: typer.Typer) -> None:
    """Registers both commands."""
    app.command("eval-fid")(eval_fid)
    signed_by(sign_evaluate)
    app.command("eval")(evaluate)


def eval_fid(
    model: Annotated[
        Path | None,
        typer.Argument(help="A model file or a run; by default the latest run.", parser=expanded),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", help="By default the model's own.", autocompletion=complete_dataset
        ),
    ] = None,
    direction: Direction = None,
    real: FidReal = None,
    fake: FidFake = None,
    real_split: FidRealSplit = "auto",
    fake_split: FidFakeSplit = "test",
    size: SizeOfModel = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per pass.")] = 50,
    save_stats: FidSaveStats = None,
    num: FidNum = None,
    seed: FidSeed = None,
    truncation: FidTruncation = None,
    mirror: FidMirror = None,
    in_range: InRange = None,
    out_range: OutRange = None,
    recursive: FidRecursive = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at an unreadable image.")] = False,
    device: Device = "auto",
    part: Part = None,
    arch: OwnArch = None,
    json: Json = False,
) -> None:
    """Score a model, or a folder of images, by FID, with the protocol of the published tables.

    Images generated from noise are compared with the training images, prepared as in training.
    Processes started by torchrun share the images.

    Example: gancomp eval-fid --real data/testB --fake translated
    """
    typed = dict(locals())
    del typed["json"]
    from gancomp.recipes.eval_fid import eval_fid as recipe
    from gancomp.recipes.eval_fid import show_fid

    with naming(typed.pop("arch"), to_open=True):
        score = recipe(_request(typed), console.say)
    console.print_json(score) if json else show_fid(score)


def evaluate(
    metrics: str | None = None,
    bootstrap: int = 0,
    pairs: str | None = None,
    json: bool = False,
    **typed: Any,
) -> None:
    """Score a model, or a folder of images, by several metrics from one pass of Inception.

    With --pairs also, or only, by PSNR, SSIM and LPIPS. All else is as eval-fid has it.

    Example: gancomp eval runs/latest --metrics fid,kid --bootstrap 1000
    """
    from gancomp.recipes.evaluate import default_metrics, names_of, show_scores
    from gancomp.recipes.evaluate import evaluate as recipe

    names = names_of(metrics or default_metrics(pairs))
    options = _own_options(typed, names)
    with naming(typed.pop("arch", None), to_open=True):
        score = recipe(
            _request(typed), names, options, console.say, bootstrap=bootstrap, pairs=pairs
        )
    console.print_json(score) if json else show_scores(score)


def _own_options(typed: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The metrics' own options among what was typed, taken out of it: by metric and field.

    One that several have is set of those that were chosen; if none was, it is refused later on.
    """
    options: dict[str, Any] = {}
    for row in all_metric_options():
        value = typed.pop(row.parameter, None)
        if value is None:
            continue
        paths = [path.removeprefix("metrics.") for path in row.sets]
        chosen = [path for path in paths if path.partition(".")[0] in names]
        for path in chosen or paths:
            put(options, path, value)
    return options


def sign_evaluate() -> None:
    """Gives `eval` the options of eval-fid, and of all metrics there are now."""
    shared = list(inspect.signature(eval_fid, eval_str=True).parameters.values())
    named = Annotated[
        str | None,
        typer.Option(
            "--metrics",
            help=f"Which, with commas: {', '.join(METRICS)}.",
            show_default="fid; psnr,ssim with --pairs",
            autocompletion=complete_metrics,
        ),
    ]
    resamples = Annotated[
        int, typer.Option("--bootstrap", help="Resamples for 95 % intervals; 1000 is usual.")
    ]
    beside = Annotated[
        str | None,
        typer.Option(
            "--pairs",
            help="psnr, ssim, lpips: compare each image with its target (targets), the teacher's "
            "(teacher) or a model's (its file); with --fake and --real, files of equal names "
            "(files).",
        ),
    ]
    own = [
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation
        )
        for name, default, annotation in (
            ("metrics", None, named),
            ("bootstrap", 0, resamples),
            ("pairs", None, beside),
        )
    ]
    options = [parameter_of(option) for option in all_metric_options()]
    as_json = shared.pop()
    sign(evaluate, [*shared, *own, as_json, *options])


def _request(typed: dict[str, Any]) -> Any:
    from gancomp.scoring.request import FidRequest

    return FidRequest(
        **{
            **typed,
            "real": tuple(typed["real"] or ()),
            "size": size_of(typed["size"]),
            "in_range": range_of("in_range", typed["in_range"]),
            "out_range": range_of("out_range", typed["out_range"]),
        }
    )
