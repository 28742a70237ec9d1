"""Discriminator-Cooperated Feature Map Distillation (DCD, CVPR 2023), equations 3 to 8.

The teacher's discriminator is used twice: as a feature extractor under which the generators' maps
are compared (`L_dcd`), and as a critic that is trained against teacher and student at once
(collaborative adversarial training). Paper and released code differ in many places; this file
follows the paper, and the options (with the `dcd-released` preset) reach what the code does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.losses.feature import discriminator_concept_loss
from gancomp.methods.base import Components
from gancomp.methods.connectors import Connectors
from gancomp.methods.dcd_options import DcdOptions
from gancomp.methods.distillation import Distillation
from gancomp.methods.matched_taps import MatchedTaps
from gancomp.networks.base import TappedNetwork
from gancomp.networks.batching import running_statistics
from gancomp.networks.shapes import tap_sizes
from gancomp.seeding import derive_generator
from gancomp.sizes import Size, as_size, shown_size, sides
from gancomp.tasks.base import Translation

STEP, REACH = 32, 512  # pixels: larger images that are looked at where some are too small


class Dcd(Distillation):
    """Teacher, discriminator (real, teacher fake, student fake), student: jointly or in blocks.

    The student imitates the teacher as it was at the start of the step: its output and maps are
    those of the one forward pass that also trains the teacher.
    """

    name = "dcd"
    shared_by_ranks = True
    paper = "Discriminator-Cooperated Feature Map Distillation for GAN Compression, CVPR 2023"
    Options = DcdOptions
    replayable = True
    options: DcdOptions

    def __init__(self, components: Components, options: DcdOptions) -> None:
        super().__init__(components, options)
        self.refuse_no_loss(options.lambda_dcd, "lambda_dcd")
        self.discriminator_taps = _known_taps(self.task.discriminator, options.discriminator_taps)
        self.matched = MatchedTaps(self.task.generator, self.student)
        self.teacher_connectors, self.student_connectors = self._make_connectors(components.seed)
        if options.lambda_dcd > 0:
            self.record(self.matched.of_teacher, self.matched.of_student)
        sides = (self.student_connectors, self.teacher_connectors)
        self._phases = self.make_phases(components, [side for side in sides if side.trained])

    def check_size(self, size: Size) -> None:
        """Refuses networks whose maps differ in size, or shrink to nothing in the discriminator.

        Raises:
            ConfigError: naming the networks and the way out.
        """
        super().check_size(size)
        if self.options.lambda_dcd == 0:
            return
        if (small := self._too_small(size)) is not None:
            step = math.lcm(STEP, self.task.generator.size_multiple)
            height, width = sides(size)
            larger = (as_size(height + more, width + more) for more in range(step, REACH, step))
            fitting = next((each for each in larger if self._too_small(each) is None), None)
            use = f"`size` {shown_size(fitting)} or more" if fitting else "a larger `size`"
            raise ConfigError(
                f"`size` {shown_size(size)}: the discriminator reduces the generator's "
                f"{small[0]}x{small[1]} map to less than it can normalize; use {use}, fewer "
                "`d_layers`, `d_norm` batch, or `lambda_dcd` 0"
            )

    def _too_small(self, size: Size) -> tuple[int, int] | None:
        """The first map of images of `size` that the discriminator cannot take; None: it can."""
        for each in self.matched.sizes(size):
            try:
                tap_sizes(
                    self.task.discriminator, self.discriminator_taps, each, running_statistics=True
                )
            except (ValueError, RuntimeError):
                return each
        return None

    def _make_connectors(self, seed: int) -> tuple[Connectors, Connectors]:
        both = self.options.train_connectors == "both"
        sides = (("teacher", self.task.generator), ("student", self.student))
        teacher, student = (
            Connectors(
                generator.tap_channels,
                self.task.discriminator.settings()["in_channels"],
                kind=self.options.connector,
                trained=both or self.options.train_connectors == side,
                generator=derive_generator(seed, "init", f"{side}_connectors"),
            )
            for side, generator in sides
        )
        return teacher, student

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, the student, and both connectors: the frozen ones are random too."""
        return super().networks() | {
            "teacher_connectors": self.teacher_connectors,
            "student_connectors": self.student_connectors,
        }

    def own_losses(
        self, step: Step, teacher: Translation, student: Translation
    ) -> dict[str, Tensor]:
        """The weighted eq. 6."""
        if self.options.lambda_dcd == 0:
            return {}
        return {"dcd": self.options.lambda_dcd * self.dcd_loss(teacher.taps, student.taps)}

    def dcd_loss(
        self, teacher_taps: Mapping[str, Tensor], student_taps: Mapping[str, Tensor]
    ) -> Tensor:
        """Eq. 6 with l = L1: both generators' maps, seen through connectors and discriminator.

        Args:
            teacher_taps: tap name to `(N, C_T, H, W)`; no gradient flows into them.
            student_taps: as many maps of the same sizes, any channels.

        Returns: a scalar, averaged over elements and summed over taps; 0 for identical maps under
            identical connectors.

        The discriminator is not trained here, and its BatchNorm (if any) neither sees nor keeps
        the statistics of feature maps.
        """
        teacher_taps = {tap: features.detach() for tap, features in teacher_taps.items()}
        with running_statistics(self.task.discriminator):
            with torch.set_grad_enabled(self.teacher_connectors.trained):
                teacher = self._concepts(self.teacher_connectors(teacher_taps))
            student = self._concepts(self.student_connectors(student_taps))
        return discriminator_concept_loss(
            dict(zip(student, teacher.values(), strict=True)), student
        )

    def _concepts(self, maps: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """What the discriminator sees in each map; maps of one size go through it together."""
        judge: TappedNetwork = self.task.discriminator
        concepts: dict[str, dict[str, Tensor]] = {}
        for group in _by_size(maps):
            features = judge.features(
                torch.cat([maps[tap] for tap in group]), self.discriminator_taps
            )
            parts = {tap: all_of.chunk(len(group)) for tap, all_of in features.items()}
            for index, tap in enumerate(group):
                concepts[tap] = {name: part[index] for name, part in parts.items()}
        return {tap: concepts[tap] for tap in maps}


def _known_taps(discriminator: TappedNetwork, taps: tuple[str, ...]) -> tuple[str, ...]:
    known = discriminator.tap_names()
    for tap in taps:
        if tap not in known:
            raise ConfigError(
                f"method.options.discriminator_taps: no {tap}; known: {', '.join(known)}"
            )
    return taps or discriminator.default_taps


def _by_size(maps: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of the maps, those of one shape together."""
    groups: dict[torch.Size, list[str]] = {}
    for tap, features in maps.items():
        groups.setdefault(features.shape, []).append(tap)
    return list(groups.values())
