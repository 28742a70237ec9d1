"""What synthesis trains before the run itself: a teacher, and the student without it.

| stage | what | when |
|---|---|---|
| 0 | the teacher against its discriminator | DGL without `--teacher` |
| 1 | the student against its own | `--stage1-kimg` above 0, without `--student` |

The run then goes on with the networks of the last, and with fresh optimizers.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from gancomp.domains.stage import Stage
from gancomp.domains.synthesis.settings import go_on_from, steps_of
from gancomp.methods.base import Method
from gancomp.methods.synthesis_options import UNGUIDED
from gancomp.paths import expanded
from gancomp.registry import METHODS, resolve
from gancomp.settings import MethodSettings, Settings


def stages_of(settings: Settings, options: Any) -> list[Stage]:
    """The stages before a run with these settings, in their order."""
    lengths, stages = settings.stages, []
    if settings.command != "distill":
        return []
    images = options.d_steps * settings.data.batch_size
    if settings.teacher.source is None and options.is_guided:
        # runs of earlier versions have a length in steps
        steps = lengths.teacher_gan_steps
        if lengths.teacher_kimg is not None:
            steps = steps_of(lengths.teacher_kimg, images)
        stages.append(Stage("0-teacher-gan", "teacher", "gan", steps))
    if lengths.stage1_kimg > 0 and lengths.student_source is None:
        steps = steps_of(lengths.stage1_kimg, images)
        stages.append(Stage("1-student-gan", "student", "gan", steps))
    return stages


def settings_of(stage: Stage, whole: Settings) -> Settings:
    """The stage's settings: `gan` for a teacher, the run's method unguided for a student."""
    alone = replace(whole.stages, teacher_kimg=None, stage1_kimg=0.0, stage2_kimg=None)
    teacher = replace(whole.teacher, source=None, freeze=False)
    if stage.role == "student":
        method = replace(whole.method, options=whole.method.options | UNGUIDED)
        return replace(whole, teacher=teacher, method=method, stages=alone)
    known = {item.name for item in fields(resolve(METHODS, "method", "gan").Options)}
    options = {key: value for key, value in whole.method.options.items() if key in known}
    return replace(
        whole,
        command="pretrain",
        teacher=teacher,
        student=None,
        method=MethodSettings("gan", whole.method.preset, options),
        stages=alone,
    )


def hand_on(settings: Settings, method: Method, made: dict[str, Path]) -> None:
    """Fills the networks of `method` with what the stages, or `--student`, ended with.

    Args:
        settings: of the run.
        method: with fresh networks.
        made: generator file of each stage's run, by role.
    """
    runs = {role: file.parent for role, file in made.items()}
    if settings.stages.student_source is not None:
        runs["student"] = expanded(settings.stages.student_source)
    for role, run in runs.items():
        go_on_from(method, role, run)
