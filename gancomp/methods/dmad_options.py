"""DMAD's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from gancomp.declare import setting, task_is, zero
from gancomp.preset_parts import (
    CODE_SCHEDULE,
    DROPOUT,
    Json,
    Preset,
    direction_of,
    paired,
    unpaired,
    with_dropout,
)


@dataclass(frozen=True)
class DmadOptions:
    """The defaults are those of the unpaired tasks.

    Attributes:
        lambda_attention: weight of the co-attention term.
        lambda_discriminator_map: weight of the distance of the discriminator's maps.
        detach_attention: no gradient reaches the student through the target of its attention,
            which the teacher's discriminator sees in the student's image; released code: it does.
        eight_bits: with maps of several sizes (U-Net), the attention of the discriminator is the
            batch's first image's, rounded to 8 bits without clipping, as the released code has it.
        attention_tap: the discriminator's map that the attention is taken from.
        discriminator_tap: the map whose distance is taken; empty means the last hidden activation.
    """

    lambda_attention: float = setting(
        100.0,
        "--lambda-attention",
        "Weight of the co-attention of teacher and discriminator.",
        least=0.0,
        shown="100; paired 10",
        equation="10",
    )
    lambda_discriminator_map: float = setting(
        1e-4,
        "--lambda-discriminator-map",
        "Weight of the distance of both images' maps in the teacher's discriminator.",
        least=0.0,
        equation="12",
    )
    detach_attention: bool = setting(
        True,
        "--detach-attention",
        "Stop the gradient in the target of the attention.",
        unused=(zero("lambda_attention"),),
    )
    eight_bits: bool = setting(
        False,
        "--eight-bit-attention",
        "Round the discriminator's attention, where sizes differ, to 8 bits.",
        unused=(zero("lambda_attention"), task_is("unpaired")),
    )
    attention_tap: str = setting("model.4")
    discriminator_tap: str = setting("")


PAPER = "DMAD (AAAI 2022)"
PRUNED = "; its student is pruned, here it has the width nearest to those MACs"
RELEASED: Json = {"detach_attention": False}


def _unpaired(**options: float | bool) -> Json:
    return {**unpaired(), **CODE_SCHEDULE, "method": {"options": options}}


def _paired(arch: str, dataset: str | None, **options: float | bool) -> Json:
    batch_size = 1 if dataset == "cityscapes" else 4
    settings = with_dropout(paired("batch")) if arch == "unet256" else paired("instance")
    return {
        **settings,
        **CODE_SCHEDULE,
        "data": {"batch_size": batch_size, "load_size": 256, "flip": False},
        "method": {"options": {"lambda_attention": 10.0} | options},
    }


# task, network, dataset, width of the student, what was reported
ROWS: tuple[tuple[str, str, str | None, int, str | None], ...] = (
    (
        "unpaired",
        "mobile-resnet9",
        "horse2zebra",
        22,
        "FID 62.96 at 2.41G MACs, 0.28M parameters (thop)",
    ),
    (
        "unpaired",
        "resnet9",
        "summer2winter",
        15,
        "FID 78.24 at 3.18G MACs, 0.24M parameters (thop)",
    ),
    ("unpaired", "mobile-resnet9", None, 16, None),
    (
        "paired",
        "unet256",
        "edges2shoes",
        25,
        "FID 46.95 at 2.99G MACs, 2.13M parameters (thop)",
    ),
    (
        "paired",
        "unet256",
        "cityscapes",
        29,
        "mIoU 40.53 at 3.96G MACs, 1.73M parameters (thop), with `direction` BtoA",
    ),
    ("paired", "unet256", None, 16, None),
    ("paired", "mobile-resnet9", None, 16, None),
)


def _row(
    released: bool, task: str, arch: str, dataset: str | None, width: int, reported: str | None
) -> Preset:
    """A row, as the paper has it or as the code does; "any" data has other methods' width."""
    is_unet = arch == "unet256"
    own = RELEASED | ({"eight_bits": True} if is_unet else {}) if released else {}
    settings = _unpaired(**own) if task == "unpaired" else _paired(arch, dataset, **own)
    text = f"{PAPER}: {'released code' if released else 'weights and length'}"
    return Preset(
        "dmad-released" if released else "dmad",
        "distill",
        "dmad",
        task,
        arch,
        dataset,
        settings,
        text + (PRUNED if dataset else ""),
        reported,
        ratio=width / 64,
        student={"dropout": DROPOUT} if is_unet else {},
        direction=direction_of(dataset),
    )


PRESETS: tuple[Preset, ...] = tuple(
    _row(released, *row) for released in (False, True) for row in ROWS
)
