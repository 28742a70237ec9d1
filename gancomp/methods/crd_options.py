"""CRD's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from gancomp.declare import setting, task_is, zero
from gancomp.methods.shared_options import NOT_DCDS, BlockOptions, PerceptualOptions
from gancomp.preset_parts import CODE_SCHEDULE, Json, Preset, paired, unpaired


@dataclass(frozen=True)
class CrdOptions(BlockOptions, PerceptualOptions):
    """How the pieces of the student's image relate to each other, as the teacher's do.

    Attributes:
        lambda_row: weight of the relations of an image's rows.
        lambda_column: weight of those of its columns.
        lambda_patch: weight of those of its disjoint squares.
        patch_size: their side in pixels.
        relation_reduction: over a batch's images; the released code sums them for paired images.
        released_patches: relate what the released code does for paired images: the channels within
            each of the first image's first squares.
        lambda_gan: weight of the student's own GAN term; its fakes are not shown to the
            discriminator, which the teacher alone trains.
    """

    equations: ClassVar[Mapping[str, str | None]] = NOT_DCDS

    lambda_row: float = setting(25.0, "--lambda-row", "Weight of the rows' relations.", least=0.0)
    lambda_column: float = setting(
        25.0, "--lambda-column", "Weight of the columns' relations.", least=0.0
    )
    lambda_patch: float = setting(
        25.0, "--lambda-patch", "Weight of the patches' relations.", least=0.0
    )
    patch_size: int = setting(
        32,
        "--patch-size",
        "Side of a patch.",
        least=1,
        most=4096,
        unit="pixels",
        unused=(zero("lambda_patch"),),
    )
    relation_reduction: Literal["mean", "sum"] = setting(
        "mean", "--relation-reduction", "Over the images of a batch: mean or sum."
    )
    released_patches: bool = setting(
        False,
        "--released-patches",
        "Relate what the released code takes for patches (paired).",
        shown="no",
        unused=(zero("lambda_patch"), task_is("unpaired")),
    )
    lambda_gan: float = setting(1.0, "--lambda-gan", "Weight of the student's GAN term.", least=0.0)


PAPER = "CRD (arXiv 2212.11091)"
WEIGHTS = f"{PAPER}; weights of its released code, as the paper's could not be read"
RELEASED = f"{PAPER}, its released code and script"
MOBILE, UNET = "mobile-resnet9", "unet256"
RELATIONS = ("lambda_row", "lambda_column", "lambda_patch")
# literals of the released code for paired images: twice the perceptual weights
DOUBLED: Json = {"lambda_style": 2e4, "lambda_feature": 20.0}
RELEASED_PAIRED: Json = {
    "relation_reduction": "sum",
    "released_patches": True,
    "lambda_gan": 0.0,
}


def _options(settings: Json, options: Json) -> Json:
    return settings | CODE_SCHEDULE | {"method": {"options": options}}


def _related(weight: float) -> Json:
    return dict.fromkeys(RELATIONS, weight)


def _blocks(teacher: int) -> Json:
    return {"teacher_block_epochs": teacher, "student_block_epochs": 4 * teacher}


# 2.5 for each of a batch's 4 images, summed, is 10 for their mean
PAIRED = DOUBLED | _related(10.0)
CODE_PAIRED = DOUBLED | _related(2.5) | RELEASED_PAIRED
BLOCKS = f"{RELEASED}: blocks of %d teacher and %d student epochs"
JOINT = f"{RELEASED}: patches as it takes them, summed over the batch, no GAN term"


# each row: task, network, data set, settings, source, reported
_paper = partial(Preset, "crd", "distill", "crd")
_released = partial(Preset, "crd-released", "distill", "crd")
REPORTED = "FID 46.61 at 1.408G MACs (torchprofile's rule), 0.137M parameters"
OURS = _options(unpaired(), {})
SHORT, LONG = (_options(unpaired(), _blocks(teacher)) for teacher in (6, 10))
BATCH, INSTANCE = paired("batch"), paired("instance")

PRESETS: tuple[Preset, ...] = (
    _paper("unpaired", MOBILE, "horse2zebra", OURS, WEIGHTS, REPORTED),
    _paper("unpaired", MOBILE, None, OURS, WEIGHTS),
    _paper("paired", UNET, None, _options(BATCH, PAIRED), WEIGHTS),
    _paper("paired", MOBILE, None, _options(INSTANCE, PAIRED), WEIGHTS),
    _released("unpaired", MOBILE, "summer2winter", SHORT, BLOCKS % (6, 24)),
    _released("unpaired", MOBILE, None, LONG, BLOCKS % (10, 40)),
    _released("paired", UNET, None, _options(BATCH, CODE_PAIRED), JOINT),
    _released("paired", MOBILE, None, _options(INSTANCE, CODE_PAIRED), JOINT),
)
