"""Masked generative distillation (MGD, ECCV 2022) in place of DCD's eq. 6."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.losses.feature import feature_loss
from gancomp.losses.maps import generated_map_loss
from gancomp.methods.adaptors import GenerationBlock
from gancomp.methods.map_distillation import MapDistillation
from gancomp.methods.mgd_options import MgdOptions
from gancomp.ranks import current
from gancomp.seeding import derive_generator


class Mgd(MapDistillation):
    """DCD, but the teacher's maps are rebuilt from the student's, parts of which are masked.

    What DCD's authors compared with has no such block: see `map_loss`.
    """

    name = "mgd"
    shared_by_ranks = True
    paper = "Masked Generative Distillation, ECCV 2022; within DCD, table 2"
    Options = MgdOptions
    weight = "lambda_mgd"
    options: MgdOptions

    def make_adaptors(self) -> nn.Module:
        """One generation block per tap, or one 1x1 convolution with BatchNorm and ReLU."""
        if not self.options.generation:
            return self.matched.adaptors("conv-bn-relu", self.seed)
        return nn.ModuleList(
            GenerationBlock(
                self.student.tap_channels[tap],
                channels,
                mask=self.options.mask,
                dropped=self.options.dropped,
                generator=derive_generator(self.seed, "init", "generation", tap),
            )
            for tap, channels in self.matched.teacher_channels.items()
        )

    def map_loss(self, step: Step, teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        """The squared distance of rebuilt maps, summed over elements and taps, per image.

        Without generation: the mean absolute difference of adapted maps in those channels that are
        not masked, summed over taps.
        """
        return (
            self._rebuilt(step, teacher, student)
            if self.options.generation
            else self._plain(step, teacher, student)
        )

    def _rebuilt(self, step: Step, teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        assert isinstance(self.adaptors, nn.ModuleList)
        losses = []
        for index, (wanted, features) in enumerate(zip(teacher, student, strict=True)):
            block = self.adaptors[index]
            assert isinstance(block, GenerationBlock)
            num, *others = block.uniform_shape(features)
            shape = (current().size * num, *others)
            uniform = current().own(self._uniform(step, index, shape, features))
            losses.append(generated_map_loss(wanted, block(features, uniform)))
        return torch.stack(losses).sum()

    def _plain(self, step: Step, teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        named = dict(zip(self.matched.of_student, student, strict=True))
        losses = []
        pairs = zip(teacher, self.adaptors(named).values(), strict=True)
        for index, (wanted, adapted) in enumerate(pairs):
            channels = wanted.shape[1]
            order = self._uniform(step, index, (channels,), wanted).argsort()
            kept = order[round(self.options.dropped * channels) :]
            losses.append(feature_loss([wanted[:, kept]], [adapted[:, kept]]))
        return torch.stack(losses).sum()

    def _uniform(self, step: Step, index: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Numbers in [0, 1) that depend on seed, step and tap alone."""

        def compute(step_index: int) -> dict[str, Tensor]:
            generator = derive_generator(self.seed, "mask", index, step_index)
            return {"uniform": torch.rand(shape, generator=generator).to(like)}

        return step.drawn(f"mask {index}", compute)["uniform"]
