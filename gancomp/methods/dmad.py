"""DMAD (AAAI 2022): attention and verdict of a finished teacher and its discriminator.

The student plays the task's whole game by itself, in both directions if there are two, with
discriminators of its own. The differentiable mask, which its shape comes from there, is not part of
this.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.losses.maps import co_attention_loss, map_distance
from gancomp.methods.apprentice import Apprentice
from gancomp.methods.base import Components
from gancomp.methods.dmad_options import DmadOptions
from gancomp.methods.matched_taps import MatchedTaps
from gancomp.methods.own_task import (
    own_networks,
    own_phases,
    own_task,
    pairs_of,
    term_name,
    translation_of,
)
from gancomp.networks.batching import running_statistics
from gancomp.sizes import Size
from gancomp.tasks.base import Direction, Translation
from gancomp.tasks.unpaired import UnpairedTask


class Dmad(Apprentice):
    """The student's own game, and what a finished teacher and its discriminator attend to.

    Per step: the student (with its backward twin, if the data is unpaired), its discriminators. A
    teacher that is not finished has its own two turns before.
    """

    name = "dmad"
    shared_by_ranks = True
    paper = "Learning Efficient GANs for Image Translation via DMAD, AAAI 2022"
    has_features = False
    whole_teacher = ("unpaired", "paired")
    replayable = True
    Options = DmadOptions

    def __init__(self, components: Components, options: DmadOptions) -> None:
        super().__init__(components)
        self.options = options
        self.students_task = own_task(components, self.student)
        self.students_task.further = self.teachers_terms
        self.matched = MatchedTaps(self.task.generator, self.student)
        self.verdict_tap = options.discriminator_tap or self.task.discriminator.default_taps[-1]
        self._check_taps()
        if options.lambda_attention > 0:
            self._record()
        self._phases = self.begin_with_teacher(
            components, own_phases(self.students_task, components)
        )

    def _check_taps(self) -> None:
        known = self.task.discriminator.tap_names()
        for name in ("attention_tap", "discriminator_tap"):
            tap = getattr(self.options, name)
            if tap and tap not in known:
                raise ConfigError(f"method.options.{name}: no {tap}; known: {', '.join(known)}")

    def _record(self) -> None:
        """From now on, the translations of both bring their maps along."""
        both = ((self.task, self.matched.of_teacher), (self.students_task, self.matched.of_student))
        for task, taps in both:
            task.recorded_taps = taps
            if isinstance(task, UnpairedTask):
                task.recorded_backward_taps = taps

    def check_size(self, size: Size) -> None:
        """Refuses networks whose maps differ in size.

        Raises:
            ConfigError: naming the networks and the way out.
        """
        super().check_size(size)
        self.students_task.check_size(size)
        if self.options.lambda_attention > 0:
            self.matched.sizes(size)

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, and those of the student's own."""
        return super().networks() | own_networks(self.students_task)

    def own_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """The student's game with what it takes from the teacher, or its discriminators'."""
        if phase == "student":
            return self.students_task.generator_losses(step)
        return self.students_task.discriminator_losses(step)

    def teachers_terms(
        self, step: Step, direction: Direction, student: Translation
    ) -> dict[str, Tensor]:
        """Weighted co-attention (eqs. 9, 10) and verdict (eq. 12) of one direction's images."""
        options, losses = self.options, {}
        teacher = translation_of(self.task, step, direction)
        weights = (
            (options.attention_tap, options.lambda_attention),
            (self.verdict_tap, options.lambda_discriminator_map),
        )
        taps = tuple(dict.fromkeys(tap for tap, weight in weights if weight > 0))
        seen = self._seen(step, direction, student.fake, taps)
        if options.lambda_attention > 0:
            loss = co_attention_loss(
                list(teacher.taps.values()),
                list(student.taps.values()),
                seen[options.attention_tap],
                detach_target=options.detach_attention,
                eight_bits=options.eight_bits,
            )
            losses["attention"] = options.lambda_attention * loss
        if options.lambda_discriminator_map > 0:
            with torch.no_grad():
                wanted = self._seen(step, direction, teacher.fake, (self.verdict_tap,))
            distance = map_distance(wanted[self.verdict_tap], seen[self.verdict_tap])
            losses["discriminator_map"] = options.lambda_discriminator_map * distance
        return {term_name(self.task, name, direction): term for name, term in losses.items()}

    def _seen(
        self, step: Step, direction: Direction, images: Tensor, taps: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """The maps of the teacher's discriminator, which keeps its running statistics."""
        judge = pairs_of(self.task)[direction][1]
        forward = direction == "forward"
        inputs = self.task.discriminator_input(step, images) if forward else images
        with running_statistics(judge):
            return judge.features(inputs, taps)
