"""Every setting that a run has, declared once: one frozen object per concern; no torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from gancomp.declare import setting, task_is, weights
from gancomp.settings.networks import (
    DISCRIMINATOR_OPTIONS,
    OWN,
    TEACHER_OPTIONS,
    NetworkSettings,
    network_field,
)
from gancomp.settings.overrides import Overrides
from gancomp.settings.rules import SR, TRANSLATION, no_kd, not_quantized
from gancomp.settings.stages import StageSettings
from gancomp.settings.training import (
    PIXEL_FIELDS,
    AdversarialSettings,
    DataSettings,
    OptimizerSettings,
    PerceptualSettings,
    PixelSettings,
    RunSettings,
    ScheduleSettings,
    SelectionSettings,
)

__all__ = [
    "FREE_ON_RESUME",
    "PIXEL_FIELDS",
    "AdversarialSettings",
    "DataSettings",
    "Json",
    "MethodSettings",
    "NetworkSettings",
    "OptimizerSettings",
    "Overrides",
    "PerceptualSettings",
    "PixelSettings",
    "RunSettings",
    "ScheduleSettings",
    "SelectionSettings",
    "Settings",
    "StageSettings",
    "TeacherSettings",
    "network_field",
]

Json = dict[str, Any]


@dataclass(frozen=True)
class MethodSettings:
    """The method's registry name and its own options, which the method itself validates."""

    name: str = setting(
        "dcd",
        "--method",
        "What is distilled (gancomp methods).",
        shown="dcd; super-resolution g2g-al, synthesis dgl",
        distil_only=True,
    )
    preset: str = setting(
        "dcd",
        "--preset",
        "A row of gancomp methods.",
        shown="dcd",
        pretrain={"shown": "standard"},
    )
    options: Json = field(default_factory=dict)
    also: Json = setting(
        dict,
        "--also",
        "NAME:WEIGHT,…: further methods whose own terms the student learns by.",
        shown="none",
        kind=str,
        reads=partial(weights, "also"),
        owners=TRANSLATION,
        distil_only=True,
    )
    quantization_aware: bool = setting(
        False,
        "--quantization-aware",
        "Take the last steps with the student's convolutions rounded as in 8 bits.",
        also="--quantisation-aware",
        owners=(*TRANSLATION, SR),
        distil_only=True,
        unused=(task_is("synthesis"),),
    )
    quantized_steps: int | None = setting(
        None,
        "--quantized-steps",
        "How many.",
        shown="a tenth of all",
        least=1,
        owners=(*TRANSLATION, SR),
        distil_only=True,
        unused=(task_is("synthesis"), not_quantized),
    )


@dataclass(frozen=True)
class TeacherSettings:
    """Where the teacher comes from: from scratch, or from a file or run, frozen or not."""

    network: NetworkSettings = field(metadata={"inner": TEACHER_OPTIONS})
    source: str | None = setting(
        None,
        "--teacher",
        "Start the teacher from this model file or run.",
        shown="none",
        pretrain={"shown": "none: from scratch"},
        panel="Method",
        unused=(no_kd,),
    )
    freeze: bool = setting(
        False,
        "--freeze-teacher",
        "Keep the given teacher as it is.",
        off="--train-teacher",
        distil_only=True,
        panel="Method",
    )


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run; written to `config.json` as it was resolved."""

    command: Literal["pretrain", "distill"]
    data: DataSettings
    teacher: TeacherSettings
    student: NetworkSettings | None
    discriminator: NetworkSettings = field(metadata={"inner": DISCRIMINATOR_OPTIONS})
    adversarial: AdversarialSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    perceptual: PerceptualSettings
    method: MethodSettings
    run: RunSettings
    selection: SelectionSettings = SelectionSettings()
    stages: StageSettings = StageSettings()

    def to_json(self) -> Json:
        """A JSON-able copy that `read(Settings, …)` turns back into an equal object."""
        plain: Json = json.loads(json.dumps(dataclasses.asdict(self)))
        for network in (plain["teacher"]["network"], plain["student"], plain["discriminator"]):
            if network is not None:
                network.update(network.pop(OWN))
        return plain


# What a continued run may change: its length, its conduct, never what a step computes.
FREE_ON_RESUME = {
    "run": {
        "workers",
        "checkpoint_every",
        "keep_checkpoints",
        "sample_every",
        "log_every",
        "tensorboard",
        "device",
        "compile",
        "rank_timeout",
    },
    "schedule": {"max_steps", "max_seconds"},
    "method": {"quantization_aware", "quantized_steps"},  # which may finish an older run, too
    "data": {"strict", "cache"},
    "perceptual": {"file"},  # it may have moved: its checksum must be the same
}
