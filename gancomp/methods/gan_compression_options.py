"""GAN-Compression's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from gancomp.declare import setting
from gancomp.preset_parts import (
    CODE_SCHEDULE,
    Json,
    Preset,
    direction_of,
    paired,
    teacher_network,
    unpaired,
)


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
RATIO = "; its student's shape is searched, here it is `ratio`'s"


def _searched(
    stem: int,
    down: tuple[int, int],
    inner: tuple[int, int, int],
    up: tuple[int, int],
) -> Json:
    """A shape as the released scripts name it: widths at the image's size.

    Source: `config_str` of the scripts; a third of the blocks has one inner width.
    """
    blocks = [4 * width for width in inner for _ in range(3)]
    channels = [stem, 2 * down[0], 4 * down[1], *blocks, 2 * up[0], up[1]]
    return {"width": stem, "channels": channels}


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
    task: str,
    arch: str,
    settings: Json,
    source: str,
    *,
    dataset: str | None = None,
    reported: str | None = None,
    student: Json | None = None,
) -> Preset:
    name, text = "gan-compression", f"{PAPER}{source}{'' if student else RATIO}"
    return Preset(
        name,
        "distill",
        name,
        task,
        arch,
        dataset,
        settings,
        text,
        reported,
        student=student or {},
        direction=direction_of(dataset),
    )


MOBILE, UNET = "mobile-resnet9", "unet256"
SCRIPT = " and its released script, whose searched shape the student has"
EDGES = _pix2pix("instance", epochs=5, decay_epochs=15, batch_size=4)
CITY = _pix2pix("instance", epochs=100, decay_epochs=150, batch_size=1)
PRESETS: tuple[Preset, ...] = (
    _row(
        "unpaired",
        MOBILE,
        _cyclegan(),
        SCRIPT,
        dataset="horse2zebra",
        reported="FID 64.95 at 2.67G MACs, 0.34M parameters; this shape's 65.12 at 2.55G",
        student=_searched(16, (16, 32), (16, 32, 32), (16, 16)),
    ),
    _row("unpaired", MOBILE, _cyclegan(), ", weights and length as for horse2zebra"),
    _row(
        "paired",
        MOBILE,
        EDGES,
        SCRIPT,
        dataset="edges2shoes",
        reported="FID 26.60 at 4.81G MACs, 0.700M parameters (the paper's shape)",
        student=_searched(32, (32, 48), (32, 48, 48), (16, 16)),
    ),
    _row(
        "paired",
        MOBILE,
        CITY | teacher_network(96, "instance"),  # there alone, the script's is wider
        SCRIPT,
        dataset="cityscapes",
        reported="mIoU 40.77 at 5.66G MACs (the paper's shape), with `direction` BtoA",
        student=_searched(32, (32, 48), (32, 32, 48), (24, 24)),
    ),
    _row("paired", MOBILE, CITY, ", weights and length as for cityscapes"),
    _row(
        "paired",
        UNET,
        _pix2pix("batch", epochs=100, decay_epochs=150, batch_size=1),
        ", weights and length as for cityscapes, on the U-Net",
    ),
)
