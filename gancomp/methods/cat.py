"""Compression-Aware Training (CAT, CVPR 2021): maps that relate the images of a batch alike.

The one-step pruning that the student's shape comes from is not part of this.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step
from gancomp.losses.maps import alignment_loss
from gancomp.methods.apprentice import Apprentice
from gancomp.methods.base import Components, adam
from gancomp.methods.cat_options import CatOptions
from gancomp.methods.matched_taps import MatchedTaps
from gancomp.methods.own_discriminator import OwnDiscriminator
from gancomp.settings import Settings
from gancomp.tasks.base import Translation


class Cat(Apprentice):
    """A GAN of the student's own, its image and how its maps relate images, by a finished teacher.

    No adaptor is needed: images are related to each other, so batches must have two or more.
    """

    name = "cat"
    paper = "Teachers Do More Than Teach: Compressing Image-to-Image Models, CVPR 2021"
    has_features = False
    Options = CatOptions

    def __init__(self, components: Components, options: CatOptions) -> None:
        super().__init__(components)
        self.options = options
        self.own = OwnDiscriminator(self.task, warm=options.warm_discriminator)
        self.matched = MatchedTaps(self.task.generator, self.student)
        if options.lambda_distill > 0:
            self.task.recorded_taps = self.matched.of_teacher
        judge, rates = self.own.network, components.optimizer
        self._phases = self.begin_with_teacher(
            components,
            [
                Phase(
                    "student_discriminator",
                    judge,
                    adam(judge, rates),
                    keeps_graph_of=(self.student,),
                ),
                Phase("student", self.student, adam(self.student, rates)),
            ],
        )

    @staticmethod
    def problems_of(settings: Settings, options: Any) -> list[str]:
        """A batch, or a part of it, of one image: its alignment is always 1."""
        parts, batch_size = options.ka_parts, settings.data.batch_size
        if options.lambda_distill == 0 or batch_size >= 2 * parts:
            return []
        return [
            f"--batch-size {batch_size}: --method cat relates the images of a batch to each other"
            + (f", here of each of {parts} parts" if parts > 1 else "")
            + f"; use {2 * parts} or more"
        ]

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, the student and its discriminator."""
        return super().networks() | {"student_discriminator": self.own.network}

    def own_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms of the student or of its discriminator."""
        student = self._translate(step)
        if phase == "student_discriminator":
            return self.own.losses(step, student.fake)
        options, teacher = self.options, self.task.teacher(step)
        losses = {"gan": self.own.gan_loss(step, student.fake)}
        if options.lambda_recon > 0:
            paired = self.task.name == "paired"
            wanted = step.batch["target"] if paired else teacher.fake.detach()
            losses["recon"] = options.lambda_recon * F.l1_loss(student.fake, wanted)
        if options.lambda_distill > 0:
            pairs = self.matched.pairs(teacher.taps, student.taps)
            maps = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            # a batch tried out in advance may have fewer images than there are parts
            parts = min(options.ka_parts, len(student.fake))
            distance = alignment_loss(*maps, replicas=parts)
            losses["distill"] = options.lambda_distill * distance
        return losses

    def _translate(self, step: Step) -> Translation:
        """The student's translation with its maps, computed once for both phases."""

        def compute() -> Translation:
            taps = self.matched.of_student if self.options.lambda_distill > 0 else ()
            return Translation(*self.student.forward_with_taps(step.batch["source"], taps))

        translation: Translation = step.once("student", compute)
        return translation
