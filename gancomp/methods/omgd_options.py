"""OMGD's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from gancomp.declare import Unused, setting, task_is, zero
from gancomp.methods.shared_options import NOT_DCDS, BlockOptions, PerceptualOptions
from gancomp.preset_parts import CODE_SCHEDULE, Json, Preset, direction_of, paired, unpaired

_one_teacher = Unused(
    lambda settings, options: not getattr(options, "deep_teacher", True), "`deep_teacher=False`"
)


@dataclass(frozen=True)
class OmgdOptions(BlockOptions, PerceptualOptions):
    """What the student takes over from its teachers, who train beside it.

    Attributes:
        lambda_ssim: weight of eq. 6's distance, 1 minus the structural similarity.
        lambda_tv: weight of eq. 9, which sums over the image; it counts once per teacher.
        lambda_channel: weight of eq. 11, the means of the wide teacher's channels.
        channel_reduction: eq. 11 over its taps: the paper's mean, or the released code's sum.
        deep_teacher: paired images: a second teacher, narrow as the student, with more layers.
        deep_width: of the second teacher; None for the student's.
        shared_blocks: how many of the discriminator's five blocks both teachers share; 0 gives each
            a discriminator of its own.
        teacher_every: the teachers learn in each so many-th step.
    """

    equations: ClassVar[Mapping[str, str | None]] = NOT_DCDS

    lambda_ssim: float = setting(
        10.0, "--lambda-ssim", "Weight of the images' structure.", least=0.0, equation="6"
    )
    lambda_tv: float = setting(
        1e-5,
        "--lambda-tv",
        "Weight of the student's roughness.",
        least=0.0,
        shown="1e-5",
        equation="9",
    )
    lambda_channel: float = setting(
        100.0,
        "--lambda-channel",
        "Weight of the channels' means.",
        least=0.0,
        shown="the preset's",
        equation="11",
    )
    channel_reduction: Literal["mean", "sum"] = setting(
        "mean",
        "--channel-reduction",
        "Over its taps: mean as the paper, sum as released.",
        unused=(zero("lambda_channel"),),
    )
    deep_teacher: bool = setting(
        True,
        "--deep-teacher",
        "A second teacher with more layers (paired).",
        shown="deep-teacher",
        unused=(task_is("unpaired"),),
    )
    deep_width: int | None = setting(
        None,
        "--deep-width",
        "Width of that teacher.",
        least=1,
        most=4096,
        shown="the student's",
        unused=(task_is("unpaired"), _one_teacher),
    )
    shared_blocks: int = setting(
        0,
        "--shared-blocks",
        "Blocks of the discriminator that both teachers share.",
        least=0,
        most=5,
        shown="the preset's",
        unused=(task_is("unpaired"), _one_teacher),
    )
    teacher_every: int = setting(
        1, "--teacher-every", "The teachers learn in each so many-th step.", least=1
    )


PAPER = "OMGD (ICCV 2021)"
MOBILE, UNET = "mobile-resnet9", "unet256"
CITY: Json = {"schedule": {"epochs": 300, "decay_epochs": 450}}


def _options(**options: object) -> Json:
    return {"method": {"options": options}}


def _cyclegan(lambda_channel: float, block: int, released: Json) -> Json:
    blocks = {"teacher_block_epochs": block, "student_block_epochs": 4 * block} if released else {}
    options = _options(lambda_channel=lambda_channel, **blocks, **released)
    return unpaired() | CODE_SCHEDULE | options


def _pix2pix(norm: str, lambda_channel: float, shared: int, released: Json) -> Json:
    options = _options(lambda_channel=lambda_channel, shared_blocks=shared, **released)
    return paired(norm) | CODE_SCHEDULE | options


def _city(norm: str, lambda_channel: float, shared: int, batch_size: int, released: Json) -> Json:
    settings = _pix2pix(norm, lambda_channel, shared, {"teacher_every": 3, **released}) | CITY
    return settings | {"data": {"batch_size": batch_size}}


SMALL = "1.408G MACs (torchprofile's rule), 0.137M parameters"
UNET_SIZE = "1.219G MACs (torchprofile's rule), 3.404M parameters"
PLOT = "read off a plot, with `direction` BtoA"
# task, network, dataset, settings of paper or release, reported
CELLS: tuple[tuple[str, str, str | None, Callable[[Json], Json], str | None], ...] = (
    ("unpaired", MOBILE, "horse2zebra", partial(_cyclegan, 500.0, 10), f"FID 51.92 at {SMALL}"),
    ("unpaired", MOBILE, "summer2winter", partial(_cyclegan, 100.0, 6), f"FID 73.79 at {SMALL}"),
    (
        "paired",
        UNET,
        "edges2shoes",
        partial(_pix2pix, "batch", 10.0, 5),
        f"FID 25.00 at {UNET_SIZE}",
    ),
    (
        "paired",
        MOBILE,
        "edges2shoes",
        partial(_pix2pix, "instance", 100.0, 3),
        "FID about 25.9, read off a plot",
    ),
    ("paired", UNET, "cityscapes", partial(_city, "batch", 50.0, 5, 4), f"mIoU about 48.9, {PLOT}"),
    (
        "paired",
        MOBILE,
        "cityscapes",
        partial(_city, "instance", 0.0, 4, 1),
        f"mIoU about 45.2, {PLOT}",
    ),
    ("unpaired", MOBILE, None, partial(_cyclegan, 500.0, 10), None),
    ("paired", UNET, None, partial(_pix2pix, "batch", 10.0, 5), None),
    ("paired", MOBILE, None, partial(_pix2pix, "instance", 100.0, 3), None),
)
IN_CODE = f"{PAPER}, its released code and script: channels summed over taps, unpaired in blocks"
PRESETS: tuple[Preset, ...] = (
    *(
        Preset(
            "omgd",
            "distill",
            "omgd",
            task,
            arch,
            dataset,
            settings({}),
            f"{PAPER}; numbers of its released scripts",
            reported,
            direction=direction_of(dataset),
        )
        for task, arch, dataset, settings, reported in CELLS
    ),
    *(
        Preset(
            "omgd-released",
            "distill",
            "omgd",
            task,
            arch,
            dataset,
            settings({"channel_reduction": "sum"}),
            IN_CODE,
        )
        for task, arch, dataset, settings, _ in CELLS
    ),
)
