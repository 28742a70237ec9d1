"""Knobs that several methods share, declared once; importable without torch.

A method's options inherit what its losses have: `PerceptualOptions`, `StudentGanOptions`,
`BlockOptions`. The parts that read them stand in `distillation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from gancomp.declare import Switch, Unused, setting
from gancomp.settings.rules import no_features

ConnectorKind = Literal["conv-bn-relu", "conv"]
STYLE_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
# for papers whose own numbers of these equations are others
NOT_DCDS: dict[str, str | None] = {"lambda_feature": None, "lambda_style": None}
GAME = ("student_fools_discriminator", "student_in_discriminator")

_no_game = Unused(
    lambda settings, options: not any(getattr(options, name, True) for name in GAME),
    "`student_gan=False`",
)


def student_d_width_setting() -> Any:
    """The width of a student's own discriminator, None for the teacher's."""
    return setting(
        None,
        "--student-d-width",
        "Width of the student's own discriminator.",
        least=1,
        most=4096,
        shown="the teacher's",
    )


@dataclass(frozen=True)
class PerceptualOptions:
    """VGG's maps of the teacher's and of the student's image, compared.

    Attributes:
        lambda_feature: weight of DCD's eq. 4.
        lambda_style: weight of DCD's eq. 5.
        feature_taps: VGG16 taps of the feature term; OMGD's and DCD's code have one, DCD's equation
            sums over all.
        style_taps: VGG16 taps of the style term.
        style_reduction: `mean` over the Gram matrix as released, `sum` as eq. 5 is printed.
    """

    lambda_feature: float = setting(
        10.0,
        "--lambda-feature",
        "Weight of the VGG feature term.",
        least=0.0,
        equation="4",
        unused=(no_features,),
    )
    lambda_style: float = setting(
        1e4,
        "--lambda-style",
        "Weight of the VGG style term.",
        least=0.0,
        shown="1e4",
        equation="5",
        unused=(no_features,),
    )
    feature_taps: tuple[str, ...] = setting(("relu2_2",))
    style_taps: tuple[str, ...] = setting(STYLE_TAPS)
    style_reduction: Literal["mean", "sum"] = setting("mean")


@dataclass(frozen=True)
class StudentGanOptions:
    """The student and the teacher's discriminator compete (DCD's eq. 7).

    Attributes:
        lambda_student: weight of the student on both sides: its own GAN term and its fakes in the
            discriminator's loss. 0 is OMGD's setting.
        student_fools_discriminator: the student's own GAN term.
        student_in_discriminator: the discriminator is trained on the student's fakes.
    """

    lambda_student: float = setting(
        1.0,
        "--lambda-student",
        "Weight of the student in its own and in the discriminator's GAN loss.",
        least=0.0,
        equation="7",
        unused=(_no_game,),
    )
    student_fools_discriminator: bool = setting(
        True,
        "--student-fools-discriminator",
        "The student's own GAN term.",
        shown="on",
    )
    student_in_discriminator: bool = setting(
        True,
        "--student-in-discriminator",
        "Student fakes in the discriminator's loss.",
        shown="on",
    )

    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            "--student-gan",
            "Whether student and discriminator compete at all (L_gan of table 3).",
            GAME,
        ),
    )

    @property
    def lambda_fools(self) -> float:
        """Weight of the student's own GAN term; 0 if it has none."""
        return self.lambda_student if self.student_fools_discriminator else 0.0

    @property
    def lambda_judged(self) -> float:
        """Weight of the student's fakes in the discriminator's loss; 0 if it sees none."""
        return self.lambda_student if self.student_in_discriminator else 0.0


@dataclass(frozen=True)
class BlockOptions:
    """Whether teacher and student learn jointly or in turns.

    Attributes:
        teacher_block_epochs: with `student_block_epochs`, train in turns instead of jointly.
        student_block_epochs: epochs of the student after each block of teacher epochs.
    """

    teacher_block_epochs: int = setting(
        0,
        "--teacher-block-epochs",
        "Train in turns: teacher epochs per block.",
        least=0,
        shown="0 (joint)",
    )
    student_block_epochs: int = setting(
        0,
        "--student-block-epochs",
        "Train in turns: student epochs per block.",
        least=0,
        shown="0 (joint)",
    )
