"""A score with an option of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gancomp.declare import setting
from gancomp.metrics.base import ImageSet


@dataclass(frozen=True)
class GapOptions:
    """The norm."""

    gap_power: float = setting(2.0, "--gap-power", "Exponent of the norm.", least=1.0)


class Gap:
    """How far the means of the features lie apart, and how far a feature is off at most."""

    needs = "features"
    Options = GapOptions

    def __init__(self, options: GapOptions) -> None:
        self.options = options

    def scores(self, fakes: ImageSet, reals: ImageSet) -> dict[str, float]:
        assert fakes.features is not None
        assert reals.features is not None
        off = np.abs(fakes.features.mean(axis=0) - reals.features.mean(axis=0))
        power = self.options.gap_power
        return {"gap": float((off**power).sum() ** (1 / power)), "gap_most": float(off.max())}

    def warning(self, num_images: int) -> str | None:
        return None


GANCOMP = {"metrics": {"gap": Gap}}
