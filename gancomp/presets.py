"""One row per published cell: dataset, task, network and method -> settings and source."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import partial
from typing import Any

from gancomp.errors import ConfigError
from gancomp.presets_synthesis import SYNTHESIS_ROWS

Json = dict[str, Any]


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


DCD = "DCD (CVPR 2023)"
CYCLEGAN = "CycleGAN (Zhu et al. 2017) and its released code"
PIX2PIX = "pix2pix (Isola et al. 2017); discriminator and loss as GAN-Compression, OMGD and DCD use"


def _teacher(width: int, norm: str) -> Json:
    return {"teacher": {"network": {"width": width, "norm": norm}}}


def _unpaired() -> Json:
    return {
        **_teacher(64, "instance"),
        "discriminator": {"width": 64, "norm": "instance", "layers": 3},
        "adversarial": {"gan": "lsgan", "pool_size": 50},
        "data": {"batch_size": 1},
    }


def _paired(norm: str) -> Json:
    return {
        **_teacher(64, norm),
        "discriminator": {"width": 128, "norm": norm, "layers": 3},
        "adversarial": {"gan": "hinge", "pool_size": 0},
        "data": {"batch_size": 4},
    }


# DCD, section 4.1: 100 epochs, rate 2e-4 decaying linearly to 0 "as training goes"
PAPER_SCHEDULE: Json = {"schedule": {"epochs": 0, "decay_epochs": 100}}
# every released distiller: 100 epochs at a constant rate, 100 of decay
CODE_SCHEDULE: Json = {"schedule": {"epochs": 100, "decay_epochs": 100}}
NO_STUDENT_GAN: Json = {"student_fools_discriminator": False, "student_in_discriminator": False}


def _blocks(teacher: int, student: int) -> Json:
    blocks = {"teacher_block_epochs": teacher, "student_block_epochs": student}
    return {"method": {"options": NO_STUDENT_GAN | blocks}}


# small enough for two minutes on two CPU cores; a crop would change the stripes' period
DEMO: Json = {
    # InstanceNorm takes each image's mean color away: the backgrounds' mean colors, still muted,
    # correlate with the input's by 0.6 to 0.8 in the teacher, and by about 0 under InstanceNorm
    **_teacher(16, "batch"),
    "discriminator": {"width": 16, "norm": "instance", "layers": 2},
    # 0.5 to 5 made the teacher's stripes fainter and brought no background closer to its source
    "adversarial": {"lambda_identity": 0.1},
    "data": {"size": 64, "load_size": 64, "batch_size": 2},
}


def _super_resolution(width: int, blocks: int, command: str) -> Json:
    """SRGAN's networks and Adam as Keras has it; a student learns from a finished teacher."""
    network = {"width": width, "blocks": blocks, "scale": 4, "norm": "batch"}
    return {
        "teacher": {"network": network, "freeze": command == "distill"},
        "discriminator": {"arch": "srgan-discriminator", "width": width, "norm": "batch"},
        "adversarial": {"gan": "vanilla", "pool_size": 0},
        "optimizer": {"lr": 1e-4, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7},
        "data": {"size": 96, "batch_size": 16},
        "perceptual": {"source": "vgg19", "normalize": True},
        "schedule": _steps(200_000),
    }


def _steps(number: int) -> Json:
    # epochs without end: super-resolution counts steps
    return {"epochs": 1_000_000, "decay_epochs": 0, "max_steps": number}


def _sr_short(command: str) -> Json:
    """Two cores and a few minutes: most of it goes into the pixels, little into VGG."""
    return {
        **_super_resolution(16, 4, command),
        "discriminator": {"arch": "srgan-discriminator", "width": 8, "norm": "batch"},
        # VGG costs PSNR: the teacher 2 dB in 150 steps at 1e-4, 0.1 to 0.4 in 200 at 2e-6
        "optimizer": {"lr": 2e-6, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7},
        "data": {"size": 48, "batch_size": 8},
        "schedule": _steps(200),
        "stages": {
            "teacher_srresnet_steps": 6000,
            "student_srresnet_steps": 6000,
            "teacher_gan_steps": 200,
            "teacher_content_steps": 200,
            "srresnet_lr": 3e-3,
        },
        "method": {"options": {"content_tap": "relu2_2", "rate_drop_step": 5000}},
    }


SRGAN_KD = "Lee and Park 2021 (SRGAN distillation); lengths of the code they build on"
SR_SHORT = "chosen by trial on horse2zebra's photographs: small networks, a high rate, VGG22"


PRESETS: tuple[Preset, ...] = (
    # the teacher alone
    Preset(
        "standard",
        "pretrain",
        "teacher-only",
        "unpaired",
        "mobile-resnet9",
        None,
        _unpaired() | CODE_SCHEDULE,
        f"{CYCLEGAN}; the network is the online teacher of OMGD and DCD",
    ),
    Preset(
        "standard",
        "pretrain",
        "teacher-only",
        "unpaired",
        "resnet9",
        "horse2zebra",
        _unpaired() | CODE_SCHEDULE,
        f"{CYCLEGAN}; figure: {DCD}, table 1",
        "FID 61.53 (65.75 for GAN-Compression's released weights)",
    ),
    Preset(
        "standard",
        "pretrain",
        "teacher-only",
        "unpaired",
        "resnet9",
        "summer2winter",
        _unpaired() | CODE_SCHEDULE,
        f"{CYCLEGAN}; figure: {DCD}, table 1",
        "FID 79.12",
    ),
    Preset(
        "standard",
        "pretrain",
        "teacher-only",
        "paired",
        "unet256",
        "edges2shoes",
        _paired("batch") | CODE_SCHEDULE,
        f"{PIX2PIX}; figure: {DCD}, table 1",
        "FID 34.31",
    ),
    Preset(
        "standard",
        "pretrain",
        "teacher-only",
        "paired",
        "unet256",
        None,
        _paired("batch") | CODE_SCHEDULE,
        PIX2PIX,
    ),
    Preset(
        "standard",
        "pretrain",
        "teacher-only",
        "paired",
        "mobile-resnet9",
        None,
        _paired("instance") | CODE_SCHEDULE,
        PIX2PIX,
    ),
    # DCD as the paper has it
    Preset(
        "dcd",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        "horse2zebra",
        _unpaired() | PAPER_SCHEDULE,
        f"{DCD}, section 4.1 and table 1",
        "FID 48.24 at 1.408G MACs (torchprofile's rule), 0.137M parameters",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        "summer2winter",
        _unpaired() | PAPER_SCHEDULE,
        f"{DCD}, section 4.1 and table 1",
        "FID 73.63 at 1.408G MACs (torchprofile's rule), 0.137M parameters",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "paired",
        "unet256",
        "edges2shoes",
        _paired("batch") | PAPER_SCHEDULE,
        f"{DCD}, section 4.1 and table 1",
        "FID 23.43 at 1.219G MACs (torchprofile's rule), 3.404M parameters",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        None,
        _unpaired() | PAPER_SCHEDULE,
        f"{DCD}, section 4.1, on your own data",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "paired",
        "unet256",
        None,
        _paired("batch") | PAPER_SCHEDULE,
        f"{DCD}, section 4.1, on your own data",
    ),
    Preset(
        "dcd",
        "distill",
        "dcd",
        "paired",
        "mobile-resnet9",
        None,
        _paired("instance") | PAPER_SCHEDULE,
        f"{DCD}, section 4.1 with the networks of its released script",
    ),
    # the embedded demo set
    Preset(
        "demo",
        "pretrain",
        "teacher-only",
        "unpaired",
        "mobile-resnet6",
        None,
        DEMO | {"optimizer": {"lr": 1e-3}, "schedule": {"epochs": 3, "decay_epochs": 2}},
        "chosen by trial on the demo set: small networks, a high rate, few steps",
    ),
    Preset(
        "demo",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet6",
        None,
        DEMO
        | {
            "optimizer": {"lr": 1.5e-3},  # at 2e-3 the teacher's stripes fade
            "schedule": {"epochs": 2, "decay_epochs": 3},
            "perceptual": {"source": "random"},
            "method": {
                "options": {
                    "lambda_feature": 20.0,
                    "lambda_style": 1e3,
                    "style_taps": ["relu1_2", "relu2_2"],
                }
            },
        },
        "chosen by trial on the demo set; perceptual features of random weights, no download",
    ),
    # DCD as released, its crashes fixed
    Preset(
        "dcd-released",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        "summer2winter",
        _unpaired() | CODE_SCHEDULE | _blocks(6, 24),
        "DCD's released code and script: blocks of 6 teacher and 24 student epochs",
    ),
    Preset(
        "dcd-released",
        "distill",
        "dcd",
        "unpaired",
        "mobile-resnet9",
        None,
        _unpaired() | CODE_SCHEDULE | _blocks(10, 40),
        "DCD's released code and script: blocks of 10 teacher and 40 student epochs",
    ),
    Preset(
        "dcd-released",
        "distill",
        "dcd",
        "paired",
        "mobile-resnet9",
        None,
        _paired("instance") | CODE_SCHEDULE | {"method": {"options": NO_STUDENT_GAN}},
        "DCD's released code and script: joint, the student without a GAN term",
    ),
    Preset(
        "dcd-released",
        "distill",
        "dcd",
        "paired",
        "unet256",
        None,
        _paired("batch") | CODE_SCHEDULE | {"method": {"options": NO_STUDENT_GAN}},
        "DCD's released code, completed by the connectors that it lacks for the U-Net",
    ),
    # SRGAN and its distillation
    *(
        Preset(
            name,
            command,
            method,
            "super-resolution",
            "srresnet",
            None,
            settings(command),
            source,
            ratio=0.5,
        )
        for command, method in (("pretrain", "srgan"), ("distill", "g2g-al"))
        for name, settings, source in (
            ("div2k-x4", partial(_super_resolution, 64, 16), SRGAN_KD),
            ("sr-short", _sr_short, SR_SHORT),
        )
    ),
    # StyleGAN2 and BigGAN, and DGL-GAN
    *(
        Preset(name, command, method, "synthesis", arch, None, settings, source, ratio=0.5)
        for name, command, method, arch, settings, source in SYNTHESIS_ROWS
    ),
)

# what is taken without `--preset`
DEFAULT_PRESET = {"pretrain": "standard", "distill": "dcd"}
DEFAULT_PRESET_OF_TASK = {
    ("pretrain", "super-resolution"): "div2k-x4",
    ("distill", "super-resolution"): "div2k-x4",
    ("distill", "synthesis"): "dgl",
}


def find_preset(
    command: str, task: str, *, name: str | None, dataset: str, arch: str | None
) -> Preset:
    """The row that fits best: the dataset's own row, and the architecture asked for.

    Args:
        command: `pretrain` or `distill`.
        task: what the data is.
        name: `--preset`, or None for the command's default.
        dataset: the dataset's name; registered ones have rows of their own.
        arch: the architecture asked for, or None for the row's own.

    Raises:
        ConfigError: for an unknown preset name, or one for other data, with the known ones.
    """
    name = name or DEFAULT_PRESET_OF_TASK.get((command, task), DEFAULT_PRESET[command])
    names = list(dict.fromkeys(row.name for row in PRESETS if row.command == command))
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"--preset {name}: unknown; {hint}Known for {command}: {', '.join(names)}"
        )
    rows = [row for row in PRESETS if (row.name, row.command, row.task) == (name, command, task)]

    if not rows:
        known = dict.fromkeys(
            row.name for row in PRESETS if (row.command, row.task) == (command, task)
        )
        raise ConfigError(f"--preset {name}: is not for {task} data; for that: {', '.join(known)}")

    def fitness(row: Preset) -> tuple[bool, bool]:
        return (
            (row.arch == arch, row.dataset == dataset) if arch else (row.dataset == dataset, False)
        )

    rows = [row for row in rows if row.dataset in (dataset, None)]
    return max(rows, key=fitness)  # the first of equals: the table's order is a preference
