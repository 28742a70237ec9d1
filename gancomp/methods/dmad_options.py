"""DMAD's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from gancomp.declare import setting, zero
from gancomp.preset_parts import CODE_SCHEDULE, Json, Preset, paired, unpaired


@dataclass(frozen=True)
class DmadOptions:
    """The defaults are those of the unpaired tasks.

    Attributes:
        lambda_attention: weight of the co-attention term.
        lambda_discriminator_map: weight of the distance of the discriminator's maps.
        detach_attention: no gradient reaches the student through the target of its attention,
            which the teacher's discriminator sees in the student's image; released code: it does.
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
    attention_tap: str = setting("model.4")
    discriminator_tap: str = setting("")


PAPER = "DMAD (AAAI 2022)"
PRUNED = "; its student is pruned, here it has the width nearest to those MACs"
# "any" rows have the width of the other methods' students
QUARTER = 0.25
WIDTH_64 = 64


def _unpaired() -> Json:
    return unpaired() | CODE_SCHEDULE


def _paired(norm: str) -> Json:
    settings = paired(norm) | CODE_SCHEDULE
    settings["data"] = settings["data"] | {"load_size": 256, "flip": False}
    return settings | {"method": {"options": {"lambda_attention": 10.0}}}


def _released(settings: Json) -> Json:
    options = settings.get("method", {}).get("options", {}) | {"detach_attention": False}
    return settings | {"method": {"options": options}}


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
    ("paired", "unet256", "cityscapes", 29, "mIoU 40.53 at 3.96G MACs, 1.73M parameters (thop)"),
    ("paired", "unet256", None, 16, None),
    ("paired", "mobile-resnet9", None, 16, None),
)


def _row(
    released: bool, task: str, arch: str, dataset: str | None, width: int, reported: str | None
) -> Preset:
    norm = "batch" if arch == "unet256" else "instance"
    settings = _unpaired() if task == "unpaired" else _paired(norm)
    source = f"{PAPER}: {'released code' if released else 'weights and length'}"
    return Preset(
        "dmad-released" if released else "dmad",
        "distill",
        "dmad",
        task,
        arch,
        dataset,
        _released(settings) if released else settings,
        source + (PRUNED if reported and not released else ""),
        None if released else reported,
        ratio=width / WIDTH_64,
    )


PRESETS: tuple[Preset, ...] = (
    *(_row(False, *row) for row in ROWS),
    *(_row(True, *row) for row in ROWS),
)
