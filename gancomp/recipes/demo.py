"""`gancomp demo`: the whole main job on an embedded dataset, without any download."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gancomp import console
from gancomp.config import merge, read
from gancomp.data.demo_set import background_change, shape_masks, stripe_score, write_demo_set
from gancomp.data.in_order import evaluation_batches
from gancomp.data.layout import scan
from gancomp.engine.device import choose_device
from gancomp.engine.fit import View
from gancomp.export.model import open_model
from gancomp.files import reporting_disk_errors
from gancomp.inference.grids import draw_grid
from gancomp.networks.inference import run_generator
from gancomp.recipes.distill import distill
from gancomp.recipes.export import export
from gancomp.recipes.pretrain import pretrain
from gancomp.recipes.profile import profile_document, show_profile
from gancomp.settings import Json, Overrides, RunSettings, ScheduleSettings

SIZE = 64
NUM_TEST = 32
NUM_ROWS = 6


def demo(out: Path, *, seed: int, device: str, max_steps: int | None, view: View) -> Json:
    """Draws a dataset, trains teacher and student, exports, measures and shows the student.

    Args:
        out: folder for all of it; if it exists, a number is added so that nothing is lost.
        seed: of dataset and training.
        device: as `--device`.
        max_steps: an upper limit for each training, for a quick look.
        view: shows the progress.

    Returns: paths, scores in [0, 1] by the dataset's own measure, costs and seconds.

    Raises:
        GancompError: if a setting is impossible or `out` cannot be written.
    """
    started = time.perf_counter()
    read(RunSettings, {"seed": seed})
    read(ScheduleSettings, {"max_steps": max_steps})
    choose_device(device)
    out = unused(out)
    data = out / "data"
    write_demo_set(data, seed=seed, size=SIZE, test=NUM_TEST)
    view.say(f"dataset: plain and striped shapes, drawn into {data}")
    given = _given(data, seed, device, max_steps)
    view.say("teacher: CycleGAN from scratch")
    teacher = pretrain(replace(given, out=out / "teacher"), view)
    view.say("student: a quarter of the channels, distilled with DCD beside its teacher")
    beside = merge(given.settings, {"teacher": {"source": str(out / "teacher")}})
    student = distill(replace(given, settings=beside, out=out / "student"), view)
    assert student.teacher is not None
    assert student.student is not None
    exported = export(student.student, out / "student.safetensors")
    scores, picture = score_and_draw(out, data, [student.teacher, student.student], seed)
    return {
        "folder": str(out),
        "teacher": str(student.teacher),
        "student": exported["file"],
        "picture": str(picture),
        "scores": scores,
        "profile": profile_document([out / "student"]),
        "steps": {"pretrain": teacher.outcome.step, "distill": student.outcome.step},
        "seconds": round(time.perf_counter() - started, 1),
    }


def unused(folder: Path) -> Path:
    """`folder`, or the first of `folder-2`, `folder-3` and so on that does not exist."""
    candidate, number = folder, 2
    with reporting_disk_errors(folder):
        while candidate.exists():
            candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
        candidate.mkdir(parents=True)
    return candidate


def _given(data: Path, seed: int, device: str, max_steps: int | None) -> Overrides:
    overrides: Json = {
        "data": {"dataset": str(data)},
        "method": {"preset": "demo"},
        "run": {"seed": seed, "device": device, "workers": 0, "sample_every": 10**6},
    }
    if max_steps is not None:
        overrides["schedule"] = {"max_steps": max_steps}
    return Overrides(settings=overrides)


def score_and_draw(out: Path, data: Path, models: list[Path], seed: int) -> tuple[Json, Path]:
    """How striped the shapes became, how little the background changed, and a picture of it.

    Returns: the scores of untranslated input, real striped images, teacher and student; and the
        path of a grid with source, teacher and student side by side.
    """
    files = scan(data)
    assert files.test is not None
    sources, reals = (
        torch.cat([batch for _, batch in evaluation_batches(paths, size=SIZE, batch_size=NUM_TEST)])
        for paths in (files.test.source, files.test.target)
    )
    masks = shape_masks("testA", NUM_TEST, seed=seed, size=SIZE)
    teacher, student = (run_generator(open_model(path).network, sources) for path in models)
    scores: Json = {
        "input": {"stripes": stripe_score(sources, masks)},
        "real": {
            "stripes": stripe_score(reals, shape_masks("testB", NUM_TEST, seed=seed, size=SIZE))
        },
    }
    for name, images in (("teacher", teacher), ("student", student)):
        scores[name] = {
            "stripes": stripe_score(images, masks),
            "background_change": background_change(images, sources, masks),
        }
    rows: list[Tensor] = [images[:NUM_ROWS] for images in (sources, teacher, student)]
    grid = torch.stack(rows, dim=1).flatten(0, 1)
    picture = out / "demo.png"
    draw_grid(torch.nn.functional.interpolate(grid, scale_factor=2), picture, len(rows))
    return scores, picture


def show_demo(result: Json) -> None:
    """Prints scores, costs and where to look."""
    columns = ("stripes", "background_change")
    rows = [
        [name, *(f"{score[key]:.3f}" if key in score else "" for key in columns)]
        for name, score in result["scores"].items()
    ]
    title = (
        "stripes: 0 plain, 1 as the real ones; background change: mean absolute, lower is better"
    )
    console.print_table(["", "stripes", "background change"], rows, title=title)
    show_profile(result["profile"])
    console.stdout.print(f"picture (input, teacher, student by row): {result['picture']}")
    console.stdout.print(f"student: {result['student']}   ({result['seconds']:.0f} s in all)")
