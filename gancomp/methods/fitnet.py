"""FitNet's hints (Romero et al. 2015) in place of DCD's eq. 6."""

from __future__ import annotations

from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.losses.maps import adapted_map_loss
from gancomp.methods.fitnet_options import FitnetOptions
from gancomp.methods.map_distillation import MapDistillation


class Fitnet(MapDistillation):
    """DCD, but the student's maps reach the teacher's through 1x1 convolutions (DCD's eq. 2).

    Mean squared difference, summed over taps: twice FitNet's eq. 3 per element.
    """

    name = "fitnet"
    shared_by_ranks = True
    paper = "FitNets: Hints for Thin Deep Nets, ICLR 2015; within DCD, table 2"
    Options = FitnetOptions
    weight = "lambda_fitnet"

    def make_adaptors(self) -> nn.Module:
        """One convolution per tap."""
        return self.matched.adaptors("conv", self.seed)

    def map_loss(self, step: Step, teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        """The distance of adapted maps."""
        named = dict(zip(self.matched.of_student, student, strict=True))
        return adapted_map_loss(teacher, list(self.adaptors(named).values()))
