"""A run before the run: what it is called, and how it becomes a plan of its own."""

from __future__ import annotations

from dataclasses import replace

from gancomp.config import read
from gancomp.domains.stage import FOLDER, Stage
from gancomp.engine.run import CONFIG
from gancomp.planning.plan import Plan
from gancomp.registry import METHODS, resolve
from gancomp.settings import ScheduleSettings, SelectionSettings, Settings


def plan_with(settings: Settings, stage: Stage, plan: Plan, seconds_left: float | None) -> Plan:
    """The stage as a run below `plan`'s, of the stage's length.

    Args:
        settings: of the stage, still of the whole run's length.
        stage: name and length.
        plan: of the whole run.
        seconds_left: of `--max-time`, if there is one.
    """
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
