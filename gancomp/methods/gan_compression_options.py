"""GAN-Compression's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from gancomp.declare import setting
from gancomp.preset_parts import CODE_SCHEDULE, Json, Preset, paired, unpaired


@dataclass(frozen=True)
class GanCompressionOptions:
    """The defaults are those of the paper's unpaired tasks.

    Attributes:
        lambda_recon: weight of eq. 2: L1 to the real image (paired) or the teacher's (unpaired).
        lambda_distill: weight of eq. 3: the maps, through 1x1 convolutions.
        warm_discriminator: the student's discriminator starts with the teacher's weights.
    """

    lambda_recon: float = setting(
        10.0,
        "--lambda-recon",
        "Weight of the L1 distance to the real image (paired) or the teacher's (unpaired).",
        least=0.0,
        shown="10, paired 100; cat 5, paired 100",
        equation="2",
    )
    lambda_distill: float = setting(
        0.01,
        "--lambda-distill",
        "Weight of the distance of the maps.",
        least=0.0,
        shown="0.01, paired 1; cat 1, paired 0.5",
        equation="3",
    )
    warm_discriminator: bool = setting(
        True,
        "--warm-discriminator",
        "Start the student's discriminator with the teacher's weights.",
    )


PAPER = "GAN Compression (CVPR 2020)"
SHAPE = "; its student's shape is searched, here it is --ratio's"


def _schedule(epochs: int, decay_epochs: int) -> Json:
    return {"schedule": {"epochs": epochs, "decay_epochs": decay_epochs}}


def _options(lambda_recon: float, lambda_distill: float) -> Json:
    return {"method": {"options": {"lambda_recon": lambda_recon, "lambda_distill": lambda_distill}}}


def _cyclegan() -> Json:
    return unpaired() | _options(10.0, 0.01) | CODE_SCHEDULE


def _pix2pix(norm: str, *, epochs: int, decay_epochs: int, batch_size: int) -> Json:
    settings = paired(norm) | _options(100.0, 1.0) | _schedule(epochs, decay_epochs)
    return settings | {"data": {"batch_size": batch_size}}


def _row(
    task: str, arch: str, dataset: str | None, settings: Json, source: str, reported: str | None
) -> Preset:
    name = "gan-compression"
    return Preset(name, "distill", name, task, arch, dataset, settings, source + SHAPE, reported)


MOBILE, UNET = "mobile-resnet9", "unet256"
EDGES = _pix2pix("instance", epochs=5, decay_epochs=15, batch_size=4)
CITY = _pix2pix("instance", epochs=100, decay_epochs=150, batch_size=1)
PRESETS: tuple[Preset, ...] = (
    _row(
        "unpaired",
        MOBILE,
        "horse2zebra",
        _cyclegan(),
        f"{PAPER} and its released script",
        "FID 64.95 at 2.67G MACs, 0.342M parameters",
    ),
    _row(
        "unpaired",
        MOBILE,
        None,
        _cyclegan(),
        f"{PAPER}, weights and length as for horse2zebra",
        None,
    ),
    _row(
        "paired",
        MOBILE,
        "edges2shoes",
        EDGES,
        f"{PAPER} and its released script",
        "FID 26.60 at 4.81G MACs, 0.700M parameters",
    ),
    _row(
        "paired",
        MOBILE,
        "cityscapes",
        CITY,
        f"{PAPER} and its released script",
        "mIoU 40.77 at 5.66G MACs",
    ),
    _row(
        "paired",
        MOBILE,
        None,
        CITY,
        f"{PAPER}, weights and length as for cityscapes",
        None,
    ),
    _row(
        "paired",
        UNET,
        None,
        _pix2pix("batch", epochs=100, decay_epochs=150, batch_size=1),
        f"{PAPER}, weights and length as for cityscapes, on the U-Net",
        None,
    ),
)
