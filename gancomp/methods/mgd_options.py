"""MGD's knobs within DCD, and its rows of settings; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gancomp.declare import Unused, setting, zero
from gancomp.methods.map_presets import rows
from gancomp.methods.shared_options import BlockOptions, PerceptualOptions, StudentGanOptions
from gancomp.preset_parts import Preset

MaskKind = Literal["positions", "channels"]
_plain = Unused(lambda settings, options: not options.generation, "`generation=False`")


@dataclass(frozen=True)
class MaskOptions:
    """What is masked, and how much what is rebuilt weighs.

    Attributes:
        lambda_mgd: weight of eq. 5. With 8e-6 its gradient on a fresh student is as long as that of
            DCD's term; MGD has 2e-5 for dense tasks, 7e-5 for classification.
        mask: positions, the same for all channels (dense tasks), or channels (classification).
        dropped: share that is masked: 0.65 (detection), 0.75 (segmentation) or 0.15 of channels.
        generation: rebuild the teacher's map by two convolutions; without it, as DCD's authors
            compared, channels that are not masked are compared as they are.
    """

    lambda_mgd: float = setting(
        8e-6, "--lambda-mgd", "Weight of the rebuilt maps.", least=0.0, shown="8e-6", equation="5"
    )
    mask: MaskKind = setting(
        "positions",
        "--mgd-mask",
        "What is masked: positions or channels.",
        equation="2",
        unused=(zero("lambda_mgd"), _plain),
    )
    dropped: float = setting(
        0.65,
        "--mgd-dropped",
        "Share that is masked.",
        least=0.0,
        most=0.99,
        unused=(zero("lambda_mgd"),),
    )
    generation: bool = setting(
        True,
        "--generation",
        "Rebuild the teacher's maps instead of comparing channels.",
        unused=(zero("lambda_mgd"),),
    )


@dataclass(frozen=True)
class MgdOptions(BlockOptions, StudentGanOptions, PerceptualOptions, MaskOptions):
    """DCD's knobs, with this term in place of its own."""


WEIGHT = "its weight there is unknown, here its first gradient is as long as DCD's"
RELEASED = (
    "compiled code of DCD's authors: no generation, 15% of channels masked; weight as for mgd"
)
WITHOUT = {"generation": False, "dropped": 0.15, "lambda_mgd": 4.8}
PRESETS: tuple[Preset, ...] = (
    *rows("mgd", "mgd", "FID 67.57", {}, WEIGHT),
    *rows("mgd", "mgd-released", "FID 67.57", WITHOUT, RELEASED),
)
