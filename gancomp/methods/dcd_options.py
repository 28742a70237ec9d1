"""DCD's knobs, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
MOBILE, UNET = "mobile-resnet9", "unet256"
CYCLEGAN = unpaired() | PAPER_SCHEDULE
OF_UNET, OF_MOBILE = (paired(norm) | PAPER_SCHEDULE for norm in ("batch", "instance"))
TABLE, OWN_DATA = f"{DCD}, section 4.1 and table 1", f"{DCD}, section 4.1, on your own data"
AS_SCRIPT = f"{DCD}, section 4.1 with the networks of its released script"
SMALL = "1.408G MACs (torchprofile's rule), 0.137M parameters"
UNET_SIZE = "1.219G MACs (torchprofile's rule), 3.404M parameters"
RELEASED = "DCD's released code and script"
BLOCKS = f"{RELEASED}: blocks of %d teacher and %d student epochs"
JOINT = f"{RELEASED}: joint, the student without a GAN term"
COMPLETED = "DCD's released code, completed by the connectors that it lacks for the U-Net"


def _as_released(settings: Json, teacher: int = 0, student: int = 0) -> Json:
    blocks = {"teacher_block_epochs": teacher, "student_block_epochs": student} if teacher else {}
    return settings | CODE_SCHEDULE | {"method": {"options": NO_STUDENT_GAN | blocks}}


_paper = partial(Preset, "dcd", "distill", "dcd")
_released = partial(Preset, "dcd-released", "distill", "dcd")  # its crashes fixed
PRESETS: tuple[Preset, ...] = (
    _paper("unpaired", MOBILE, "horse2zebra", CYCLEGAN, TABLE, f"FID 48.24 at {SMALL}"),
    _paper("unpaired", MOBILE, "summer2winter", CYCLEGAN, TABLE, f"FID 73.63 at {SMALL}"),
    _paper("paired", UNET, "edges2shoes", OF_UNET, TABLE, f"FID 23.43 at {UNET_SIZE}"),
    _paper("unpaired", MOBILE, None, CYCLEGAN, OWN_DATA),
    _paper("paired", UNET, None, OF_UNET, OWN_DATA),
    _paper("paired", MOBILE, None, OF_MOBILE, AS_SCRIPT),
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
    _released(
        "unpaired", MOBILE, "summer2winter", _as_released(unpaired(), 6, 24), BLOCKS % (6, 24)
    ),
    _released("unpaired", MOBILE, None, _as_released(unpaired(), 10, 40), BLOCKS % (10, 40)),
    _released("paired", MOBILE, None, _as_released(paired("instance")), JOINT),
    _released("paired", UNET, None, _as_released(paired("batch")), COMPLETED),
)
