"""What several options have no effect with, and what some belong to."""

from __future__ import annotations

from gancomp.declare import Unused, task_is
from gancomp.launch import num_ranks

UNPAIRED, PAIRED = "--task unpaired", "--task paired"
SR, SYNTHESIS = "--task super-resolution", "--task synthesis"
TRANSLATION = (UNPAIRED, PAIRED)
NOT_TRANSLATION = (task_is("super-resolution"), task_is("synthesis"))

# but where the student has a task of its own, which has the same objective
frozen_teacher = Unused(
    lambda settings, options: (
        settings.teacher.freeze and not getattr(options, "has_own_task", False)
    ),
    "`freeze_teacher=True`",
)
free_cycle = Unused(
    lambda settings, options: settings.adversarial.lambda_cycle == 0,
    "`lambda_cycle` 0, which multiplies it",
)
one_process = Unused(lambda settings, options: num_ranks() == 1, "one process")
last = Unused(lambda settings, options: settings.selection.select == "last", "`select` last")
not_held_out = Unused(
    lambda settings, options: settings.selection.select != "held-out",
    "any `select` but held-out",
)
no_features = Unused(
    lambda settings, options: settings.perceptual.source == "none", "`perceptual` none"
)
own_teacher = Unused(lambda settings, options: settings.teacher.source is not None, "`teacher`")
given_teacher = Unused(
    lambda settings, options: settings.command == "distill" and settings.teacher.source is not None,
    "`teacher`",
)
own_student = Unused(
    lambda settings, options: settings.stages.student_source is not None, "`student`"
)
teacher_alone = Unused(lambda settings, options: settings.command == "pretrain", "gancomp pretrain")


def method_is_not(*names: str, reason: str) -> Unused:
    """With any other method than these."""
    return Unused(lambda settings, options: settings.method.name not in names, reason)


def objective_is(*names: str, reason: str = "`objective` pixel") -> Unused:
    """While a network trained alone learns by one of these objectives."""
    return Unused(lambda settings, options: getattr(options, "objective", "gan") in names, reason)


not_quantized = Unused(
    lambda settings, options: not settings.method.quantization_aware,
    "`quantization_aware` off",
)
no_kd = Unused(lambda settings, options: settings.method.name == "no-kd", "`method` no-kd")
no_features_weighted = Unused(
    lambda settings, options: all(
        (weight := getattr(options, name, None)) is not None and weight <= 0
        for name in ("lambda_feature", "lambda_style")
    ),
    "`lambda_feature` 0 `lambda_style` 0",
)
no_discriminator_trained = Unused(
    lambda settings, options: (
        settings.method.name == "gan2g" and settings.teacher.source is not None
    ),
    "`method` gan2g and `teacher`",
)
no_pool = Unused(
    lambda settings, options: (
        settings.method.name in ("agd", "gan-compression", "cat") and settings.teacher.freeze
    ),
    "this `method` and a frozen teacher",
)
no_discriminator_at_all = Unused(
    lambda settings, options: settings.method.name == "agd" and settings.teacher.freeze,
    "`method` agd and a frozen teacher",
)
