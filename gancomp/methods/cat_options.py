"""CAT's knobs and rows of settings, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from gancomp.declare import setting, zero
from gancomp.methods.gan_compression_options import GanCompressionOptions
from gancomp.preset_parts import Json, Preset, paired, unpaired


@dataclass(frozen=True)
class CatOptions(GanCompressionOptions):
    """GAN-Compression's, with the weights for horse2zebra.

    Attributes:
        ka_parts: equal parts of a batch that are aligned apart and summed, as the released code
            does on as many GPUs: 4 in its scripts.
    """

    lambda_recon: float = setting(
        5.0,
        "--lambda-recon",
        "Weight of the L1 distance to the real image (paired) or the teacher's (unpaired).",
        least=0.0,
        shown="5; paired 100",
    )
    lambda_distill: float = setting(
        1.0,
        "--lambda-distill",
        "Weight of the distance of the maps.",
        least=0.0,
        shown="1; paired 0.5",
        equation="3",
    )
    ka_parts: int = setting(
        1,
        "--ka-parts",
        "Parts of a batch whose maps are aligned apart and summed, as on as many GPUs.",
        least=1,
        most=1024,
        shown="1; cat-released 4",
        unused=(zero("lambda_distill"),),
    )


PAPER = "CAT (CVPR 2021) and its released script"
SHAPE = "; its student is pruned out of the teacher, here it has `ratio`'s width"
ARCH, RATIO = "inception-resnet9", 0.25  # 2.87e9 MACs, the pruned one has 2.6e9


def _long(epochs: int, decay_epochs: int) -> Json:
    return {"schedule": {"epochs": epochs, "decay_epochs": decay_epochs}}


def _cyclegan(parts: int) -> Json:
    options = {"lambda_recon": 5.0, "lambda_distill": 1.0, "ka_parts": parts}
    own = {"data": {"batch_size": 80}, "method": {"options": options}}
    return unpaired() | _long(500, 500) | own


def _pix2pix(parts: int) -> Json:
    options = {"lambda_recon": 100.0, "lambda_distill": 0.5, "ka_parts": parts}
    own = {"data": {"batch_size": 80}, "method": {"options": options}}
    return paired("batch") | _long(500, 750) | own


def _row(
    name: str,
    task: str,
    settings: Json,
    source: str,
    *,
    dataset: str | None = None,
    reported: str | None = None,
) -> Preset:
    return Preset(
        name,
        "distill",
        "cat",
        task,
        ARCH,
        dataset,
        settings,
        source + SHAPE,
        reported,
        ratio=RATIO,
    )


def _teacher(task: str, settings: Json, epochs: tuple[int, int]) -> Preset:
    return Preset(
        "standard",
        "pretrain",
        "teacher-only",
        task,
        ARCH,
        None,
        settings | {"data": {"batch_size": 32}} | _long(*epochs),
        f"{PAPER}: the teacher",
    )


PRESETS: tuple[Preset, ...] = (
    _row(
        "cat",
        "unpaired",
        _cyclegan(1),
        PAPER,
        dataset="horse2zebra",
        reported="FID 60.18 at 2.55G MACs",
    ),
    _row("cat", "unpaired", _cyclegan(1), f"{PAPER}, settings of horse2zebra"),
    _row("cat", "paired", _pix2pix(1), f"{PAPER}, settings of cityscapes"),
    _row(
        "cat-released",
        "unpaired",
        _cyclegan(4),
        "CAT's released code: the alignment of 4 GPUs' parts of a batch, summed",
    ),
    _row(
        "cat-released",
        "paired",
        _pix2pix(4),
        "CAT's released code: the alignment of 4 GPUs' parts of a batch, summed",
    ),
    _teacher("unpaired", unpaired(), (500, 500)),
    _teacher("paired", paired("batch"), (500, 750)),
)
