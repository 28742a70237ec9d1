"""AGD's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from gancomp.declare import setting
from gancomp.preset_parts import DCD, Json, Preset, paired, unpaired
from gancomp.settings.rules import no_features


@dataclass(frozen=True)
class AgdOptions:
    """The defaults are those of the released code's last training, of the net it has found.

    Attributes:
        lambda_base: weight of the images' L1 distance; 0 while it searches.
        lambda_gram: weight of the Gram matrices' squared distance, over four VGG16 taps.
        lambda_content: weight of the L1 distance at relu2_2.
        lambda_tv: weight of the total variation of the student's image.
        student_lr: rate of the student's SGD.
        momentum: of it.
        weight_decay: of it.
        clip_norm: longest gradient, over all of the student; 0 does not clip.
    """

    lambda_base: float = setting(
        0.01, "--lambda-base", "Weight of the L1 distance of the images.", least=0.0
    )
    lambda_gram: float = setting(
        1e5,
        "--lambda-gram",
        "Weight of the distance of the Gram matrices.",
        least=0.0,
        shown="agd 1e5, gcc 10; paired 1e4",
        unused=(no_features,),
    )
    lambda_content: float = setting(
        1.0,
        "--lambda-content",
        "Weight of the distance of the maps themselves.",
        least=0.0,
        shown="agd 1, gcc 0.01; paired 50",
        unused=(no_features,),
    )
    lambda_tv: float = setting(
        0.0, "--lambda-tv", "Weight of the total variation of the student's image.", least=0.0
    )
    student_lr: float = setting(
        0.1, "--student-lr", "Learning rate of the student's SGD.", above=0.0, most=10.0
    )
    momentum: float = setting(
        0.5, "--momentum", "Momentum of the student's SGD.", least=0.0, most=0.9999
    )
    weight_decay: float = setting(
        5e-4, "--weight-decay", "Weight decay of the student's SGD.", least=0.0, most=1.0
    )
    clip_norm: float = setting(
        5.0, "--clip-norm", "Longest gradient of the student; 0 does not clip.", least=0.0
    )


PAPER = "AutoGAN-Distiller (ICML 2020) and its released code"
CELLS = (
    "; cells and widths are searched there (`shrink` agd), here nine residual cells of `ratio`'s "
    "width"
)
# 400 epochs of batches of 16, the rate falling from epoch 100 on; no resize, crop or flip
SCHEDULE: Json = {"schedule": {"epochs": 100, "decay_epochs": 300}}
DATA: Json = {"data": {"batch_size": 16, "load_size": 256, "flip": False}}


def _row(
    task: str,
    arch: str,
    settings: Json,
    dataset: str | None = None,
    reported: str | None = None,
    more: str = "",
) -> Preset:
    student: Json = {"arch": "agd"} if arch != "agd" else {}
    return Preset(
        "agd",
        "distill",
        "agd",
        task,
        arch,
        dataset,
        settings | SCHEDULE | DATA,
        f"{PAPER}{more}{CELLS}",
        reported,
        student=student,
    )


PRESETS: tuple[Preset, ...] = (
    _row("unpaired", "resnet9", unpaired(), "horse2zebra", "FID about 83.5 (a plot) at 6.4G MACs"),
    _row(
        "unpaired",
        "resnet9",
        unpaired(),
        "summer2winter",
        "FID 78.33 at 4.34G MACs",
        f"; figure: {DCD}, table 1",
    ),
    _row("unpaired", "resnet9", unpaired(), more=", on your own data"),
    _row("paired", "resnet9", paired("instance"), more=", which has no paired task"),
)
