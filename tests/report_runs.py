"""Folders of runs as training leaves them, made in a moment; for tests of reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from commands import write_model
from PIL import Image

from gancomp.data.demo_set import write_demo_set
from gancomp.engine.run import RunFolder
from gancomp.planning.plan import make_plan
from gancomp.settings import Overrides
from gancomp.training.steps import describe_run

SIZE = 32
NETWORKS: dict[str, Any] = {
    "discriminator": {"width": 4, "layers": 1},
    "perceptual": {"source": "none"},
    "schedule": {"max_steps": 3},
}
HOSTILE = '<script>alert("x")</script>'


def write_data(folder: Path) -> Path:
    write_demo_set(folder, size=SIZE, train=2, test=2)
    return folder


def write_run(path: Path, data: Path, *, width: int = 2, seed: int = 0, bare: bool = False) -> Path:
    """A run of `distill` with three steps; `bare` as it is before the first of them."""
    settings = NETWORKS | {
        "data": {"dataset": str(data), "size": SIZE},
        "teacher": {"network": {"width": 4}},
        "run": {"seed": seed, "device": "cpu", "workers": 0},
    }
    given = Overrides(arch="mobile-resnet6", student_width=width, settings=settings, out=path)
    run = RunFolder(path)
    run.samples.mkdir(parents=True)
    run.write_config(describe_run(make_plan("distill", given, lambda message: None), None))
    if bare:
        return path
    for step in range(1, 4):
        losses = {"student/gan": 1 / step, "student/dcd": 100.0 / step**4, "discriminator/real": 1}
        record = {"step": step, "losses": losses, "seconds": 2.0 * step, "images_per_second": 0.5}
        run.append_metrics(record)
        grid = Image.new("RGB", (3 * SIZE, 2 * SIZE), (80 * step, 40, 90))
        grid.save(run.samples / f"step_{step:08d}.png")
    for role, channels in (("teacher", 4), ("student", width)):
        write_model(path / f"{role}.safetensors", width=channels, role=role, step=3)
    return path


def keep_scores(run: Path, *, student: float = 90.0, n_fake: int = 120) -> None:
    """Scores of both generators: of `eval`, with an interval, and of `eval-fid`."""
    about: dict[str, Any] = {"n_real": 140, "n_fake": n_fake, "real": ["testB"], "weights": "w"}
    rules = {"features": "pool3", "step": 3, "device": "cpu"}
    interval = {"value": student, "low": student - 4, "high": student + 5}
    scores = [
        about | {"fid": 60.5, "fake": str(run / "teacher.safetensors"), "protocol": rules},
        about
        | {"metrics": {"fid": interval, "precision": {"value": 0.5, "low": None, "high": None}}}
        | {"fake": str(run / "student.safetensors"), "protocol": rules},
    ]
    (run / "eval.json").write_text(json.dumps({"schema": 1, "scores": scores}))
