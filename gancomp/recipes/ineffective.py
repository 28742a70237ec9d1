"""Options that would change nothing in the run they were given for: errors, not silence."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from gancomp.config import Json, Settings
from gancomp.errors import ConfigError
from gancomp.options import OPTIONS

Idle = Callable[[Settings, Any], bool]


def _task_is(task: str) -> Idle:
    return lambda settings, options: settings.data.task == task


def _teacher_is_frozen(settings: Settings, options: Any) -> bool:
    return settings.teacher.freeze


def _cycle_has_no_weight(settings: Settings, options: Any) -> bool:
    return settings.adversarial.lambda_cycle == 0


def _selects_the_last(settings: Settings, options: Any) -> bool:
    return settings.selection.select == "last"


def _holds_nothing_out(settings: Settings, options: Any) -> bool:
    return settings.selection.select != "held-out"


def _has_no_perceptual_network(settings: Settings, options: Any) -> bool:
    return settings.perceptual.source == "none"


def _has_no_perceptual_weight(settings: Settings, options: Any) -> bool:
    weights = [getattr(options, name, None) for name in ("lambda_feature", "lambda_style")]
    return all(weight is not None and weight <= 0 for weight in weights)


def _has_no(name: str) -> Idle:
    """Whether the method's option `name` is 0 or off; False where the method has none."""
    return lambda settings, options: not getattr(options, name, True)


def _student_plays_no_game(settings: Settings, options: Any) -> bool:
    sides = ("student_fools_discriminator", "student_in_discriminator")
    return not any(getattr(options, name, True) for name in sides)


def _task_is_not(*tasks: str) -> Idle:
    return lambda settings, options: settings.data.task not in tasks


def _has_own_teacher(settings: Settings, options: Any) -> bool:
    return settings.teacher.source is not None


def _gives_its_teacher(settings: Settings, options: Any) -> bool:
    return settings.command == "distill" and settings.teacher.source is not None


def _has_own_student(settings: Settings, options: Any) -> bool:
    return settings.stages.student_source is not None


def _method_is_not(*names: str) -> Idle:
    return lambda settings, options: settings.method.name not in names


def _objective_is(*names: str) -> Idle:
    return lambda settings, options: getattr(options, "objective", "gan") in names


def _method_is_no_kd(settings: Settings, options: Any) -> bool:
    return settings.method.name == "no-kd"


def _no_discriminator_is_trained(settings: Settings, options: Any) -> bool:
    return settings.method.name == "gan2g" and settings.teacher.source is not None


def _has_beta(settings: Settings, options: Any) -> bool:
    return getattr(options, "ema_beta", None) is not None


def _trains_the_teacher_alone(settings: Settings, options: Any) -> bool:
    return settings.command == "pretrain"


SR, SYNTHESIS = "super-resolution", "synthesis"
GAN_TEACHERS = ("gan2g", "gan2g-al", "gan2gan")


# path of the setting, when it changes nothing, and what says so
RULES: tuple[tuple[str, Idle, str], ...] = (
    ("adversarial.lambda_l1", _task_is("unpaired"), "unpaired data"),
    ("adversarial.lambda_cycle", _task_is("paired"), "paired data"),
    ("adversarial.lambda_identity", _task_is("paired"), "paired data"),
    ("adversarial.lambda_l1", _teacher_is_frozen, "--freeze-teacher"),
    ("adversarial.lambda_cycle", _teacher_is_frozen, "--freeze-teacher"),
    ("adversarial.lambda_identity", _teacher_is_frozen, "--freeze-teacher"),
    ("adversarial.lambda_identity", _cycle_has_no_weight, "--lambda-cycle 0, which multiplies it"),
    ("selection.every", _selects_the_last, "--select last"),
    ("selection.held_out", _holds_nothing_out, "any --select but held-out"),
    ("perceptual.normalise", _has_no_perceptual_network, "--perceptual none"),
    ("method.options.lambda_feature", _has_no_perceptual_network, "--perceptual none"),
    ("method.options.lambda_style", _has_no_perceptual_network, "--perceptual none"),
    (
        "perceptual.file",
        _has_no_perceptual_weight,
        "--lambda-feature 0 --lambda-style 0",
    ),
    (
        "method.options.lambda_student",
        _student_plays_no_game,
        "--no-student-gan",
    ),
    ("method.options.connector", _has_no("lambda_dcd"), "--lambda-dcd 0"),
    ("method.options.train_connectors", _has_no("lambda_dcd"), "--lambda-dcd 0"),
    *(
        (path, _task_is(task), f"--task {task}")
        for task in (SR, SYNTHESIS)
        for path in (
            "data.direction",
            "data.load_size",
            "data.source.channels",
            "data.source.range",
            "data.target.channels",
            "data.target.range",
            "adversarial.lambda_l1",
            "adversarial.lambda_cycle",
            "adversarial.lambda_identity",
            "adversarial.pool_size",
        )
    ),
    *(
        (f"stages.{name}", _task_is_not(SR), f"other data than --task {SR}")
        for name in (
            "teacher_srresnet_steps",
            "student_srresnet_steps",
            "teacher_content_steps",
            "srresnet_lr",
        )
    ),
    (
        "stages.teacher_gan_steps",
        _task_is(SYNTHESIS),
        f"--task {SYNTHESIS}, whose lengths are in images (--teacher-kimg)",
    ),
    ("stages.teacher_gan_steps", _task_is_not(SR), f"other data than --task {SR}"),
    (
        "stages.student_source",
        _task_is_not(SR, SYNTHESIS),
        f"other data than --task {SR} or {SYNTHESIS}",
    ),
    *(
        (f"stages.{name}", _task_is_not(SYNTHESIS), f"other data than --task {SYNTHESIS}")
        for name in ("teacher_kimg", "stage1_kimg", "stage2_kimg")
    ),
    ("stages.stage1_kimg", _has_own_student, "--student"),
    ("stages.stage1_kimg", _trains_the_teacher_alone, "gancomp pretrain"),
    ("stages.teacher_kimg", _has_no("lambda_dgl"), "--lambda-dgl 0"),
    ("stages.teacher_kimg", _gives_its_teacher, "--teacher"),
    ("method.options.teacher_discriminator", _has_no("lambda_dgl"), "--lambda-dgl 0"),
    ("method.options.r1_every", _has_no("r1_gamma"), "--r1-gamma 0"),
    ("method.options.path_every", _has_no("path_weight"), "--path-weight 0"),
    ("method.options.ema_kimg", _has_beta, "--ema-beta"),
    ("stages.teacher_srresnet_steps", _has_own_teacher, "--teacher"),
    ("stages.teacher_gan_steps", _has_own_teacher, "--teacher"),
    ("stages.teacher_content_steps", _has_own_teacher, "--teacher"),
    ("stages.student_srresnet_steps", _has_own_student, "--student"),
    ("stages.teacher_gan_steps", _method_is_not(*GAN_TEACHERS), "a method without SRGAN teacher"),
    ("stages.teacher_content_steps", _method_is_not("g2g-al"), "any --method but g2g-al"),
    ("stages.teacher_srresnet_steps", _method_is_no_kd, "--method no-kd"),
    ("stages.teacher_srresnet_steps", _objective_is("pixel"), "--objective pixel"),
    ("stages.student_srresnet_steps", _objective_is("pixel"), "--objective pixel"),
    ("stages.srresnet_lr", _objective_is("pixel"), "--objective pixel; use --lr"),
    ("teacher.source", _method_is_no_kd, "--method no-kd"),
    ("method.options.kd_loss", _has_no("kd_weight"), "--kd-weight 0"),
    ("method.options.adv_weight", _objective_is("content", "pixel"), "this --objective"),
    ("method.options.content_tap", _objective_is("pixel"), "--objective pixel"),
    ("method.options.content_scale", _objective_is("pixel"), "--objective pixel"),
    ("perceptual.source", _objective_is("pixel"), "--objective pixel"),
    ("perceptual.file", _objective_is("pixel"), "--objective pixel"),
    ("discriminator.width", _objective_is("content", "pixel"), "this --objective"),
    ("discriminator.width", _no_discriminator_is_trained, "--method gan2g and --teacher"),
)


def refuse_ineffective(typed: Json, settings: Settings, options: Any) -> None:
    """Refuses what was typed, on the command line or in a `--config` file, but has no effect.

    A weight of 0, or a switch that is off, is no contradiction and may always be typed.

    Args:
        typed: nested settings, only those that were given.
        settings: all of them, resolved.
        options: the method's own, resolved.

    Raises:
        ConfigError: naming all such options at once.
    """
    found: dict[str, str] = {}
    for path, idle, reason in RULES:
        if _at(typed, path) and path not in found and idle(settings, options):
            found[path] = f"{flag_of(path)}: has no effect with {reason}; leave it away"
    if found:
        raise ConfigError("; ".join(found.values()))


def refuse_foreign_options(settings: Settings, method: Any) -> None:
    """Refuses options of other methods than the chosen one.

    Raises:
        ConfigError: naming the option, the method and what the method has instead.
    """
    known = {item.name: flag_of(f"method.options.{item.name}") for item in fields_of(method)}
    for name in settings.method.options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {known[close[0]]}? " if close else ""
            raise ConfigError(
                f"{flag_of(f'method.options.{name}')}: --method {settings.method.name} has no "
                f"such option; {hint}It has: {', '.join(known.values()) or 'none'}"
            )


def fields_of(method: Any) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of the method's own options."""
    return dataclasses.fields(method.Options)


def flag_of(path: str) -> str:
    """The option that sets the setting at `path`, or the path where there is none."""
    for option in OPTIONS:
        if option.setting == path:
            return option.flag.split("/")[0]
    return path


def _at(typed: Json, path: str) -> Any:
    value: Any = typed
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
