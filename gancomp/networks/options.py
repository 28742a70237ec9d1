"""The networks' own options beside their width, importable without torch.

Generators' flags set the teacher's, which the student has too unless it has a flag of its own;
discriminators' flags set the discriminator's. None is the network's own default.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from gancomp.declare import Declared, setting
from gancomp.settings.rules import SR, TRANSLATION

_translation = partial(setting, None, owners=TRANSLATION)
_super_resolution = partial(setting, None, owners=("--arch srresnet", SR))
_norm = partial(
    _translation, "--norm", "Norm of the generators: instance or batch.", shown="the preset's"
)
_d_norm = partial(
    _translation,
    "--d-norm",
    "The discriminator's norm: instance or batch.",
    shown="the preset's",
)
_channels = partial(setting, None, least=1, most=1024)
_exact = partial(setting, None, on_shrink="drop")  # widths layer by layer, of this width alone


@dataclass(frozen=True)
class ImageOptions:
    """Of a generator that turns images into images of their size."""

    in_channels: int | None = _channels()
    out_channels: int | None = _channels()


@dataclass(frozen=True)
class DeepOptions(ImageOptions):
    """Of OMGD's deep teachers."""

    norm: Literal["instance", "batch"] | None = _norm()
    dropout: float | None = _translation(
        "--dropout",
        "Dropout rate inside the generators.",
        shown="0, or the preset's",
        least=0.0,
        most=0.999,
    )


@dataclass(frozen=True)
class ResNetOptions(DeepOptions):
    """Of the ResNets and U-Nets."""

    channels: tuple[int, ...] | None = _exact()


@dataclass(frozen=True)
class InceptionOptions(ResNetOptions):
    """Of CAT's generator: `branches` are the widths in each of its blocks."""

    branches: tuple[tuple[int, ...], ...] | None = _exact()


@dataclass(frozen=True)
class AgdOptions(ImageOptions):
    """Of AGD's generator: `operations` are the kinds of its cells."""

    operations: tuple[str, ...] | None = setting(None)
    channels: tuple[int, ...] | None = _exact()


@dataclass(frozen=True)
class SRResNetOptions:
    """Of super-resolution's generator."""

    in_channels: int | None = _channels()
    out_channels: int | None = _channels()
    norm: Literal["instance", "batch"] | None = _norm()
    blocks: int | None = _super_resolution(
        "--blocks",
        "The teacher's residual blocks.",
        shown="the preset's",
        least=1,
        most=1024,
        on_shrink="scale",
        student=Declared(
            "--student-blocks",
            "The student's residual blocks.",
            shown="ratio x blocks",
            owners=("--arch srresnet", SR),
        ),
    )
    scale: int | None = _super_resolution(
        "--scale", "Upscaling factor, 2 or 4.", shown="4", least=1, most=16
    )


@dataclass(frozen=True)
class StyleGAN2Options:
    """Of StyleGAN2's generator."""

    resolution: int | None = setting(None, least=16, most=1024)
    style_channels: int | None = setting(None, least=1, most=4096)
    mapping_layers: int | None = setting(None, least=1, most=64)
    const_channels: int | None = setting(None, least=1, most=4096)
    channel_multiplier: int | None = setting(None, least=1, most=64)


@dataclass(frozen=True)
class BigGANOptions:
    """Of BigGAN's generator: `attention` are the blocks behind which it stands."""

    resolution: int | None = setting(None, least=16, most=1024)
    num_classes: int | None = setting(None, least=1, most=100_000)
    attention: tuple[int, ...] | None = setting(None)
    chunk: int | None = setting(None, least=1, most=4096)
    shared: int | None = setting(None, least=0, most=4096)
    hierarchical: bool | None = setting(None)


@dataclass(frozen=True)
class PatchGANOptions:
    """Of the discriminator of patches."""

    in_channels: int | None = _channels()
    norm: Literal["instance", "batch"] | None = _d_norm()
    layers: int | None = _translation(
        "--d-layers",
        "The discriminator's strided layers; 3 see 70x70 pixels.",
        shown="3",
        least=1,
        most=8,
    )


@dataclass(frozen=True)
class GatedPatchGANOptions:
    """Of GCC's discriminator: over `threshold` a channel passes."""

    in_channels: int | None = _channels()
    norm: Literal["instance", "batch"] | None = _d_norm()
    threshold: float | None = setting(None, least=0.0, most=0.999)


@dataclass(frozen=True)
class TwoBranchPatchGANOptions:
    """Of OMGD's discriminator: `num_shared` of its blocks serve both teachers."""

    in_channels: int | None = _channels()
    norm: Literal["instance", "batch"] | None = _d_norm()
    num_shared: int | None = setting(None, least=0, most=5)


@dataclass(frozen=True)
class SRGANDiscriminatorOptions:
    """Of super-resolution's discriminator: `crop` are the pixels that it judges."""

    in_channels: int | None = _channels()
    norm: Literal["instance", "batch"] | None = _d_norm()
    crop: int | None = setting(None, least=8, most=4096)


@dataclass(frozen=True)
class StyleGAN2DiscriminatorOptions:
    """Of StyleGAN2's discriminator."""

    resolution: int | None = setting(None, least=16, most=1024)
    channel_multiplier: int | None = setting(None, least=1, most=64)


@dataclass(frozen=True)
class BigGANDiscriminatorOptions:
    """Of BigGAN's discriminator."""

    resolution: int | None = setting(None, least=16, most=1024)
    num_classes: int | None = setting(None, least=1, most=100_000)
    attention: tuple[int, ...] | None = setting(None)
    wide: bool | None = setting(None)
