"""What a command is about to do, told before its first step: parts, steps, images, about how long.

The time is that of one step on this machine, taken by a fresh copy of each part's networks on a few
of the images and thrown away: it changes nothing of what is trained.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gancomp.console import duration
from gancomp.data.loader import IndexedDataset, batches, steps_per_epoch
from gancomp.engine.checkpoint import list_checkpoints
from gancomp.engine.fit import View
from gancomp.engine.phases import Phase, Progress, Step, always, optimizers
from gancomp.engine.speed import channels_last
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.errors import TrainingError
from gancomp.launch import unheard
from gancomp.methods.base import Method
from gancomp.planning.plan import Plan
from gancomp.training.stages import is_finished, plan_of, stages_of
from gancomp.training.steps import (
    images_per_step,
    load_feature_network,
    make_method,
    make_student,
    make_task,
    make_teacher,
)

WORTH_TIMING = 40  # images: a trial takes up to two batches of a few
LONG_S = 2.0  # a first step this long is hardly longer than the next
SAMPLES = 1000  # of a schedule, to see how often a phase has its turn


@dataclass(frozen=True)
class Part:
    """One training of a command.

    Attributes:
        name: of the stage, or the command.
        plan: of its run.
        total: steps of the whole training.
        steps: those that are left.
        epoch: steps in one.
    """

    name: str
    plan: Plan
    total: int
    steps: int
    epoch: int

    @property
    def images(self) -> int:
        """Those that the steps left will look at."""
        return self.steps * images_per_step(self.plan)


def tell_plan(plan: Plan, method: Method, reader: IndexedDataset, view: View) -> None:
    """Says what is left to do of the whole command, stages included, in a few lines.

    Args:
        plan: of the run.
        method: its own, for the length of its schedule.
        reader: of the training images.
        view: is told.
    """
    parts = parts_of(plan, method, reader)
    steps, images = sum(part.steps for part in parts), sum(part.images for part in parts)
    limit = plan.settings.schedule.max_seconds
    stops = f"; stops after {duration(limit)} (`max_time`)" if limit is not None else ""
    view.say(f"plan: {steps:,} steps, {images:,} images{stops}")
    for part in parts if len(parts) > 1 else []:
        view.say(f"  {part.name}: {part.steps:,} steps, {part.images:,} images")
    device = next(method.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seconds = [seconds_of(part, reader, view, device=device) for part in parts]
    known = [value for value in seconds if value is not None]
    if len(known) < len(parts):
        return
    each = ", ".join(
        f"{part.name} {duration(value)}" for part, value in zip(parts, known, strict=True)
    )
    by_part = f" ({each})" if len(parts) > 1 else ""
    view.say(f"time, by a step tried here: about {duration(sum(known))}{by_part}")


def parts_of(plan: Plan, method: Method, reader: IndexedDataset) -> list[Part]:
    """The stages that are not done and the run itself, in their order."""
    schedule, epoch = plan.settings.schedule, steps_per_epoch(reader, images_per_step(plan))
    num_epochs = method.num_epochs(schedule.epochs + schedule.decay_epochs)
    total = schedule.total_steps(num_epochs=num_epochs, steps_per_epoch=epoch)
    done, parts = _steps_done(plan), []
    for stage in [] if done else stages_of(plan.settings, plan.options):
        inner = plan_of(stage, plan, {}, None)
        if not is_finished(inner.out / f"{stage.role}.safetensors", stage):
            left = max(0, stage.steps - _steps_done(inner))
            parts.append(Part(f"stage {stage.name}", inner, stage.steps, left, epoch))
    parts.append(Part(plan.settings.command, plan, total, max(0, total - done), epoch))
    return parts


def _steps_done(plan: Plan) -> int:
    found = list_checkpoints(plan.out / "checkpoints")
    return int(found[0].name.removeprefix("step_")) if plan.resume and found else 0


def seconds_of(
    part: Part,
    reader: IndexedDataset,
    view: View,
    *,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float | None:
    """About how long a part takes by `clock`; None where a trial would take nearly as long."""
    if part.images < WORTH_TIMING:
        return None
    trial = smaller(part.plan, device)
    method = make_fresh(trial, view).to(device)
    channels_last(method)
    with contextlib.closing(
        batches(
            reader,
            batch_size=images_per_step(trial),
            seed=part.plan.settings.run.seed,
            device=device,
            say=unheard,
        )
    ) as source:
        batch = {name: tensor.to(device) for name, tensor in next(source).items()}
    shares = [share_of_turns(phase, part, method) for phase in method.phases()]
    try:
        precision = trial.settings.run.precision
        taken = seconds_of_phases(method.train(), batch, device, precision, clock=clock)
    except (TrainingError, torch.OutOfMemoryError):
        return None
    one = sum(share * value for share, value in zip(shares, taken, strict=True))
    return one * part.images / images_per_step(trial)


def smaller(plan: Plan, device: torch.device) -> Plan:
    """The plan with batches of as few images as all networks take; of one part on a GPU."""
    data, options = plan.settings.data, plan.options
    parts = getattr(options, "accumulation", 1)
    if parts > 1:
        options = replace(options, accumulation=1)
    count = data.batch_size // parts
    if device.type == "cpu":
        count = min(count, 2)  # U-Nets with BatchNorm do not take one alone
    settings = replace(plan.settings, data=replace(data, batch_size=count))
    return replace(plan, settings=settings, options=options)


def make_fresh(plan: Plan, view: View) -> Method:
    """The plan's method with networks as new, whatever they are to start from."""
    settings = plan.settings
    task = make_task(settings, make_teacher(settings, resume=True), resume=True)
    student = make_student(settings, resume=True)
    return make_method(plan, task, student, load_feature_network(plan, view))


def share_of_turns(phase: Phase, part: Part, method: Method) -> float:
    """The share of a part's steps in which a phase takes part."""
    schedule, count = part.plan.settings.schedule, min(SAMPLES, part.total)
    num_epochs = method.num_epochs(schedule.epochs + schedule.decay_epochs)
    indices = [part.total * sample // count for sample in range(count)]
    moments = [Progress(index, index // part.epoch, num_epochs) for index in indices]
    if count == part.total:  # a lazy phase has its turn in the first step, however few there are
        return sum(map(phase.takes_part, moments)) / count
    return sum(map(phase.active, moments)) / count / phase.every


def seconds_of_phases(
    method: Method,
    batch: dict[str, Tensor],
    device: torch.device,
    precision: str,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """How long each phase's turn takes, in a step in which all have theirs."""
    phases, marks = method.phases(), [0.0]

    def mark(*_: Any) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        marks.append(clock())

    for phase in phases:
        phase.active = always
    for optimizer in optimizers(phases).values():
        optimizer.register_step_post_hook(mark)
    for _ in range(2):
        marks[:] = [clock()]
        take_step(
            method,
            Step(0, batch),
            Progress(0, 0, 1),
            rate=1.0,
            precision=precision,
            device=device,
            watch=FiniteWatch(late=False),
        )
        if marks[-1] - marks[0] > LONG_S:
            break
    return [after - before for before, after in zip(marks, marks[1:], strict=False)]
