"""FitNet's knobs within DCD, and its rows of settings; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from gancomp.declare import setting
from gancomp.methods.map_presets import rows
from gancomp.methods.shared_options import BlockOptions, PerceptualOptions, StudentGanOptions
from gancomp.preset_parts import Preset


@dataclass(frozen=True)
class HintOptions:
    """How much the maps weigh.

    Attributes:
        lambda_fitnet: weight of their mean squared difference, summed over taps. With 2.1 its
            gradient on a fresh student is as long as that of DCD's term; GAN-Compression has 0.01.
    """

    lambda_fitnet: float = setting(
        2.1, "--lambda-fitnet", "Weight of the distance of adapted maps.", least=0.0
    )


@dataclass(frozen=True)
class FitnetOptions(BlockOptions, StudentGanOptions, PerceptualOptions, HintOptions):
    """DCD's knobs, with this term in place of its own."""


WEIGHT = "its weight there is unknown, here its first gradient is as long as DCD's"
PRESETS: tuple[Preset, ...] = tuple(rows("fitnet", "fitnet", "FID 65.84", {}, WEIGHT))
