"""DCD's knobs, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from gancomp.declare import Switch, Unused, setting, zero
from gancomp.settings.rules import no_features

ConnectorKind = Literal["conv-bn-relu", "conv"]
STYLE_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
GAME = ("student_fools_discriminator", "student_in_discriminator")

_no_game = Unused(
    lambda settings, options: not any(getattr(options, name, True) for name in GAME),
    "--no-student-gan",
)


@dataclass(frozen=True)
class DcdOptions:
    """DCD's knobs; the defaults are the paper's settings (section 4.1).

    Attributes:
        lambda_dcd: weight of eq. 6.
        lambda_feature: weight of eq. 4.
        lambda_style: weight of eq. 5.
        lambda_student: weight of the student in eq. 7, on both sides: its own GAN term and its
            fakes in the discriminator's loss. 0 is OMGD's setting.
        student_fools_discriminator: the student's own GAN term.
        student_in_discriminator: the discriminator is trained on the student's fakes.
        connector: form of `f` in eq. 6.
        train_connectors: which side's `f` is trained (the paper's ablation; `student` is DCD).
        feature_taps: VGG16 taps of eq. 4; the released code has one, the equation sums over all.
        style_taps: VGG16 taps of eq. 5.
        style_reduction: `mean` over the Gram matrix as released, `sum` as eq. 5 is printed.
        discriminator_taps: I_D in eq. 6; empty means the last hidden activation.
        teacher_block_epochs: with `student_block_epochs`, train in turns instead of jointly.
        student_block_epochs: epochs of the student after each block of teacher epochs.
    """

    lambda_dcd: float = setting(
        1.0, "--lambda-dcd", "Weight of the maps under the discriminator.", least=0.0, equation="6"
    )
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
    connector: ConnectorKind = setting(
        "conv-bn-relu",
        "--connector",
        "Form of f: conv-bn-relu or conv.",
        equation="6",
        unused=(zero("lambda_dcd"),),
    )
    train_connectors: Literal["student", "teacher", "both"] = setting(
        "student",
        "--train-connectors",
        "Whose f is trained: student, teacher or both.",
        unused=(zero("lambda_dcd"),),
    )
    feature_taps: tuple[str, ...] = setting(("relu2_2",))
    style_taps: tuple[str, ...] = setting(STYLE_TAPS)
    style_reduction: Literal["mean", "sum"] = setting("mean")
    discriminator_taps: tuple[str, ...] = setting(())
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

    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            "--student-gan",
            "Whether student and discriminator compete at all (L_gan of table 3).",
            GAME,
        ),
    )
