"""Revisiting Discriminator in GAN Compression (GCC, NeurIPS 2021): the game kept in balance.

The student has a discriminator whose channels are switched off by learned gates, so that it is no
stronger against the student than the teacher's is against the teacher. Its maps, and what the
teacher's discriminator sees in its images, follow the teacher's, which is trained beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Progress, Step
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.losses.gates import adversarial_gap, selective_activation_loss, smoothed_gap
from gancomp.losses.maps import content_loss, texture_loss
from gancomp.methods.apprentice import Apprentice
from gancomp.methods.base import Components, adam
from gancomp.methods.gcc_options import GccOptions
from gancomp.methods.matched_taps import MatchedTaps
from gancomp.methods.own_task import (
    own_networks,
    own_task,
    pairs_of,
    term_name,
    translation_of,
)
from gancomp.networks.base import TappedNetwork
from gancomp.networks.gated_patchgan import GatedPatchGAN
from gancomp.ranks import current
from gancomp.sizes import Size
from gancomp.tasks.base import Direction, Task, Translation

SECOND_ACTIVATION = "model.4"  # of a PatchGAN


class GapAverages(nn.Module):
    """The teacher's gap of each direction, smoothed over the steps; NaN before the first."""

    gaps: Tensor

    def __init__(self, directions: list[Direction]) -> None:
        super().__init__()
        self.directions = directions
        self.register_buffer("gaps", torch.full((len(directions),), float("nan")))

    def follow(self, direction: Direction, gap: Tensor, momentum: float) -> Tensor:
        """The average after `gap` has been mixed in, a scalar."""
        place = self.directions.index(direction)
        previous = self.gaps[place]
        # without looking at a number, for which a GPU would have to finish all it was given
        previous = torch.where(previous.isnan(), gap.detach(), previous)
        self.gaps[place] = smoothed_gap(gap, previous, momentum)
        return self.gaps[place].clone()


class Gcc(Apprentice):
    """Teacher, its discriminator; student, its discriminator's weights, then that one's gates.

    Unpaired, all of it is there in both directions.
    """

    name = "gcc"
    shared_by_ranks = True
    paper = "Revisiting Discriminator in GAN Compression: A Generator-discriminator Cooperative Compression Scheme, NeurIPS 2021"  # noqa: E501  one title
    has_features = False
    finished_teacher = False
    whole_teacher = ("unpaired", "paired")
    Options = GccOptions
    replayable = False  # how much a new gap counts hangs on the epoch, a number of the host

    def __init__(self, components: Components, options: GccOptions) -> None:
        super().__init__(components)
        self.options, self.momentum = options, 1.0
        width = options.student_d_width or self.task.discriminator.width
        self.students_task = own_task(
            components,
            self.student,
            arch="gated-patchgan",
            width=width,
            norm="batch",
            layers=None,
            threshold=options.gate_threshold,
        )
        self.students_task.further = self.distillation_terms
        own, of_teacher = pairs_of(self.students_task), pairs_of(self.task)
        self.matched = {
            direction: MatchedTaps(of_teacher[direction][0], own[direction][0]) for direction in own
        }
        self._record_taps()
        self.adaptors = nn.ModuleList(
            taps.adaptors("conv-without-bias", components.seed, f"{direction}_adaptors")
            for direction, taps in self.matched.items()
        )
        self.judges: dict[Direction, GatedPatchGAN] = {}
        for direction, (_, judge) in own.items():
            assert isinstance(judge, GatedPatchGAN)
            self.judges[direction] = judge
        self.teacher_gaps = GapAverages(list(own))
        self._phases = self.begin_with_teacher(components, self._own_phases(components))

    def _record_taps(self) -> None:
        for task, side in ((self.task, "of_teacher"), (self.students_task, "of_student")):
            task.recorded_taps = getattr(self.matched["forward"], side)
            if "backward" in self.matched:
                task.recorded_backward_taps = getattr(self.matched["backward"], side)

    def _own_phases(self, components: Components) -> list[Phase]:
        student = nn.ModuleList([self.students_task.teacher_networks(), self.adaptors])
        weights, gates = (
            nn.ParameterList([item for judge in self.judges.values() for item in pick(judge)])
            for pick in (GatedPatchGAN.weights, GatedPatchGAN.gates)
        )
        rates = components.optimizer
        learn_gates = torch.optim.Adam(gates.parameters(), lr=self.options.gate_lr, fused=True)
        learn_gates.register_step_pre_hook(self._clip_gates)
        return [
            Phase("student", student, adam(student, rates)),
            Phase("student_discriminator", weights, adam(weights, rates)),
            Phase("gates", gates, learn_gates, active=self._note_progress),
        ]

    def _clip_gates(self, *_: object) -> None:
        for judge in self.judges.values():
            judge.clip_gates()

    def _note_progress(self, progress: Progress) -> bool:
        """Always their turn; a new gap of the teacher's counts by the share of training left."""
        self.momentum = 1 - progress.epoch / max(1, progress.num_epochs)
        return True

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, those of the student's own, adaptors and averages."""
        own = {"adaptors": self.adaptors, "teacher_gaps": self.teacher_gaps}
        return super().networks() | own_networks(self.students_task) | own

    def check_size(self, size: Size) -> None:
        """Refuses images too small for a network, and generators whose maps differ in size.

        Raises:
            ConfigError: naming the networks and the way out.
        """
        super().check_size(size)
        self.students_task.check_size(size)
        self.matched["forward"].sizes(size)

    def own_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Eq. 9 with the student's GAN, its discriminator's terms, or eq. 6 for the gates."""
        if phase == "student":
            return self.students_task.generator_losses(step)
        if phase == "student_discriminator":
            return self.students_task.discriminator_losses(step)
        return {
            term_name(self.task, "balance", direction): self.balance_loss(step, direction)
            for direction in self.judges
        }

    def distillation_terms(
        self, step: Step, direction: Direction, student: Translation
    ) -> dict[str, Tensor]:
        """Weighted `content` and `gram` terms of one direction's maps and of its images (eq. 9)."""
        options, teacher = self.options, translation_of(self.task, step, direction)
        adapted = self.adaptors[list(self.matched).index(direction)](student.taps)
        pairs = self.matched[direction].pairs(teacher.taps, adapted)
        maps_T, maps_S = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        with torch.no_grad():
            maps_T += self._seen(step, direction, teacher.fake.detach())
        shown = student.fake.detach() if options.detach_features else student.fake
        maps_S += self._seen(step, direction, shown)
        losses = {}
        for name, weight, loss in (
            ("content", options.lambda_content, content_loss),
            ("gram", options.lambda_gram, texture_loss),
        ):
            if weight > 0:
                distance = loss(maps_T, maps_S, distance=options.map_distance)
                losses[term_name(self.task, name, direction)] = weight * distance
        return losses

    def _seen(self, step: Step, direction: Direction, images: Tensor) -> list[Tensor]:
        """The maps of the teacher's discriminator behind its second and its last activation."""
        judge = pairs_of(self.task)[direction][1]
        taps = tuple(dict.fromkeys((SECOND_ACTIVATION, *judge.default_taps)))
        return list(judge.features(_claimed(self.task, step, direction, images), taps).values())

    def balance_loss(self, step: Step, direction: Direction) -> Tensor:
        """How far the student's game is from the teacher's balance, for the gates (eq. 6).

        On what a batch has for the gates alone, if there is any, else on the batch itself.
        """
        held = step.held_out()
        with torch.no_grad():
            fake = translation_of(self.students_task, held, direction).fake.detach()
            fake_T = translation_of(self.task, held, direction).fake.detach()
            gap_T = self._gap(held, direction, fake_T, pairs_of(self.task)[direction][1])[0]
        target = held.batch["target" if direction == "forward" else "source"]
        judge, kind = self.judges[direction], self.task.settings.gan
        gap, fake_term = self._gap(held, direction, fake, judge)
        real = judge(_claimed(self.task, held, direction, target))
        teacher_gap = self.teacher_gaps.follow(direction, gap_T, self.momentum)
        real_term = discriminator_real_loss(kind, real)
        return selective_activation_loss(gap, teacher_gap, real_term, fake_term)

    def _gap(
        self, step: Step, direction: Direction, fake: Tensor, judge: TappedNetwork
    ) -> tuple[Tensor, Tensor]:
        """Eq. 5 of an image, and the discriminator's term in it."""
        kind = self.task.settings.gan
        logits = judge(_claimed(self.task, step, direction, fake))
        fake_term = _of_all(discriminator_fake_loss(kind, logits))
        return adversarial_gap(_of_all(generator_loss(kind, logits)), fake_term), fake_term


def _claimed(task: Task, step: Step, direction: Direction, images: Tensor) -> Tensor:
    """What a discriminator looks at to judge images that claim to be of the direction's target."""
    return task.discriminator_input(step, images) if direction == "forward" else images


def _of_all(term: Tensor) -> Tensor:
    """The mean of a term over all ranks: what a gap of it is not linear in."""
    ranks = current()
    return term if ranks.size == 1 else ranks.gathered(term[None]).mean()
