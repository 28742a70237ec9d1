"""The networks' settings; one class describes three of them, each with its own options."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from gancomp.declare import Declared, setting
from gancomp.settings.rules import SR, TRANSLATION, no_discriminator_trained, objective_is


@dataclass(frozen=True)
class NetworkSettings:
    """What the registry needs to build one network, None where its own default holds.

    `layers`, `crop` and `threshold` (over which a gate is open) and
    `num_shared` (blocks for two teachers) are discriminators'. `branches`
    are the widths in each of CAT's blocks, `operations` the kinds of AGD's cells. The last six are
    those of synthesis: StyleGAN2 has `style_channels`, `mapping_layers` and `const_channels`,
    BigGAN `num_classes` and `attention`.
    """

    arch: str = setting(dataclasses.MISSING)
    width: int = setting(64, least=1, most=4096)
    norm: Literal["instance", "batch"] | None = setting(None)
    in_channels: int | None = setting(None, least=1, most=1024)
    out_channels: int | None = setting(None, least=1, most=1024)
    dropout: float | None = setting(None, least=0.0, most=0.999)
    layers: int | None = setting(None, least=1, most=8)
    blocks: int | None = setting(None, least=1, most=1024)
    scale: int | None = setting(None, least=1, most=16)
    crop: int | None = setting(None, least=8, most=4096)
    num_shared: int | None = setting(None, least=0, most=5)
    threshold: float | None = setting(None, least=0.0, most=0.999)
    channels: tuple[int, ...] | None = setting(None)
    branches: tuple[tuple[int, ...], ...] | None = setting(None)
    operations: tuple[str, ...] | None = setting(None)
    resolution: int | None = setting(None, least=16, most=1024)
    num_classes: int | None = setting(None, least=1, most=100_000)
    attention: tuple[int, ...] | None = setting(None)
    style_channels: int | None = setting(None, least=1, most=4096)
    mapping_layers: int | None = setting(None, least=1, most=64)
    const_channels: int | None = setting(None, least=1, most=4096)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the registry's factory: all that was set, less the name."""
        values = dataclasses.asdict(self)
        del values["arch"]
        return {key: value for key, value in values.items() if value is not None}


# one class describes three networks, each with options of its own
_srresnet = ("--arch srresnet", SR)
TEACHER_OPTIONS = {
    "width": Declared("--width", "The teacher's width (ngf).", shown="64"),
    "norm": Declared(
        "--norm",
        "Norm of the generators: instance or batch.",
        shown="the preset's",
        owners=TRANSLATION,
    ),
    "dropout": Declared(
        "--dropout", "Dropout rate inside the generators.", shown="0", owners=TRANSLATION
    ),
    "blocks": Declared(
        "--blocks", "The teacher's residual blocks.", shown="the preset's", owners=_srresnet
    ),
    "scale": Declared("--scale", "Upscaling factor, 2 or 4.", shown="4", owners=_srresnet),
}
STUDENT_OPTIONS = {
    "blocks": Declared(
        "--student-blocks",
        "The student's residual blocks.",
        shown="ratio x blocks",
        owners=_srresnet,
        distil_only=True,
    ),
}
DISCRIMINATOR_OPTIONS = {
    "width": Declared(
        "--d-width",
        "Width of the discriminator (ndf).",
        shown="the preset's",
        unused=(
            objective_is("content", "pixel", reason="this --objective"),
            no_discriminator_trained,
        ),
    ),
    "layers": Declared(
        "--d-layers",
        "The discriminator's strided layers; 3 see 70x70 pixels.",
        shown="3",
        owners=TRANSLATION,
    ),
    "norm": Declared(
        "--d-norm",
        "The discriminator's norm: instance or batch.",
        shown="the preset's",
        owners=TRANSLATION,
    ),
}


NETWORK_FLAGS = {
    f"{section}.{name}": declared.flag
    for section, options in (
        ("teacher.network", TEACHER_OPTIONS),
        ("student", STUDENT_OPTIONS),
        ("discriminator", DISCRIMINATOR_OPTIONS),
    )
    for name, declared in options.items()
    if declared.flag
} | {  # a name or a width that chooses a whole network, which then holds it
    "teacher.network.arch": "--arch",
    "student.arch": "--student-arch",
    "student.width": "--student-width",
}
