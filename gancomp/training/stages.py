"""What is trained before the run itself, as the domain says.

Each stage is a run of its own below the run's `stages/`, on the same line as any other run: it has
its checkpoints, can be killed and goes on exactly. A finished one is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gancomp.config import read
from gancomp.domains.choice import domain_of
from gancomp.domains.stage import FOLDER, Stage
from gancomp.engine.fit import View
from gancomp.engine.run import CONFIG, RunFolder, tidy
from gancomp.engine.stopping import InterruptedRunError, StopWish
from gancomp.export.model import open_model
from gancomp.methods.base import Method
from gancomp.planning.plan import Plan
from gancomp.ranks import current
from gancomp.registry import METHODS, resolve
from gancomp.settings import ScheduleSettings, SelectionSettings, Settings
from gancomp.training.steps import Result

Train = Callable[[Plan, View], Result]


@dataclass(frozen=True)
class Beginning:
    """How far the stages came.

    Attributes:
        made: generator file of each stage's run, by role.
        unfinished: the result of the stage that ran out of `--max-time`, if one did.
        seconds_left: of `--max-time`, if there is one.
    """

    made: dict[str, Path]
    unfinished: Result | None = None
    seconds_left: float | None = None


def stages_of(settings: Settings, options: Any) -> list[Stage]:
    """The stages before a run with these settings, in their order."""
    return domain_of(settings.data.task).stages(settings, options)


def run_stages(plan: Plan, view: View, *, train: Train, stop: StopWish) -> Beginning:
    """Runs what is left of the stages.

    Args:
        plan: of the run that the stages come before.
        view: is told what begins.
        train: the whole line of a run.
        stop: somebody's wish to stop, which holds between two stages too.

    Raises:
        InterruptedRunError: after a signal.
        GancompError: as `train` does.
    """
    made: dict[str, Path] = {}
    deadline = plan.settings.schedule.max_seconds
    started = time.perf_counter()

    def seconds_left() -> float | None:
        return None if deadline is None else deadline - (time.perf_counter() - started)

    ranks = current()
    for stage in stages_of(plan.settings, plan.options):
        stop.settle()
        if stop:
            raise InterruptedRunError(
                f"stopped before stage {stage.name}; go on with `resume=True`"
            )
        inner, is_over = ranks.from_lead(partial(_next, stage, plan, made, seconds_left()))
        if not is_over:
            view.say(f"stage {stage.name}: {stage.steps} steps in {inner.out}")
            result = train(inner, view)
            if result.outcome.step < stage.steps:
                view.say(f"stage {stage.name}: out of time; go on with `resume=True`")
                return Beginning(made, replace(result, run=plan.out))
        made[stage.role] = inner.out / f"{stage.role}.safetensors"
    return Beginning(made, seconds_left=seconds_left())


def _next(
    stage: Stage, plan: Plan, made: dict[str, Path], seconds_left: float | None
) -> tuple[Plan, bool]:
    """The stage as a run, and whether that is finished already."""
    inner = plan_of(stage, plan, made, seconds_left)
    is_over = is_finished(inner.out / f"{stage.role}.safetensors", stage)
    if is_over:
        tidy(RunFolder(inner.out))  # it may have been killed after all else was done
    return inner, is_over


def hand_on(plan: Plan, method: Method, made: dict[str, Path]) -> None:
    """Fills the networks of `method` with what the stages, or the files given, ended with."""
    domain_of(plan.settings.data.task).hand_on(plan.settings, method, made, out=plan.out)


def is_finished(file: Path, stage: Stage) -> bool:
    """Whether the stage's generator is there, as it is after the last step."""
    return file.exists() and open_model(file).header["step"] >= stage.steps


def plan_of(stage: Stage, plan: Plan, made: dict[str, Path], seconds_left: float | None) -> Plan:
    """The stage as a run of its own below `plan`'s, of the stage's length.

    Args:
        stage: name and length.
        plan: of the whole run.
        made: the generators of earlier stages by role.
        seconds_left: of `--max-time`, if there is one.
    """
    settings = domain_of(plan.settings.data.task).stage_settings(stage, plan.settings, made)
    settings = replace(
        settings,
        schedule=ScheduleSettings(
            epochs=1_000_000, decay_epochs=0, max_steps=stage.steps, max_seconds=seconds_left
        ),
        selection=SelectionSettings(),
    )
    kind = resolve(METHODS, "method", settings.method.name)
    out = plan.out / FOLDER / stage.name
    return replace(
        plan,
        settings=settings,
        options=read(kind.Options, settings.method.options, "method.options"),
        out=out,
        resume=(out / CONFIG).exists(),
        preset=plan.preset | {"reported": None},
        is_stage=True,
    )
