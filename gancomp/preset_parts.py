"""What rows of settings are made of; each method's rows stand beside its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
DCD = "DCD (CVPR 2023)"


@dataclass(frozen=True)
class Preset:
    """Settings laid over the defaults, where they come from, and what was reported with them.

    Attributes:
        name: what `--preset` calls it; rows of one name differ in dataset and architecture.
        command: `pretrain` or `distill`.
        method: the method's registry name.
        task: `unpaired`, `paired`, `super-resolution` or `synthesis`.
        arch: architecture of teacher and student.
        dataset: registered name, or None for any other dataset of the task.
        settings: nested settings, as in a `--config` file.
        source: paper and table, or the reasoning.
        reported: the published figure, never one of ours.
        ratio: the student's channels over the teacher's.
        student: settings of the student's network that do not follow from the ratio; those that
            belong to its width hold unless another width or network is asked for, and `dropout`
            for networks of the same kind unless a rate is typed, be it the teacher's.
        direction: in which the reported figure was measured; a run's own is always the one typed.
    """

    name: str
    command: str
    method: str
    task: str
    arch: str
    dataset: str | None
    settings: Json
    source: str
    reported: str | None = None
    ratio: float = 0.25
    student: Json = field(default_factory=dict)
    direction: str = "AtoB"


def teacher_network(width: int, norm: str) -> Json:
    """A teacher's width and norm."""
    return {"teacher": {"network": {"width": width, "norm": norm}}}


def unpaired() -> Json:
    """CycleGAN's networks and objective, as all papers on compressing it have them."""
    return {
        **teacher_network(64, "instance"),
        "discriminator": {"width": 64, "norm": "instance", "layers": 3},
        "adversarial": {"gan": "lsgan", "pool_size": 50},
        "data": {"batch_size": 1},
    }


def paired(norm: str) -> Json:
    """pix2pix's, with the discriminator and loss of GAN-Compression, OMGD and DCD."""
    return {
        **teacher_network(64, norm),
        "discriminator": {"width": 128, "norm": norm, "layers": 3},
        "adversarial": {"gan": "hinge", "pool_size": 0},
        "data": {"batch_size": 4},
    }


# of pix2pix's U-Net, where the released code leaves it on: its three middle levels of 8 ngf
DROPOUT = 0.5


def with_dropout(settings: Json) -> Json:
    """The same with pix2pix's dropout in the teacher, and in a student that is narrowed from it."""
    network = settings["teacher"]["network"] | {"dropout": DROPOUT}
    return settings | {"teacher": settings["teacher"] | {"network": network}}


def pix2pix() -> Json:
    """pix2pix's own code: logarithms, a discriminator of width 64, dropout, single pairs."""
    return with_dropout(paired("batch")) | {
        "discriminator": {"width": 64, "norm": "batch", "layers": 3},
        "adversarial": {"gan": "vanilla", "pool_size": 0},
        "data": {"batch_size": 1},
    }


# cityscapes has the photograph first, and its published figures are of photographs from labels
LABELS_TO_PHOTOGRAPHS: dict[str | None, str] = {"cityscapes": "BtoA"}


def direction_of(dataset: str | None) -> str:
    """The direction in which the papers translate a dataset."""
    return LABELS_TO_PHOTOGRAPHS.get(dataset, "AtoB")


# DCD, section 4.1: 100 epochs, rate 2e-4 decaying linearly to 0 "as training goes"
PAPER_SCHEDULE: Json = {"schedule": {"epochs": 0, "decay_epochs": 100}}
# every released distiller: 100 epochs at a constant rate, 100 of decay
CODE_SCHEDULE: Json = {"schedule": {"epochs": 100, "decay_epochs": 100}}
# small enough for two minutes on two CPU cores; a crop would change the stripes' period
DEMO: Json = {
    # InstanceNorm takes each image's mean color away: the backgrounds' mean colors, still muted,
    # correlate with the input's by 0.6 to 0.8 in the teacher, and by about 0 under InstanceNorm
    **teacher_network(16, "batch"),
    "discriminator": {"width": 16, "norm": "instance", "layers": 2},
    # 0.5 to 5 made the teacher's stripes fainter and brought no background closer to its source
    "adversarial": {"lambda_identity": 0.1},
    "data": {"size": 64, "load_size": 64, "batch_size": 2},
}
