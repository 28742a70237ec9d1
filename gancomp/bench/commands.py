"""`gancomp bench ...`: one command per benchmark; torch comes later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gancomp import console
from gancomp.paths import expanded

bench_app = typer.Typer(
    help="Time gancomp beside the plain way of doing the same, in turns, on this machine."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[
    int | None, typer.Option("--threads", help="CPU threads.", show_default="torch's choice")
]


@bench_app.command("infer")
def infer(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Model files and exported files to time beside.", parser=expanded),
    ] = None,
    arch: Annotated[
        str, typer.Option("--arch", help="Architecture of teacher and student.")
    ] = "mobile-resnet9",
    width: Annotated[int, typer.Option("--width", help="The student's; the teacher has 64.")] = 16,
    size: Annotated[int, typer.Option("--size", help="Height and width in pixels.")] = 256,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per run.")] = 1,
    rounds: Annotated[int, typer.Option("--rounds", help="Timed runs of each.")] = 10,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Time the student as gancomp runs it, and each step towards that, beside plain PyTorch.

    Example: gancomp bench infer student.onnx student.xml --threads 2
    """
    from gancomp.bench.infer import bench_infer
    from gancomp.bench.report import show

    document = bench_infer(
        arch=arch,
        width=width,
        size=size,
        batch_size=batch_size,
        rounds=rounds,
        device=device,
        threads=threads,
        files=files or (),
    )
    console.print_json(document) if json else show(document)


@bench_app.command("train")
def bench_train(
    size: Annotated[int, typer.Option("--size", help="Height and width in pixels.")] = 256,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per step.")] = 1,
    width: Annotated[int, typer.Option("--width", help="The teacher's width (ngf).")] = 64,
    d_width: Annotated[int, typer.Option("--d-width", help="The discriminators' (ndf).")] = 64,
    rounds: Annotated[int, typer.Option("--rounds", help="Timed steps of each side.")] = 5,
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="torch.compile.", show_default="on a GPU"),
    ] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Time a bf16 step, too.")] = False,
    grid: Annotated[
        bool,
        typer.Option(
            "--grid", help="Time fp32, tf32 (on a GPU) and bf16, plain, replayed and compiled."
        ),
    ] = False,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Switch each optimization off in turn.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say in which operations the time goes.")
    ] = False,
    patience: Annotated[
        float | None,
        typer.Option(
            "--patience",
            help="Seconds for the first step of each side of --grid or --bf16.",
            show_default="any",
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Time the joint DCD training step beside the same step written plainly, and DCD's own.

    Example: gancomp bench train --size 256 --batch-size 1 --threads 2
    """
    from gancomp.bench.report import show
    from gancomp.bench.train import TrainRequest
    from gancomp.bench.train import bench_train as recipe

    request = TrainRequest(
        size=size,
        batch_size=batch_size,
        width=width,
        d_width=d_width,
        rounds=rounds,
        device=device,
        threads=threads,
        compiled=compiled,
        bf16=bf16,
        grid=grid,
        ablate=ablate,
        profile=profile,
        patience=patience,
    )
    document = recipe(request, console.say)
    console.print_json(document) if json else show(document)


@bench_app.command("synthesis")
def bench_synthesis(
    size: Annotated[int, typer.Option("--size", help="Height and width in pixels.")] = 64,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per step.")] = 4,
    width: Annotated[
        int, typer.Option("--width", help="Of both networks; the published ones have 512.")
    ] = 128,
    rounds: Annotated[int, typer.Option("--rounds", help="Timed runs of each phase.")] = 5,
    cycles: Annotated[
        int, typer.Option("--cycles", help="Timed runs of 16 steps in a row, of each side.")
    ] = 1,
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="torch.compile.", show_default="on a GPU"),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say in which operations the time goes.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Time StyleGAN2's training step, and each phase, beside the same step written plainly.

    Example: gancomp bench synthesis --size 64 --width 128 --threads 2
    """
    from gancomp.bench.report import show
    from gancomp.bench.synthesis import SynthesisRequest
    from gancomp.bench.synthesis import bench_synthesis as bench

    request = SynthesisRequest(
        size=size,
        batch_size=batch_size,
        width=width,
        rounds=rounds,
        cycles=cycles,
        device=device,
        threads=threads,
        compiled=compiled,
        profile=profile,
    )
    document = bench(request, console.say)
    console.print_json(document) if json else show(document)


@bench_app.command("data")
def bench_data(
    dataset: Annotated[str, typer.Option("--dataset", help="An unpaired folder or known name.")],
    workers: Annotated[int, typer.Option("--workers", help="Processes that read images.")] = 2,
    size: Annotated[int, typer.Option("--size", help="Training crop in pixels.")] = 256,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images per step.")] = 1,
    rounds: Annotated[int, typer.Option("--rounds", help="Timed runs of each.")] = 5,
    step_ms: Annotated[
        float, typer.Option("--step-ms", help="Length of the simulated step that has to wait.")
    ] = 100.0,
    json: Json = False,
) -> None:
    """Time the loader, with all images in memory and at first, beside PIL and torchvision.

    Example: gancomp bench data --dataset horse2zebra --workers 2
    """
    from gancomp.bench.data import DataBench
    from gancomp.bench.data import bench_data as bench
    from gancomp.bench.report import show

    request = DataBench(
        dataset=dataset,
        size=size,
        batch_size=batch_size,
        workers=workers,
        rounds=rounds,
        step_ms=step_ms,
    )
    document = bench(request, console.say)
    console.print_json(document) if json else show(document)


@bench_app.command("fid")
def bench_fid(
    real: Annotated[Path, typer.Option("--real", help="Folder of real images.", parser=expanded)],
    fake: Annotated[
        Path, typer.Option("--fake", help="Folder of generated images.", parser=expanded)
    ],
    rounds: Annotated[int, typer.Option("--rounds", help="Timed runs of each command.")] = 3,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Time eval-fid, with and without cached reals, beside pytorch-fid's command.

    Example: gancomp bench fid --real data/testB --fake translated
    """
    from gancomp.bench.fid import bench_fid as bench
    from gancomp.bench.report import show

    document = bench(real, fake, rounds=rounds, threads=threads)
    console.print_json(document) if json else show(document)


@bench_app.command("scale")
def bench_scale(
    ranks: Annotated[
        str, typer.Option("--ranks", help="Numbers of processes that share the step.")
    ] = "1,2,4,8",
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            help="Images per step, in all.",
            show_default="one for each of the most processes",
        ),
    ] = None,
    size: Annotated[int, typer.Option("--size", help="Height and width in pixels.")] = 256,
    width: Annotated[int, typer.Option("--width", help="The teacher's width (ngf).")] = 64,
    d_width: Annotated[int, typer.Option("--d-width", help="The discriminators' (ndf).")] = 64,
    rounds: Annotated[int, typer.Option("--rounds", help="Timed steps of each number.")] = 5,
    device: Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", help="CPU threads of each process.", show_default="1"),
    ] = None,
    json: Json = False,
) -> None:
    """Time the joint DCD step as 1, 2, 4, ... processes share it, which torchrun starts.

    Example: gancomp bench scale --ranks 1,2 --size 128 --device cpu
    """
    from gancomp.bench.scale import ScaleRequest, counts_of, show_scale
    from gancomp.bench.scale import bench_scale as bench

    request = ScaleRequest(
        ranks=counts_of(ranks),
        batch_size=batch_size,
        size=size,
        width=width,
        d_width=d_width,
        rounds=rounds,
        device=device,
        threads=threads,
    )
    document = bench(request, console.say)
    console.print_json(document) if json else show_scale(document)
