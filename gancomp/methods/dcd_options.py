"""DCD's knobs, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from gancomp.declare import Switch, Unused, setting, zero
from gancomp.preset_parts import (
    CODE_SCHEDULE,
    DCD,
    DEMO,
    PAPER_SCHEDULE,
    Json,
    Preset,
    paired,
    unpaired,
)
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


NO_STUDENT_GAN: Json = {"student_fools_discriminator": False, "student_in_discriminator": False}


def _blocks(teacher: int, student: int) -> Json:
    blocks = {"teacher_block_epochs": teacher, "student_block_epochs": student}
    return {"method": {"options": NO_STUDENT_GAN | blocks}}


PRESETS: tuple[Preset, ...] = (
    # DCD as the paper has it
    Preset(
        "dcd",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        "horse2zebra",
        unpaired() | PAPER_SCHEDULE,
        f"{DCD}, section 4.1 and table 1",
        "FID 48.24 at 1.408G MACs (torchprofile's rule), 0.137M parameters",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        "summer2winter",
        unpaired() | PAPER_SCHEDULE,
        f"{DCD}, section 4.1 and table 1",
        "FID 73.63 at 1.408G MACs (torchprofile's rule), 0.137M parameters",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "paired",
        "unet256",
        "edges2shoes",
        paired("batch") | PAPER_SCHEDULE,
        f"{DCD}, section 4.1 and table 1",
        "FID 23.43 at 1.219G MACs (torchprofile's rule), 3.404M parameters",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        None,
        unpaired() | PAPER_SCHEDULE,
        f"{DCD}, section 4.1, on your own data",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "paired",
        "unet256",
        None,
        paired("batch") | PAPER_SCHEDULE,
        f"{DCD}, section 4.1, on your own data",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "paired",
        "mobile-resnet9",
        None,
        paired("instance") | PAPER_SCHEDULE,
        f"{DCD}, section 4.1 with the networks of its released script",
    ),
    Preset(
        "demo",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet6",
        None,
        DEMO
        | {
            "optimizer": {"lr": 1.5e-3},  # at 2e-3 the teacher's stripes fade
            "schedule": {"epochs": 2, "decay_epochs": 3},
            "perceptual": {"source": "random"},
            "method": {
                "options": {
                    "lambda_feature": 20.0,
                    "lambda_style": 1e3,
                    "style_taps": ["relu1_2", "relu2_2"],
                }
            },
        },
        "chosen by trial on the demo set; perceptual features of random weights, no download",
    ),
    # DCD as released, its crashes fixed
    Preset(
        "dcd-released",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        "summer2winter",
        unpaired() | CODE_SCHEDULE | _blocks(6, 24),
        "DCD's released code and script: blocks of 6 teacher and 24 student epochs",
    ),
    Preset(
        "dcd-released",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        None,
        unpaired() | CODE_SCHEDULE | _blocks(10, 40),
        "DCD's released code and script: blocks of 10 teacher and 40 student epochs",
    ),
    Preset(
        "dcd-released",
        "distill",
        "dcd",
        "paired",
        "mobile-resnet9",
        None,
        paired("instance") | CODE_SCHEDULE | {"method": {"options": NO_STUDENT_GAN}},
        "DCD's released code and script: joint, the student without a GAN term",
    ),
    Preset(
        "dcd-released",
        "distill",
        "dcd",
        "paired",
        "unet256",
        None,
        paired("batch") | CODE_SCHEDULE | {"method": {"options": NO_STUDENT_GAN}},
        "DCD's released code, completed by the connectors that it lacks for the U-Net",
    ),
)
