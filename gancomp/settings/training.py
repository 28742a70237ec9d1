"""What a training step is made of and how a run is carried out: data, objective, length."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from gancomp.declare import Declared, seconds, setting, task_is, value_range
from gancomp.launch import PATIENCE_S
from gancomp.settings.rules import (
    NOT_TRANSLATION,
    PAIRED,
    SR,
    SYNTHESIS,
    TRANSLATION,
    UNPAIRED,
    free_cycle,
    frozen_teacher,
    last,
    no_discriminator_at_all,
    no_features,
    no_features_weighted,
    no_pool,
    not_held_out,
    objective_is,
    one_process,
)
from gancomp.sizes import Size, as_size, read_size, sides


@dataclass(frozen=True)
class PixelSettings:
    """How the files of one side hold their images; plain 8-bit RGB where there is no range.

    `range` holds the values that become -1 and 1; `dtype` follows from the files.
    """

    channels: int | None = setting(None, least=1, most=8)
    range: tuple[float, ...] | None = setting(None)
    dtype: Literal["uint8", "uint16", "int32", "float32"] | None = setting(None)

    @property
    def num_channels(self) -> int:
        """What a network takes or gives."""
        return self.channels or 3


# one class describes two sides, each with options of its own
_side = partial(Declared, owners=TRANSLATION, unused=NOT_TRANSLATION)
SOURCE_OPTIONS = {
    "channels": _side(
        "--in-channels",
        "Channels of source images, 1 to 8.",
        shown="3; of .npy files, and with `in_range`, as stored",
    ),
    "range": _side(
        "--in-range",
        "LOW,HIGH: their values that become -1 and 1; keeps what is deeper than 8 bits. Floats "
        "need it.",
        shown="that of 8 or 16 bits",
        kind=str,
        reads=partial(value_range, "in_range"),
    ),
}
TARGET_OPTIONS = {
    "channels": _side(
        "--out-channels",
        "Channels of target images.",
        shown="as `in_channels`, of the targets",
    ),
    "range": _side(
        "--out-range",
        "LOW,HIGH of their values.",
        shown="as `in_range`, of the targets",
        kind=str,
        reads=partial(value_range, "out_range"),
    ),
}
PIXEL_FIELDS = {
    f"data.{side}.{name}": declared.field
    for side, options in (("source", SOURCE_OPTIONS), ("target", TARGET_OPTIONS))
    for name, declared in options.items()
    if declared.field
}


@dataclass(frozen=True)
class DataSettings:
    """Which images, and how they are cut: sizes in pixels, batch size in images."""

    dataset: str = setting(
        dataclasses.MISSING, "--dataset", "A folder, or a known name (gancomp data list)."
    )
    task: str = setting(
        "unpaired",
        "--task",
        "unpaired, paired, super-resolution or synthesis.",
        shown="as the folders say",
    )
    direction: Literal["AtoB", "BtoA"] = setting(
        "AtoB", "--direction", "AtoB or BtoA.", owners=TRANSLATION, unused=NOT_TRANSLATION
    )
    size: Size = setting(
        256,
        "--size",
        "Training crop: N or HEIGHTxWIDTH.",
        least=8,
        most=4096,
        shown="256",
        kind=str,
        reads=partial(read_size, "size"),
    )
    load_size: Size = setting(
        286,
        "--load-size",
        "Pixels before the random crop.",
        least=8,
        most=8192,
        shown="286 for 256, in proportion",
        kind=str,
        reads=partial(read_size, "load_size"),
        owners=TRANSLATION,
        unused=(*NOT_TRANSLATION, no_discriminator_at_all),
    )
    batch_size: int = setting(
        1, "--batch-size", "Images per step.", least=1, most=4096, shown="the preset's"
    )
    flip: bool = setting(True, "--flip", "Mirror half of the images.", shown="flip")
    strict: bool = setting(False, "--strict", "Stop at an unreadable image.")
    cache: Literal["auto", "on", "off"] = setting(
        "auto", "--cache", "Keep decoded images: auto, on, off."
    )
    source: PixelSettings = field(default=PixelSettings(), metadata={"inner": SOURCE_OPTIONS})
    target: PixelSettings = field(default=PixelSettings(), metadata={"inner": TARGET_OPTIONS})

    def __post_init__(self) -> None:
        # a file may say 256 or [256, 256]: one form, so that equal settings are equal
        for name in ("size", "load_size"):
            object.__setattr__(self, name, as_size(*sides(getattr(self, name))))


@dataclass(frozen=True)
class AdversarialSettings:
    """The task's own objective (CycleGAN: cycle, identity; pix2pix: L1), before any distillation.

    Sources: CycleGAN (Zhu et al. 2017), section 4, and its code; pix2pix (Isola et al. 2017).
    """

    gan: Literal["lsgan", "hinge", "vanilla"] = setting(
        "lsgan",
        "--gan",
        "lsgan, hinge or vanilla.",
        shown="lsgan unpaired, hinge paired, else the preset's",
        owners=(*TRANSLATION, SR, SYNTHESIS),
        unused=(no_discriminator_at_all,),
    )
    lambda_cycle: float = setting(
        10.0,
        "--lambda-cycle",
        "Cycle weight.",
        least=0.0,
        owners=(UNPAIRED,),
        unused=(task_is("paired"), frozen_teacher, *NOT_TRANSLATION),
    )
    lambda_identity: float = setting(
        0.5,
        "--lambda-identity",
        "Identity weight, relative to the cycle's.",
        least=0.0,
        owners=(UNPAIRED,),
        unused=(task_is("paired"), frozen_teacher, free_cycle, *NOT_TRANSLATION),
    )
    lambda_l1: float = setting(
        100.0,
        "--lambda-l1",
        "L1 weight.",
        least=0.0,
        owners=(PAIRED,),
        unused=(task_is("unpaired"), frozen_teacher, *NOT_TRANSLATION),
    )
    pool_size: int = setting(
        50,
        "--pool-size",
        "Fakes kept to show the discriminator again.",
        least=0,
        most=100_000,
        shown="50 unpaired, 0 paired",
        owners=TRANSLATION,
        unused=(*NOT_TRANSLATION, no_pool),
    )


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam for every phase."""

    lr: float = setting(
        2e-4,
        "--lr",
        "Adam's learning rate.",
        above=0.0,
        most=10.0,
        shown="the preset's",
        unused=(no_discriminator_at_all,),
    )
    beta1: float = setting(0.5, least=0.0, most=0.9999)
    beta2: float = setting(0.999, least=0.0, most=0.99999)
    eps: float = setting(1e-8, above=0.0, most=1.0)


@dataclass(frozen=True)
class ScheduleSettings:
    """`epochs` at a constant rate, then `decay_epochs` linearly to zero, within the limits."""

    epochs: int = setting(
        100,
        "--epochs",
        "Epochs at a constant rate.",
        least=0,
        most=1_000_000,
        shown="the preset's",
    )
    decay_epochs: int = setting(
        100,
        "--decay-epochs",
        "Epochs of linear decay to zero after that.",
        least=0,
        most=1_000_000,
        shown="the preset's",
    )
    max_steps: int | None = setting(
        None,
        "--max-steps",
        "Stop after this many steps, in each stage too.",
        least=1,
    )
    max_seconds: float | None = setting(
        None,
        "--max-time",
        "Save and stop after e.g. 25m or 1h30m.",
        above=0.0,
        kind=str,
        reads=seconds,
    )

    def total_steps(self, *, num_epochs: int, steps_per_epoch: int) -> int:
        """The steps of the whole schedule, or `max_steps` if that is less."""
        return min(num_epochs * steps_per_epoch, self.max_steps or 2**62)


@dataclass(frozen=True)
class PerceptualSettings:
    """Where the perceptual loss takes its features from; `none` is a choice, never a fallback."""

    source: Literal["vgg16", "vgg19", "random", "none"] = setting(
        "vgg16",
        "--perceptual",
        "vgg16, vgg19, random or none.",
        shown="vgg16",
        unused=(objective_is("pixel"),),
    )
    file: str | None = setting(
        None,
        "--vgg",
        "VGG weights, .safetensors or .pth.",
        shown="$GANCOMP_VGG16 or _VGG19",
        unused=(no_features_weighted, objective_is("pixel")),
    )
    normalize: bool = setting(
        False,
        "--perceptual-normalise",
        "Feed VGG ImageNet-normalized images.",
        shown="no, as released; super-resolution yes",
        unused=(no_features,),
        owners=(*TRANSLATION, SR),
    )


_run = partial(setting, panel="Run")


@dataclass(frozen=True)
class RunSettings:
    """How the run is carried out; only seed and precisions change what a step computes."""

    seed: int = _run(0, "--seed", "Seed of all that is random.", least=0, most=2**63 - 1)
    device: str = _run("auto", "--device", "auto, cpu, cuda:N or mps.")
    precision: Literal["auto", "fp32", "bf16"] = _run(
        "fp32", "--precision", "fp32, bf16 or auto (tried)."
    )
    compile: Literal["auto", "off", "on", "graphs", "fused", "fused+graphs", "on+graphs"] = _run(
        "auto",
        "--compile",
        "off, on (torch.compile), graphs (CUDA's), fused (norms), fused+graphs, on+graphs, "
        "or auto: the fastest.",
        shown="auto: on a GPU",
    )
    workers: int = _run(2, "--workers", "Processes that read images.", least=0, most=256)
    checkpoint_every: int = _run(1000, "--checkpoint-every", "Steps between checkpoints.", least=1)
    keep_checkpoints: int = _run(2, "--keep-checkpoints", "How many are kept.", least=1, most=1000)
    sample_every: int = _run(500, "--sample-every", "Steps between sample grids.", least=1)
    log_every: int = _run(10, "--log-every", "Steps between lines of metrics.", least=1)
    rank_timeout: float = _run(
        PATIENCE_S,
        "--rank-timeout",
        "Seconds that ranks wait.",
        least=1.0,
        unused=(one_process,),
    )
    reduce_precision: Literal["fp32", "bf16"] = _run(
        "fp32",
        "--reduce-precision",
        "Ranks' gradients: fp32, bf16.",
        unused=(one_process,),
    )
    tensorboard: bool = _run(False, "--tensorboard", "Write TensorBoard files too.")


_selection = partial(setting, distil_only=True, owners=TRANSLATION)


@dataclass(frozen=True)
class SelectionSettings:
    """Which state of the student is handed out in the end, and by which images it is chosen."""

    select: Literal["last", "held-out", "best-on-test"] = _selection(
        "last",
        "--select",
        "Which student is handed out: last, best on images held-out from training, or "
        "best-on-test (optimistic).",
    )
    every: int = _selection(
        5000,
        "--eval-every",
        "Steps between scores of the student by FID.",
        least=1,
        unused=(last,),
    )
    held_out: int = _selection(
        120,
        "--held-out",
        "Source images (pairs) kept out of training for that.",
        least=2,
        unused=(not_held_out,),
    )
