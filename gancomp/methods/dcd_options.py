"""DCD's knobs, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gancomp.declare import setting, zero
from gancomp.methods.shared_options import (
    BlockOptions,
    ConnectorKind,
    PerceptualOptions,
    StudentGanOptions,
)
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


@dataclass(frozen=True)
class CooperationOptions:
    """How much eq. 6 weighs.

    Attributes:
        lambda_dcd: its weight.
    """

    lambda_dcd: float = setting(
        1.0, "--lambda-dcd", "Weight of the maps under the discriminator.", least=0.0, equation="6"
    )


@dataclass(frozen=True)
class ConnectorOptions:
    """How maps reach the discriminator in eq. 6.

    Attributes:
        connector: form of `f`.
        train_connectors: which side's `f` is trained (the paper's ablation; `student` is DCD).
        discriminator_taps: I_D; empty means the last hidden activation.
    """

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
    discriminator_taps: tuple[str, ...] = setting(())


@dataclass(frozen=True)
class DcdOptions(
    BlockOptions, ConnectorOptions, StudentGanOptions, PerceptualOptions, CooperationOptions
):
    """DCD's knobs, the last base's first; the defaults are the paper's settings (section 4.1)."""


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
