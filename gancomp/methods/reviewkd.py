"""ReviewKD, also called KRD (knowledge review, CVPR 2021), in place of DCD's eq. 6."""

from __future__ import annotations

from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.losses.maps import adapted_map_loss, pyramid_loss
from gancomp.methods.adaptors import AttentionFusion
from gancomp.methods.map_distillation import MapDistillation
from gancomp.methods.reviewkd_options import ReviewKdOptions
from gancomp.seeding import derive_generator


class ReviewKd(MapDistillation):
    """DCD, but each of the student's maps is mixed with those behind it and compared in a pyramid.

    What DCD's authors compared with mixes in the order of the taps' names and has no pyramid.
    """

    name = "reviewkd"
    shared_by_ranks = True
    paper = "Distilling Knowledge via Knowledge Review, CVPR 2021; within DCD, table 2 (KRD)"
    Options = ReviewKdOptions
    weight = "lambda_reviewkd"
    options: ReviewKdOptions

    def make_adaptors(self) -> nn.Module:
        """The fusion of all taps."""
        student = list(self.student.tap_channels.values())
        teacher = list(self.matched.teacher_channels.values())
        order = self._order()
        return AttentionFusion(
            [student[index] for index in order],
            [teacher[index] for index in order],
            generator=derive_generator(self.seed, "init", "fusion"),
        )

    def map_loss(self, step: Step, teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        """The pyramid's distance of fused maps, or their mean squared one; summed over taps."""
        order = self._order()
        fused = self.adaptors([student[index] for index in order])
        distance = pyramid_loss if self.options.pyramid else adapted_map_loss
        return distance([teacher[index] for index in order], fused)

    def _order(self) -> list[int]:
        """The taps' indices: what comes last is mixed first."""
        names = self.matched.of_teacher
        if self.options.fusion_order == "depth":
            return list(range(len(names)))
        return sorted(range(len(names)), key=lambda index: names[index])
