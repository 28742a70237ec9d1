"""The knobs of SRGAN and of its distillation, importable without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

from gancomp.declare import setting, zero
from gancomp.preset_parts import Json, Preset
from gancomp.settings.rules import objective_is


@dataclass(frozen=True)
class ContentOptions:
    """What every SRGAN training shares.

    Attributes:
        content_tap: VGG map that the content loss compares, after its ReLU; `relu5_4` is SRGAN's
            VGG54, `relu2_2` its VGG22.
        content_scale: the maps are divided by it. 12.75 was chosen for weights that take pixels in
            0..255; torchvision's give maps of another scale.
        rate_drop_step: from this step of its own on, each optimizer works at a tenth of its rate.
            None is 100,000, but never for an SRResNet, as in the code that Lee and Park build on.
    """

    content_tap: str = setting(
        "relu5_4",
        "--content-tap",
        "VGG map of the content loss.",
        unused=(objective_is("pixel"),),
    )
    content_scale: float = setting(
        12.75,
        "--content-scale",
        "What the values of that map are divided by.",
        above=0.0,
        unused=(objective_is("pixel"),),
    )
    rate_drop_step: int | None = setting(
        None,
        "--rate-drop-step",
        "A tenth of the rate from this step on.",
        least=1,
        shown="100,000; of SRResNets never",
    )

    @property
    def drop_step(self) -> float:
        """That step; infinite if the rate never falls."""
        if self.rate_drop_step is not None:
            return self.rate_drop_step
        return math.inf if getattr(self, "objective", None) == "pixel" else 100_000


@dataclass(frozen=True)
class KdOptions(ContentOptions):
    """What the student takes over from the teacher.

    Attributes:
        kd_weight: of K, for images of 256 gray levels as released (see `pixel_loss`).
        kd_loss: K compares `pixel`s, or `vgg` maps as the content loss does.
    """

    kd_weight: float = setting(
        1e-3, "--kd-weight", "Weight of the distance to the teacher.", least=0.0, unit="gray levels"
    )
    kd_loss: Literal["pixel", "vgg"] = setting(
        "pixel", "--kd-loss", "That distance: pixel or vgg.", unused=(zero("kd_weight"),)
    )


@dataclass(frozen=True)
class AdversarialOptions(KdOptions):
    """Adversarial learning of the student.

    Attributes:
        adv_weight: of A.
        al_start_step: transfer alone up to this step, adversarial learning from it on; 0 is both
            jointly, as released. The paper's abstract has the adversary come after the transfer.
    """

    adv_weight: float = setting(
        1e-3,
        "--adv-weight",
        "Weight of the adversarial term.",
        least=0.0,
        unused=(objective_is("content", "pixel", reason="this `objective`"),),
    )
    al_start_step: int = setting(
        0,
        "--al-start-step",
        "Transfer alone before this step, the adversary after it.",
        least=0,
        shown="0 (jointly)",
    )


@dataclass(frozen=True)
class GanTeacherOptions(AdversarialOptions):
    """Adversarial learning under a teacher that has a discriminator itself.

    Attributes:
        discriminator_from_teacher: all discriminators begin as the teacher's; as released, anew.
    """

    discriminator_from_teacher: bool = setting(
        False,
        "--discriminator-from-teacher",
        "Begin with the teacher's discriminator.",
        off="--fresh-discriminator",
    )


@dataclass(frozen=True)
class Gan2GanOptions(GanTeacherOptions):
    """Two discriminators.

    Attributes:
        kd_adv_weight: of A2, the student's distance from passing for the teacher.
    """

    kd_adv_weight: float = setting(
        1e-3,
        "--kd-adv-weight",
        "Weight of passing for the teacher; 0 as released.",
        least=0.0,
    )


@dataclass(frozen=True)
class AloneOptions(ContentOptions):
    """Which objective.

    Attributes:
        objective: `pixel` trains an SRResNet, `content` compares VGG maps, `gan` is SRGAN:
            `content` and `adv_weight` times the adversarial term.
        adv_weight: of A.
    """

    objective: Literal["gan", "content", "pixel"] = setting(
        "gan", "--objective", "What a network alone learns by: gan, content or pixel."
    )
    adv_weight: float = setting(
        1e-3,
        "--adv-weight",
        "Weight of the adversarial term.",
        least=0.0,
        unused=(objective_is("content", "pixel", reason="this `objective`"),),
    )


def _super_resolution(width: int, blocks: int, command: str) -> Json:
    """SRGAN's networks and Adam as Keras has it; a student learns from a finished teacher."""
    network = {"width": width, "blocks": blocks, "scale": 4, "norm": "batch"}
    return {
        "teacher": {"network": network, "freeze": command == "distill"},
        "discriminator": {"arch": "srgan-discriminator", "width": width, "norm": "batch"},
        "adversarial": {"gan": "vanilla", "pool_size": 0},
        "optimizer": {"lr": 1e-4, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7},
        "data": {"size": 96, "batch_size": 16},
        "perceptual": {"source": "vgg19", "normalize": True},
        "schedule": _steps(200_000),
    }


def _steps(number: int) -> Json:
    # epochs without end: super-resolution counts steps
    return {"epochs": 1_000_000, "decay_epochs": 0, "max_steps": number}


def _sr_short(command: str) -> Json:
    """Two cores and a few minutes: most of it goes into the pixels, little into VGG."""
    return {
        **_super_resolution(16, 4, command),
        "discriminator": {"arch": "srgan-discriminator", "width": 8, "norm": "batch"},
        # VGG costs PSNR: the teacher 2 dB in 150 steps at 1e-4, 0.1 to 0.4 in 200 at 2e-6
        "optimizer": {"lr": 2e-6, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7},
        "data": {"size": 48, "batch_size": 8},
        "schedule": _steps(200),
        "stages": {
            "teacher_srresnet_steps": 6000,
            "student_srresnet_steps": 6000,
            "teacher_gan_steps": 200,
            "teacher_content_steps": 200,
            "srresnet_lr": 3e-3,
        },
        "method": {"options": {"content_tap": "relu2_2", "rate_drop_step": 5000}},
    }


SRGAN_KD = "Lee and Park 2021 (SRGAN distillation); lengths of the code they build on"
SR_SHORT = "chosen by trial on horse2zebra's photographs: small networks, a high rate, VGG22"


PRESETS: tuple[Preset, ...] = tuple(
    Preset(
        name,
        command,
        method,
        "super-resolution",
        "srresnet",
        None,
        settings(command),
        source,
        ratio=0.5,
    )
    for command, method in (("pretrain", "srgan"), ("distill", "g2g-al"))
    for name, settings, source in (
        ("div2k-x4", partial(_super_resolution, 64, 16), SRGAN_KD),
        ("sr-short", _sr_short, SR_SHORT),
    )
)
