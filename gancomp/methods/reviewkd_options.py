"""ReviewKD's knobs within DCD, and its rows of settings; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gancomp.declare import setting, zero
from gancomp.methods.map_presets import rows
from gancomp.methods.shared_options import BlockOptions, PerceptualOptions, StudentGanOptions
from gancomp.preset_parts import Preset


@dataclass(frozen=True)
class ReviewOptions:
    """How maps are mixed and compared.

    Attributes:
        lambda_reviewkd: weight of the term. With 1.3 its gradient on a fresh student is as long as
            that of DCD's; ReviewKD has 0.6 to 8.
        pyramid: compare averages over 4x4, 2x2 and 1 cells too ("hierarchical context loss").
        fusion_order: `depth` mixes from the deepest tap to the shallowest; `names` from the last of
            the taps' sorted names, as DCD's authors had it: `model.9`, then 18, 15, 12.
    """

    lambda_reviewkd: float = setting(
        1.3, "--lambda-reviewkd", "Weight of the reviewed maps.", least=0.0
    )
    pyramid: bool = setting(
        True,
        "--pyramid",
        "Compare averages over 4x4, 2x2 and 1 cells too.",
        unused=(zero("lambda_reviewkd"),),
    )
    fusion_order: Literal["depth", "names"] = setting(
        "depth",
        "--fusion-order",
        "Which tap is mixed first: the deepest (depth) or the last by name (names).",
        unused=(zero("lambda_reviewkd"),),
    )


@dataclass(frozen=True)
class ReviewKdOptions(BlockOptions, StudentGanOptions, PerceptualOptions, ReviewOptions):
    """DCD's knobs, with this term in place of its own."""


WEIGHT = "its weight there is unknown, here its first gradient is as long as DCD's"
RELEASED = "compiled code of DCD's authors: no pyramid, taps mixed by name; weight as for reviewkd"
WITHOUT = {"pyramid": False, "fusion_order": "names", "lambda_reviewkd": 1.0}
PRESETS: tuple[Preset, ...] = (
    *rows("reviewkd", "reviewkd", "FID 61.53", {}, WEIGHT),
    *rows("reviewkd", "reviewkd-released", "FID 61.53", WITHOUT, RELEASED),
)
