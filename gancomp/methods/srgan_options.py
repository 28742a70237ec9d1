"""The knobs of SRGAN and of its distillation, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gancomp.declare import setting, zero
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
    rate_drop_step: int = setting(
        100_000, "--rate-drop-step", "A tenth of the rate from this step on.", least=1
    )


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
        unused=(objective_is("content", "pixel", reason="this --objective"),),
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
        unused=(objective_is("content", "pixel", reason="this --objective"),),
    )
