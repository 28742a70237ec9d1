"""GCC's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from gancomp.declare import setting
from gancomp.methods.shared_options import student_d_width_setting
from gancomp.preset_parts import (
    CODE_SCHEDULE,
    DCD,
    DROPOUT,
    Json,
    Preset,
    paired,
    unpaired,
    with_dropout,
)


@dataclass(frozen=True)
class GccOptions:
    """The defaults are those for unpaired images; the paper's where its code differs.

    Attributes:
        lambda_content: weight of the maps' distance, of generators and under the teacher's
            discriminator.
        lambda_gram: weight of their Gram matrices' distance.
        map_distance: mean squared (unpaired) or its root (paired), as released.
        detach_features: the terms under the discriminator are computed but have no gradient, as in
            the released code for unpaired images.
        gate_lr: Adam's rate for the gates.
        gate_threshold: over which a channel passes.
        gate_share: share of the training images held out for the gates; 0 lets them learn on the
            images of the weights, as the released code does unless a dataset is split by hand.
        student_d_width: of the student's gated discriminator.
    """

    lambda_content: float = setting(
        0.01,
        "--lambda-content",
        "Weight of the distance of the maps themselves.",
        least=0.0,
        shown="agd 1, gcc 0.01; paired 50",
        equation="9",
    )
    lambda_gram: float = setting(
        10.0,
        "--lambda-gram",
        "Weight of the distance of the Gram matrices.",
        least=0.0,
        shown="agd 1e5, gcc 10; paired 1e4",
        equation="9",
    )
    map_distance: Literal["mse", "rmse"] = setting(
        "mse", "--map-distance", "Distance of maps: mse or rmse.", shown="mse; paired rmse"
    )
    detach_features: bool = setting(
        False,
        "--detach-features",
        "No gradient from the maps under the teacher's discriminator.",
        shown="off; gcc-released on if unpaired",
    )
    gate_lr: float = setting(
        1e-4, "--gate-lr", "Adam's learning rate for the gates.", above=0.0, most=10.0
    )
    gate_threshold: float = setting(
        0.5, "--gate-threshold", "Over which a channel passes.", least=0.0, most=0.999
    )
    gate_share: float = setting(
        0.1,
        "--gate-share",
        "Share of the training images held out for the gates.",
        least=0.0,
        most=0.5,
        equation="6",
    )
    student_d_width: int | None = student_d_width_setting()

    has_own_task: ClassVar[bool] = True

    @property
    def held_out_share(self) -> float:
        """What the recipe keeps out of the training images and shows beside them."""
        return self.gate_share


PAPER = "GCC (NeurIPS 2021)"
WIDTHS = "; the widths are those that its released code writes over its own search's"
SHAPE = "; its student is pruned, here it has `ratio`'s width"
# stem, down1, down2; nine blocks; up1, up2: 2,383,638,528 MACs by torchprofile's rule
PRUNED = [24, 48, 86, 72, 47, 44, 43, 43, 29, 30, 37, 36, 48, 24]
NO_CROP: Json = {"load_size": 256, "flip": False}
RELEASED: Json = {"gate_share": 0.0}


def _pix2pix(epochs: int, decay_epochs: int, batch_size: int, **options: float | bool) -> Json:
    of_maps = {"lambda_content": 50.0, "lambda_gram": 1e4, "map_distance": "rmse"}
    return {
        **with_dropout(paired("batch")),
        "schedule": {"epochs": epochs, "decay_epochs": decay_epochs},
        "data": {"batch_size": batch_size, **NO_CROP},
        "method": {"options": of_maps | options},
    }


def _cyclegan(**options: float | bool) -> Json:
    return {**unpaired(), **CODE_SCHEDULE, "method": {"options": options}}


def _row(
    name: str,
    task: str,
    arch: str,
    settings: Json,
    source: str,
    *,
    dataset: str | None = None,
    reported: str | None = None,
) -> Preset:
    pruned = dataset == "horse2zebra"
    student: Json = {"width": PRUNED[0], "channels": PRUNED} if pruned else {}
    return Preset(
        name,
        "distill",
        "gcc",
        task,
        arch,
        dataset,
        settings,
        source + (WIDTHS if pruned else SHAPE),
        reported,
        ratio=0.25 if task == "unpaired" else 0.375,
        student=student if task == "unpaired" else {"dropout": DROPOUT},
    )


PRESETS: tuple[Preset, ...] = (
    _row(
        "gcc",
        "unpaired",
        "mobile-resnet9",
        _cyclegan(),
        f"{PAPER}; the figure also in {DCD}, table 1",
        dataset="horse2zebra",
        reported="FID 59.31 at 2.40G MACs",
    ),
    _row("gcc", "unpaired", "mobile-resnet9", _cyclegan(), f"{PAPER}, weights of horse2zebra"),
    _row(
        "gcc",
        "paired",
        "unet256",
        _pix2pix(10, 30, 4),
        f"{PAPER}, weights of cityscapes, length of its script for edges2shoes",
        dataset="edges2shoes",
    ),
    _row("gcc", "paired", "unet256", _pix2pix(100, 150, 1), f"{PAPER}, settings of cityscapes"),
    _row(
        "gcc-released",
        "unpaired",
        "mobile-resnet9",
        _cyclegan(**RELEASED, detach_features=True),
        "GCC's released code: no gradient from the discriminator's maps, gates on training images",
        dataset="horse2zebra",
    ),
    _row(
        "gcc-released",
        "unpaired",
        "mobile-resnet9",
        _cyclegan(**RELEASED, detach_features=True),
        "GCC's released code: no gradient from the discriminator's maps, gates on training images",
    ),
    _row(
        "gcc-released",
        "paired",
        "unet256",
        _pix2pix(100, 150, 1, **RELEASED),
        "GCC's released code: gates on training images",
    ),
)
