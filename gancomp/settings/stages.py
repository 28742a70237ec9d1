"""What is trained before a run itself."""

from __future__ import annotations

from dataclasses import dataclass

from gancomp.declare import Unused, setting, task_is, task_is_not, zero
from gancomp.settings.rules import (
    SR,
    SYNTHESIS,
    given_teacher,
    method_is_not,
    no_kd,
    objective_is,
    own_student,
    own_teacher,
    teacher_alone,
)


@dataclass(frozen=True)
class StageSettings:
    """What super-resolution and synthesis train before the run itself; see `training.stages`.

    Synthesis has the teacher, the student alone and then under its teacher, in thousands of images.
    A run's own length (`pretrain`: the teacher's, `distill`: the last) gives way to `max_steps`.

    Source: Lee and Park 2021 name the stages of super-resolution; the lengths are those of the code
    they build on, where they have one. DGL-GAN: abstract of its first version.
    """

    teacher_srresnet_steps: int = setting(
        1_000_000,
        "--teacher-srresnet-steps",
        "Stage 0a: the teacher in pixels.",
        least=1,
        owners=(SR,),
        unused=(
            task_is_not("super-resolution"),
            own_teacher,
            no_kd,
            objective_is("pixel"),
        ),
    )
    student_srresnet_steps: int = setting(
        1_000_000,
        "--student-srresnet-steps",
        "Stage 0b: the student in pixels.",
        least=1,
        owners=(SR,),
        distil_only=True,
        unused=(task_is_not("super-resolution"), own_student, objective_is("pixel")),
    )
    teacher_gan_steps: int = setting(
        200_000,
        "--teacher-gan-steps",
        "Stage 1: the teacher as SRGAN.",
        least=1,
        owners=(SR,),
        distil_only=True,
        unused=(
            Unused(
                task_is("synthesis").when,
                "`task` synthesis, whose lengths are in images (`teacher_kimg`)",
            ),
            task_is_not("super-resolution"),
            own_teacher,
            method_is_not("gan2g", "gan2g-al", "gan2gan", reason="a method without SRGAN teacher"),
        ),
    )
    teacher_content_steps: int = setting(
        2_500,
        "--teacher-content-steps",
        "Stage 1' of g2g-al: the teacher by its content loss.",
        least=1,
        owners=(SR,),
        distil_only=True,
        unused=(
            task_is_not("super-resolution"),
            own_teacher,
            method_is_not("g2g-al", reason="any `method` but g2g-al"),
        ),
    )
    srresnet_lr: float = setting(
        1e-4,
        "--srresnet-lr",
        "Adam's rate in the stages in pixels.",
        above=0.0,
        most=10.0,
        owners=(SR,),
        unused=(
            task_is_not("super-resolution"),
            objective_is("pixel", reason="`objective` pixel; use `lr`"),
        ),
    )
    student_source: str | None = setting(
        None,
        "--student",
        "Start the student from this model file or run (synthesis: a run).",
        shown="its own stage",
        owners=(SR, SYNTHESIS),
        distil_only=True,
        panel="Method",
        unused=(task_is_not("super-resolution", "synthesis"),),
    )
    teacher_kimg: float | None = setting(
        None,
        "--teacher-kimg",
        "Without `teacher`: train the teacher first, for that many thousands of images.",
        above=0.0,
        shown="the preset's",
        pretrain={"help": "Length in thousands of images, instead of `max_steps`."},
        owners=(SYNTHESIS,),
        unused=(task_is_not("synthesis"), zero("lambda_dgl"), given_teacher),
    )
    stage1_kimg: float = setting(
        0.0,
        "--stage1-kimg",
        "Then the student alone, for as many thousands of images.",
        least=0.0,
        shown="the preset's; 0 is one stage",
        owners=(SYNTHESIS,),
        distil_only=True,
        unused=(task_is_not("synthesis"), own_student, teacher_alone),
    )
    stage2_kimg: float | None = setting(
        None,
        "--stage2-kimg",
        "Then under its teacher for as many, instead of `max_steps`.",
        above=0.0,
        shown="the preset's",
        owners=(SYNTHESIS,),
        distil_only=True,
        unused=(task_is_not("synthesis"),),
    )
