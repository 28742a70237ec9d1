"""The command line: each command parses, calls its recipe, shows the result; torch comes later."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gancomp import __version__, console
from gancomp.bench.commands import bench_app
from gancomp.commands import (
    Device,
    InRange,
    Json,
    OutRange,
    Part,
    ResultFormat,
    SizeOfInputs,
    SizeOfModel,
    own_name,
    range_of,
    sign_with_own_options,
    signed_by,
    size_of,
    training_command,
)
from gancomp.completion import complete_format, complete_method
from gancomp.data_commands import data_app
from gancomp.deploy_commands import Calibrate, MinPsnr, OneSize, add_deploy_commands
from gancomp.errors import ConfigError, DataError
from gancomp.network_options import (
    NetArch,
    NetBlocks,
    NetInChannels,
    NetNorm,
    NetScale,
    NetWidth,
    NetWidthArgument,
    OwnArch,
    TimedOn,
    TimedThreads,
    TimePasses,
)
from gancomp.options import gather
from gancomp.page_commands import Beside, Runtime, playground
from gancomp.paths import expanded
from gancomp.registry import EXPORTERS
from gancomp.report.commands import add_report_command
from gancomp.score_commands import add_score_commands
from gancomp.shrink_commands import add_shrink_command
from gancomp.sweep_commands import add_sweep_command

app = typer.Typer(
    name="gancomp",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Makes GANs small: distills a cheap student generator with the help of the teacher's "
    "discriminator, proves how good and how fast it is, and exports it.\n\n"
    "Try it without any data: [bold]gancomp demo[/bold]",
)

TrainMode = Annotated[
    bool,
    typer.Option(
        "--train-mode",
        help="As pix2pix's test script: dropout on, norms by each image's statistics.",
    ),
]
TrainDropout = Annotated[
    float | None,
    typer.Option(
        "--dropout",
        help="Rate for --train-mode.",
        show_default="the model's own; 0.5 in pix2pix's files",
    ),
]


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--plugin",
            metavar="FILE",
            help="Python file that adds methods, networks or formats; with any command.",
        ),
    ] = None,
) -> None:
    """Handles the options that come before a command; `load_plugins` has taken `--plugin` out."""
    if show:
        typer.echo(f"gancomp {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise ConfigError(
            "no command given; see gancomp --help. To try without any data: gancomp demo"
        )


@training_command(app, "pretrain", example="gancomp pretrain --dataset horse2zebra")
def pretrain(typed: dict[str, Any], json: bool) -> None:
    """Train the teacher alone: CycleGAN, pix2pix, SRGAN, StyleGAN2 or BigGAN."""
    from gancomp.recipes.pretrain import pretrain as recipe

    _show_training(recipe(_given(typed), console.ConsoleView()), json)


@training_command(app, "distill", example="gancomp distill --dataset horse2zebra --ratio 0.25")
def distill(typed: dict[str, Any], json: bool) -> None:
    """Train a small student under its teacher's discriminator."""
    from gancomp.recipes.distill import distill as recipe

    _show_training(recipe(_given(typed), console.ConsoleView()), json)


def _given(typed: dict[str, Any]) -> Any:
    from gancomp.settings import Overrides

    return Overrides(**gather(typed))


def _show_training(result: Any, json: bool) -> None:
    if json:
        console.print_json(result.to_json())
        return
    from gancomp.recipes.profile import profile_table

    profile_table(result.generators())
    console.say(f"run: {result.run}  steps: {result.outcome.step}")
    for path in result.generators():
        console.say(f"written: {path}")
    if result.grid:
        console.say(f"samples, side by side: {result.grid}")


@app.command()
def export(
    model: Annotated[
        Path, typer.Argument(help="A model file, or a run (its student).", parser=expanded)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.", parser=expanded)],
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(EXPORTERS)}; by default from the suffix.",
            autocompletion=complete_format,
        ),
    ] = None,
    pixels: Annotated[
        bool,
        typer.Option("--pixels", help="onnx, openvino: bytes in and out, images of any size."),
    ] = False,
    precision: Annotated[
        str | None, typer.Option("--precision", help="openvino: fp32 (the default), bf16 or int8.")
    ] = None,
    size: OneSize = None,
    beside: Beside = None,
    runtime: Runtime = None,
    calibrate: Calibrate = None,
    min_psnr: MinPsnr = None,
    part: Part = None,
    arch: OwnArch = None,
    json: Json = False,
) -> None:
    """Write a generator as one self-describing file: .safetensors, .onnx, OpenVINO's .xml, ...

    What is written for a runtime is run by it first and must give PyTorch's images. The .html
    is a page that runs it in a browser, without a network; of a run, with its teacher.

    Example: gancomp export runs/latest -o student.onnx
    """
    from gancomp.own_code import naming
    from gancomp.recipes.export import export as recipe

    options = {
        "pixels": pixels or None,
        "precision": precision,
        "size": size_of(size),
        "min_psnr": min_psnr,
        "beside": tuple(beside or ()) or None,
        "runtime": runtime,
    }
    with naming(arch, to_open=True):
        result = recipe(
            model,
            out,
            format=format,
            part=part,
            options=options,
            calibrate=calibrate,
            say=console.say,
        )
    console.print_json(result) if json else _show_export(result, precision)


def _show_export(result: Any, precision: str | None) -> None:
    parity, unit = result["parity"], " dB" if precision in ("bf16", "int8") else ""
    console.print_table(
        ["file", "format", "bytes", "difference from PyTorch"],
        [
            [
                result["file"],
                result["format"],
                str(result["bytes"]),
                "converted, not run" if parity is None else f"{parity:.3g}{unit}",
            ]
        ],
    )


app.command()(playground)


@app.command()
def profile(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Model files or runs.", parser=expanded)
    ] = None,
    macs: Annotated[
        bool, typer.Option("--macs", help="Count MACs and parameters (the default).")
    ] = True,
    arch: NetArch = None,
    width: NetWidth = None,
    width_argument: NetWidthArgument = None,
    norm: NetNorm = None,
    in_channels: NetInChannels = None,
    blocks: NetBlocks = None,
    scale: NetScale = None,
    size: SizeOfModel = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per pass.")] = 1,
    latency: TimePasses = False,
    device: TimedOn = None,
    threads: TimedThreads = None,
    part: Part = None,
    json: Json = False,
    **own: Any,
) -> None:
    """Count MACs (true, and by torchprofile's rule as papers print them), parameters and bytes.

    Without a model: the latest run's teacher and student, else the default preset's pair.

    Example: gancomp profile --arch mobile-resnet9 --width 16 --macs
    """
    from gancomp.own_code import naming
    from gancomp.recipes import profile as recipe

    settings = {
        "width": width,
        "width_argument": width_argument,
        "norm": norm,
        "in_channels": in_channels,
        "blocks": blocks,
        "scale": scale,
        **{own_name(name): value for name, value in own.items()},
    }
    pixels = size_of(size)
    with naming(arch, arguments=settings, to_open=bool(models)):
        network = recipe.network_asked_for(
            arch, settings, models or [], part, size=pixels, weights=latency
        )
        document = recipe.profile_document(
            models or [],
            network=network,
            size=pixels,
            batch_size=batch_size,
            part=part,
            latency=recipe.latency_asked_for(latency, device=device, threads=threads),
        )
    console.print_json(document) if json else recipe.show_profile(document)


signed_by(partial(sign_with_own_options, profile, inspect.signature(profile, eval_str=True)))
add_shrink_command(app)
add_score_commands(app)
add_sweep_command(app)
add_deploy_commands(app)


@app.command("eval-sr")
def eval_sr(
    dataset: Annotated[
        str, typer.Option("--dataset", help="Set5, Set14, or a folder of originals.")
    ],
    model: Annotated[
        Path | None,
        typer.Argument(help="A model file or a run; by default the latest run.", parser=expanded),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option("--scale", help="2 or 4; must be the model's.", show_default="the model's"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at an unusable image.")] = False,
    device: Device = "auto",
    part: Part = None,
    json: Json = False,
) -> None:
    """Score a super-resolution model by PSNR and SSIM against the originals, beside bicubic.

    The small images are made from the originals by MATLAB-style bicubic. Primary: luminance with a
    border of SCALE pixels cut off; secondary: RGB, whole. Processes started by torchrun share the
    images.

    Example: gancomp eval-sr runs/latest --dataset Set5
    """
    from gancomp.recipes.eval_sr import SrRequest, show_quality
    from gancomp.recipes.eval_sr import eval_sr as recipe

    request = SrRequest(
        dataset=dataset, model=model, scale=scale, strict=strict, device=device, part=part
    )
    score = recipe(request, console.say)
    console.print_json(score) if json else show_quality(score)


@app.command()
def translate(
    model: Annotated[
        Path, typer.Argument(help="A model file, or a run (its student).", parser=expanded)
    ],
    inputs: Annotated[list[Path], typer.Argument(help="Image files or folders.", parser=expanded)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for the results, or one's name.", parser=expanded),
    ],
    size: SizeOfInputs = None,
    in_range: InRange = None,
    out_range: OutRange = None,
    format: ResultFormat = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at an unreadable image.")] = False,
    device: Device = "auto",
    part: Part = None,
    train_mode: TrainMode = False,
    dropout: TrainDropout = None,
    arch: OwnArch = None,
    json: Json = False,
) -> None:
    """Run a generator on images of any size; one for super-resolution enlarges them.

    Processes started by torchrun share the images.

    Example: gancomp translate runs/latest photos/ -o translated
    """
    from gancomp.own_code import naming
    from gancomp.recipes.translate import TranslateRequest
    from gancomp.recipes.translate import translate as recipe

    request = TranslateRequest(
        model,
        inputs,
        out,
        size=size_of(size),
        strict=strict,
        device=device,
        part=part,
        in_range=range_of("in_range", in_range),
        out_range=range_of("out_range", out_range),
        format=format,
        train_mode=train_mode,
        dropout=dropout,
    )
    with naming(arch, to_open=True):
        result = recipe(request, console.say)
    if json:
        console.print_json(result)
    if not result["written"]:
        raise DataError(
            f"nothing was written to {out}: none of {len(result['failed'])} files could be "
            f"translated; the first: {result['failed'][0]['error']}"
        )
    if not json:
        console.say(f"{len(result['written'])} written to {out}, {len(result['failed'])} failed")


@app.command()
def generate(
    model: Annotated[
        Path, typer.Argument(help="A model file, a run, or BigGAN's folder.", parser=expanded)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the PNG files.", parser=expanded)
    ],
    num: Annotated[int, typer.Option("--num", "-n", help="How many images.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Image K depends on SEED and K alone.")] = 0,
    truncation: Annotated[
        float | None,
        typer.Option(
            "--truncation",
            help="StyleGAN2: psi, e.g. 0.5. BigGAN: noise is redrawn until it lies within X.",
            show_default="none",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Indices, e.g. 0,3, in turn.", show_default="drawn"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", help="Images per pass.", show_default="by their size"),
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid/--no-grid", help="Write grid.png of the first 64, too.")
    ] = True,
    device: Device = "auto",
    part: Part = None,
    json: Json = False,
) -> None:
    """Generate images from noise: seed0_00000.png and so on, the same with every batch size.

    Without --truncation they are as varied as in training, as FID expects; with it, cleaner.
    Processes started by torchrun share the images.

    Example: gancomp generate runs/latest -n 64 --seed 0 -o samples
    """
    from gancomp.recipes.generate import GenerateRequest
    from gancomp.recipes.generate import generate as recipe

    request = GenerateRequest(
        model=model,
        out=out,
        num=num,
        seed=seed,
        truncation=truncation,
        classes=classes,
        batch_size=batch_size,
        grid=grid,
        device=device,
        part=part,
    )
    result = recipe(request, console.say)
    if json:
        console.print_json(result)
    else:
        shown = f", together in {result['grid']}" if result["grid"] else ""
        console.say(f"{len(result['written'])} written to {out}{shown}")


add_report_command(app)
app.add_typer(bench_app, name="bench")
app.add_typer(data_app, name="data")


@app.command()
def demo(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for dataset, runs and picture.", parser=expanded),
    ] = Path("runs/demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of dataset and training.")] = 0,
    device: Device = "auto",
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", help="Shorten both trainings (for a quick look).")
    ] = None,
    json: Json = False,
) -> None:
    """Do the whole job on an embedded dataset, without any download, in three to four minutes.

    Example: gancomp demo
    """
    from gancomp.recipes.demo import demo as recipe
    from gancomp.recipes.demo import show_demo

    result = recipe(out, seed=seed, device=device, max_steps=max_steps, view=console.ConsoleView())
    console.print_json(result) if json else show_demo(result)


@app.command()
def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A method, for its page: paper, options, presets.",
            autocompletion=complete_method,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the methods with their papers, and the presets; or show the page of one method.

    Example: gancomp methods dcd
    """
    from gancomp.recipes import methods as recipe

    if name is not None:
        page = recipe.describe_method(name)
        console.print_json(page) if json else recipe.show_method(page)
    elif json:
        console.print_json({"methods": recipe.list_methods(), "presets": recipe.list_presets()})
    else:
        recipe.show_methods()
