"""What is trained before the run itself: super-resolution's SRResNets and tuned teachers.

Those of synthesis are in `synthesis_stages`. Each stage is a run of its own below the run's
`stages/`, on the same line as any other run: it has its checkpoints, can be killed and goes on
exactly. A finished one is skipped.

| stage | what | left out |
|---|---|---|
| 0a | the teacher as SRResNet, in pixels | with `--teacher` |
| 0b | the student as SRResNet, in pixels | with `--student`, and by `pretrain` |
| 1 | the teacher as SRGAN; 1', for g2g-al, by its content loss alone | with `--teacher` |
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gancomp.domains.stage import FOLDER, Stage
from gancomp.domains.synthesis import stages as synthesis_stages
from gancomp.engine.checkpoint import load_newest
from gancomp.engine.fit import View, load_networks
from gancomp.engine.run import RunFolder, tidy
from gancomp.engine.stopping import InterruptedRunError, StopWish
from gancomp.errors import CheckpointError
from gancomp.export.model import open_model
from gancomp.methods.base import Method
from gancomp.paths import expanded
from gancomp.planning.plan import Plan
from gancomp.registry import METHODS, resolve
from gancomp.settings import Json, MethodSettings, PerceptualSettings, Settings
from gancomp.training.stage import plan_with
from gancomp.training.steps import Result

Train = Callable[[Plan, View], Result]


@dataclass(frozen=True)
class Beginning:
    """How far the stages came.

    Attributes:
        unfinished: the result of the stage that ran out of `--max-time`, if one did.
        seconds_left: of `--max-time`, if there is one.
    """

    unfinished: Result | None
    seconds_left: float | None


def stages_of(settings: Settings, options: Any) -> list[Stage]:
    """The stages before a run with these settings, in their order."""
    if settings.data.task == "synthesis":
        return synthesis_stages.stages_of(settings, options)
    if settings.data.task != "super-resolution" or options_objective(options) == "pixel":
        return []
    lengths, stages = settings.stages, []
    method = resolve(METHODS, "--method", settings.method.name)
    objective = getattr(method, "teacher_objective", None)
    needs_teacher = settings.teacher.source is None and (
        objective is not None or settings.command == "pretrain"
    )
    if needs_teacher:
        steps = lengths.teacher_srresnet_steps
        stages.append(Stage("0a-teacher-srresnet", "teacher", "pixel", steps))
    if settings.student is not None and lengths.student_source is None:
        steps = lengths.student_srresnet_steps
        stages.append(Stage("0b-student-srresnet", "student", "pixel", steps))
    if needs_teacher and objective == "gan":
        stages.append(Stage("1-teacher-srgan", "teacher", "gan", lengths.teacher_gan_steps))
    if needs_teacher and objective == "content":
        steps = lengths.teacher_content_steps
        stages.append(Stage("1-teacher-content", "teacher", "content", steps))
    return stages


def options_objective(options: Any) -> str | None:
    """`objective` of the methods that train one network alone, None for the others."""
    objective: str | None = getattr(options, "objective", None)
    return objective


def begin(plan: Plan, method: Method, view: View, *, train: Train, stop: StopWish) -> Beginning:
    """Runs what is left of the stages and fills the networks of `method` with their results.

    Args:
        plan: of the run that the stages come before.
        method: with fresh networks, on any device.
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

    for stage in stages_of(plan.settings, plan.options):
        if stop:
            raise InterruptedRunError(f"stopped before stage {stage.name}; go on with --resume")
        inner = plan_of(stage, plan, made, seconds_left())
        file = inner.out / f"{stage.role}.safetensors"
        if is_finished(file, stage):
            tidy(RunFolder(inner.out))  # it may have been killed after all else was done
        else:
            view.say(f"stage {stage.name}: {stage.steps} steps in {inner.out}")
            result = train(inner, view)
            if result.outcome.step < stage.steps:
                view.say(f"stage {stage.name}: out of time; go on with --resume")
                return Beginning(replace(result, run=plan.out), None)
        made[stage.role] = file
    if plan.settings.data.task == "synthesis":
        synthesis_stages.hand_on(plan.settings, method, made)
        return Beginning(None, seconds_left())
    for role, file in made.items():
        method.generators()[role].load_state_dict(open_model(file).network.state_dict())
    if getattr(plan.options, "discriminator_from_teacher", False):
        bring_discriminator(plan, method)
    return Beginning(None, seconds_left())


def is_finished(file: Path, stage: Stage) -> bool:
    """Whether the stage's generator is there, as it is after the last step."""
    return file.exists() and open_model(file).header["step"] >= stage.steps


def plan_of(stage: Stage, plan: Plan, made: dict[str, Path], seconds_left: float | None) -> Plan:
    """The stage as a run of its own; `made` has the generators of earlier stages by role."""
    if plan.settings.data.task == "synthesis":
        return plan_with(
            synthesis_stages.settings_of(stage, plan.settings), stage, plan, seconds_left
        )
    return plan_with(settings_of(stage, plan.settings, made), stage, plan, seconds_left)


def settings_of(stage: Stage, whole: Settings, made: dict[str, Path]) -> Settings:
    """The settings of a stage of super-resolution, except for its length."""
    of_teacher = stage.role == "teacher"
    name = "srgan" if of_teacher else "no-kd"
    known = {item.name for item in fields(resolve(METHODS, "--method", name).Options)}
    values: Json = {key: value for key, value in whole.method.options.items() if key in known}
    values["objective"] = stage.objective
    in_pixels = stage.objective == "pixel"
    source = made.get("teacher") if of_teacher else None
    rate = whole.stages.srresnet_lr if in_pixels else whole.optimizer.lr
    return replace(
        whole,
        command="pretrain" if of_teacher else "distill",
        student=None if of_teacher else whole.student,
        teacher=replace(whole.teacher, source=str(source) if source else None, freeze=False),
        method=MethodSettings(name, whole.method.preset, values),
        optimizer=replace(whole.optimizer, lr=rate),
        perceptual=PerceptualSettings("none") if in_pixels else whole.perceptual,
    )


def bring_discriminator(plan: Plan, method: Method) -> None:
    """Lets every discriminator of `method` begin as the teacher's own.

    Raises:
        CheckpointError: if the teacher has none, or one of another size.
    """
    given = plan.settings.teacher.source
    run = expanded(given) if given else plan.out / FOLDER / "1-teacher-srgan"
    checkpoint = load_newest(run / "checkpoints", lambda message: None) if run.is_dir() else None
    state = checkpoint.state["networks"].get("discriminator") if checkpoint else None
    if state is None:
        raise CheckpointError(
            f"--discriminator-from-teacher: --teacher {given} has no discriminator; give the run "
            "that trained it as SRGAN, or remove the option"
        )
    judges = {name: net for name, net in method.networks().items() if "discriminator" in name}
    try:
        load_networks(judges, dict.fromkeys(judges, state))
    except RuntimeError as error:
        raise CheckpointError(
            f"--discriminator-from-teacher: that of {run} does not fit "
            f"({str(error).splitlines()[0]}); give the same --d-width and --size"
        ) from error
