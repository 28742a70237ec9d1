"""OMGD's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from gancomp.declare import Unused, setting, task_is, zero
from gancomp.methods.shared_options import NOT_DCDS, BlockOptions, PerceptualOptions
from gancomp.preset_parts import CODE_SCHEDULE, Json, Preset, paired, unpaired

_one_teacher = Unused(
    lambda settings, options: not getattr(options, "deep_teacher", True), "--no-deep-teacher"
)


@dataclass(frozen=True)
class OmgdOptions(BlockOptions, PerceptualOptions):
    """What the student takes over from its teachers, who train beside it.

    Attributes:
        lambda_ssim: weight of eq. 6's distance, 1 minus the structural similarity.
        lambda_tv: weight of eq. 9, which sums over the image; it counts once per teacher.
        lambda_channel: weight of eq. 11, the means of the wide teacher's channels.
        channel_reduction: eq. 11 over its taps: the paper's mean, or the released code's sum.
        deep_teacher: paired images: a second teacher, as narrow as the student, with more layers.
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
RELEASED = f"{PAPER}, its released code and script"
MOBILE, UNET = "mobile-resnet9", "unet256"
CITY: Json = {"schedule": {"epochs": 300, "decay_epochs": 450}}


def _options(**options: object) -> Json:
    return {"method": {"options": options}}


def _cyclegan(lambda_channel: float, **options: object) -> Json:
    return unpaired() | CODE_SCHEDULE | _options(lambda_channel=lambda_channel, **options)


def _pix2pix(norm: str, lambda_channel: float, shared: int, **options: object) -> Json:
    known = {"lambda_channel": lambda_channel, "shared_blocks": shared}
    return paired(norm) | CODE_SCHEDULE | _options(**known, **options)


def _city(
    norm: str, lambda_channel: float, shared: int, batch_size: int, **options: object
) -> Json:
    settings = _pix2pix(norm, lambda_channel, shared, teacher_every=3, **options) | CITY
    return settings | {"data": {"batch_size": batch_size}}


def _rows(name: str, source: str, **released: object) -> tuple[Preset, ...]:
    """The rows of the paper's settings, or with `released` those of its code."""
    blocks: dict[int, Json] = {10: {}, 6: {}}
    if released:
        blocks = {
            teacher: {"teacher_block_epochs": teacher, "student_block_epochs": 4 * teacher}
            for teacher in blocks
        }
    small = "1.408G MACs (torchprofile's rule), 0.137M parameters"
    cells: tuple[tuple[str, str, str | None, Json, str | None], ...] = (
        (
            "unpaired",
            MOBILE,
            "horse2zebra",
            _cyclegan(500.0, **blocks[10], **released),
            f"FID 51.92 at {small}",
        ),
        (
            "unpaired",
            MOBILE,
            "summer2winter",
            _cyclegan(100.0, **blocks[6], **released),
            f"FID 73.79 at {small}",
        ),
        (
            "paired",
            UNET,
            "edges2shoes",
            _pix2pix("batch", 10.0, 5, **released),
            "FID 25.00 at 1.219G MACs (torchprofile's rule), 3.404M parameters",
        ),
        (
            "paired",
            MOBILE,
            "edges2shoes",
            _pix2pix("instance", 100.0, 3, **released),
            "FID about 25.9, read off a plot",
        ),
        (
            "paired",
            UNET,
            "cityscapes",
            _city("batch", 50.0, 5, 4, **released),
            "mIoU about 48.9, read off a plot, with --direction BtoA",
        ),
        (
            "paired",
            MOBILE,
            "cityscapes",
            _city("instance", 0.0, 4, 1, **released),
            "mIoU about 45.2, read off a plot, with --direction BtoA",
        ),
        ("unpaired", MOBILE, None, _cyclegan(500.0, **blocks[10], **released), None),
        ("paired", UNET, None, _pix2pix("batch", 10.0, 5, **released), None),
        ("paired", MOBILE, None, _pix2pix("instance", 100.0, 3, **released), None),
    )
    return tuple(
        Preset(
            name,
            "distill",
            "omgd",
            task,
            arch,
            dataset,
            settings,
            source,
            None if released else reported,
        )
        for task, arch, dataset, settings, reported in cells
    )


PRESETS: tuple[Preset, ...] = (
    *_rows("omgd", f"{PAPER}; numbers of its released scripts"),
    *_rows(
        "omgd-released",
        f"{RELEASED}: channels summed over taps, unpaired in blocks",
        channel_reduction="sum",
    ),
)
