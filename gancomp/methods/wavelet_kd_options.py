"""Wavelet KD's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from gancomp.declare import setting, zero
from gancomp.methods.shared_options import student_d_width_setting
from gancomp.preset_parts import CODE_SCHEDULE, DCD, DROPOUT, Json, Preset, pix2pix, unpaired


@dataclass(frozen=True)
class WaveletKdOptions:
    """The defaults are the paper's.

    Attributes:
        lambda_wavelet: weight of the high bands' distance.
        wavelet_levels: how often the low band is transformed again.
        wavelet_distance: `l1` as in the paper, `mse` as in the released training code.
        wavelet: `haar` as in the paper, `db3` as the released code has it where none is named.
        student_d_width: of the student's discriminator.
    """

    lambda_wavelet: float = setting(
        0.4,
        "--lambda-wavelet",
        "Weight of the distance of the high bands.",
        least=0.0,
        equation="4",
    )
    wavelet_levels: int = setting(
        4,
        "--wavelet-levels",
        "Levels of the wavelet transform.",
        least=1,
        most=16,
        unused=(zero("lambda_wavelet"),),
    )
    wavelet_distance: Literal["l1", "mse"] = setting(
        "l1",
        "--wavelet-distance",
        "Distance of the bands: l1, or mse as released.",
        unused=(zero("lambda_wavelet"),),
    )
    wavelet: Literal["haar", "db3"] = setting(
        "haar",
        "--wavelet",
        "Wavelet of the transform: haar, or db3.",
        unused=(zero("lambda_wavelet"),),
    )
    student_d_width: int | None = student_d_width_setting()

    has_own_task: ClassVar[bool] = True


PAPER = "Wavelet KD (CVPR 2022)"
OF_PIX2PIX = "; GAN of pix2pix's code"
# an IN discriminator of width 32 has 0.69M parameters, a fourth of the teacher's
SMALL_JUDGE: Json = {"method": {"options": {"student_d_width": 32}}}
AS_RELEASED: Json = {"method": {"options": {"wavelet_distance": "mse"}}}
CYCLEGAN = unpaired() | CODE_SCHEDULE
PIX2PIX = pix2pix() | CODE_SCHEDULE


def _row(
    name: str,
    task: str,
    arch: str,
    settings: Json,
    source: str,
    *,
    dataset: str | None = None,
    reported: str | None = None,
    ratio: float = 0.25,
) -> Preset:
    return Preset(
        name,
        "distill",
        "wavelet-kd",
        task,
        arch,
        dataset,
        settings,
        source,
        reported,
        ratio,
        student={"dropout": DROPOUT} if task == "paired" else {},
    )


PRESETS: tuple[Preset, ...] = (
    _row(
        "wavelet-kd",
        "unpaired",
        "resnet9",
        CYCLEGAN | SMALL_JUDGE,
        f"{PAPER}; the figure also in {DCD}, table 1, which prints half of the MACs",
        dataset="horse2zebra",
        reported="FID 77.04 at 3.36G MACs, 0.72M parameters",
    ),
    _row("wavelet-kd", "unpaired", "resnet9", CYCLEGAN | SMALL_JUDGE, f"{PAPER}, on your own data"),
    _row(
        "wavelet-kd",
        "paired",
        "unet256",
        PIX2PIX,
        f"{PAPER}; the figure also in {DCD}, table 1; original split of 200 images{OF_PIX2PIX}",
        dataset="edges2shoes",
        reported="FID 80.13 at 1.56G MACs, 13.61M parameters",
        ratio=0.5,
    ),
    _row(
        "wavelet-kd",
        "paired",
        "unet256",
        PIX2PIX,
        f"{PAPER}, on your own data{OF_PIX2PIX}",
        ratio=0.5,
    ),
    _row(
        "wavelet-kd-released",
        "unpaired",
        "resnet9",
        CYCLEGAN | AS_RELEASED,
        "Wavelet KD's released script: squared distance, discriminators of width 64",
    ),
    _row(
        "wavelet-kd-released",
        "paired",
        "unet256",
        PIX2PIX | AS_RELEASED,
        "Wavelet KD's released loss; its paired code is bytecode only",
        ratio=0.5,
    ),
)
