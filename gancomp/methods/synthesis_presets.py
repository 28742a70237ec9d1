"""The rows of the presets' table for StyleGAN2 and BigGAN, alone and under DGL-GAN."""

from __future__ import annotations

from collections.abc import Callable

from gancomp.preset_parts import Json, Preset

NO_STYLES: Json = {"r1_gamma": 0.0, "path_weight": 0.0, "style_mixing": 0.0}


def _stylegan2(width: int, style_channels: int, mapping_layers: int) -> Json:
    network = {
        "width": width,
        "style_channels": style_channels,
        "mapping_layers": mapping_layers,
        "const_channels": width,
    }
    return {
        "teacher": {"network": network},
        "discriminator": {"width": width},
        "adversarial": {"gan": "vanilla", "pool_size": 0},
        "optimizer": {"lr": 2e-3, "beta1": 0.0, "beta2": 0.99, "eps": 1e-8},
    }


def _biggan(width: int) -> Json:
    return {
        "teacher": {"network": {"width": width}},
        "discriminator": {"width": width},
        "adversarial": {"gan": "hinge", "pool_size": 0},
        "optimizer": {"lr": 1e-4, "beta1": 0.0, "beta2": 0.999, "eps": 1e-6},
    }


def _data(size: int, batch_size: int, *, flip: bool) -> Json:
    return {"data": {"size": size, "batch_size": batch_size, "flip": flip}}


def _length(command: str, kimg: float, *, alone: float = 0.0) -> Json:
    """A teacher's length, and a student's as long, of which `alone` is without its teacher.

    All in thousands of images, whatever the batch size.
    """
    stages: Json = {"teacher_kimg": kimg}
    if command == "distill":
        stages |= {"stage1_kimg": alone, "stage2_kimg": kimg - alone}
    # epochs without end: synthesis counts images
    return {"schedule": {"epochs": 1_000_000, "decay_epochs": 0}, "stages": stages}


def _options(**options: float | str) -> Json:
    return {"method": {"options": options}}


def _config_f(command: str) -> Json:
    """60 million images; a student sees the last 25 of them under its teacher."""
    length = _length(command, 60_000, alone=35_000)
    networks = _stylegan2(512, 512, 8)
    return networks | _data(256, 32, flip=True) | length | _options(r1_gamma=10.0)


def _church(command: str) -> Json:
    """LSUN's churches at 256 pixels: ten times the R1, and churches are not mirrored."""
    return _config_f(command) | _data(256, 32, flip=False) | _options(r1_gamma=100.0)


def _biggan_128(command: str) -> Json:
    """Batches of 2048 in 8 parts, as long as the released teacher; the student in one stage.

    That teacher is the release's after 138,000 steps.
    """
    options = _options(accumulation=8, d_lr=4e-4, ema_beta=0.9999, ema_start=20_000, **NO_STYLES)
    length = _length(command, 138_000 * 2.048)
    return _biggan(96) | _data(128, 2048, flip=False) | length | options


def _stylegan2_short(command: str) -> Json:
    """32 pixels, narrow networks, and an average that follows within a thousand images."""
    networks = _stylegan2(64, 64, 2)
    options = _options(ema_kimg=1.0, r1_gamma="auto")
    return networks | _data(32, 16, flip=True) | _length(command, 160) | options


def _biggan_short(command: str) -> Json:
    options = _options(d_lr=4e-4, ema_beta=0.999, ema_start=1000, **NO_STYLES)
    return _biggan(16) | _data(32, 32, flip=True) | _length(command, 320) | options


Settings = Callable[[str], Json]
DGL = "DGL-GAN (arXiv 2112.06502) and its released code; the stages' lengths are ours"
SHORT = "ours: small networks and images for two cores"
# architecture, full settings, short ones, where the full ones come from
FAMILIES: tuple[tuple[str, Settings, Settings, str], ...] = (
    (
        "stylegan2",
        _config_f,
        _stylegan2_short,
        "StyleGAN2 (Karras et al. 2020), configuration F",
    ),
    (
        "biggan",
        _biggan_128,
        _biggan_short,
        "BigGAN (Brock et al. 2019) and its authors' release",
    ),
)
CHURCH = "StyleGAN2's released settings for LSUN church: R1 100, no mirroring; lengths ours"


def _row(name: str, command: str, arch: str, settings: Json, source: str) -> Preset:
    method = "dgl" if command == "distill" else "gan"
    return Preset(name, command, method, "synthesis", arch, None, settings, source, ratio=0.5)


PRESETS: tuple[Preset, ...] = (
    *(
        _row(name, command, arch, settings(command), origin)
        for arch, full, short, source in FAMILIES
        for name, command, settings, origin in (
            ("standard", "pretrain", full, source),
            ("synthesis-short", "pretrain", short, SHORT),
            ("dgl", "distill", full, DGL),
            ("dgl-short", "distill", short, SHORT),
        )
    ),
    _row("standard-church", "pretrain", "stylegan2", _church("pretrain"), CHURCH),
    _row("dgl-church", "distill", "stylegan2", _church("distill"), CHURCH),
)
