"""A student that learns beside its teacher: what the methods for translation have in common.

`Distillation` is their base; the order of turns (`BlockSchedule`) and the perceptual terms stand by
themselves below it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Progress, Step
from gancomp.errors import ConfigError
from gancomp.losses.feature import feature_loss, style_loss
from gancomp.losses.perceptual import PerceptualFeatures
from gancomp.methods.base import Components, Method, adam, adversarial_phases
from gancomp.methods.shared_options import BlockOptions, PerceptualOptions, StudentGanOptions
from gancomp.networks.base import TappedNetwork
from gancomp.sizes import Size
from gancomp.tasks.base import Translation

GAN_INSTEAD = ", or remove `student_gan=False`"


class Distillation(Method):
    """Teacher (unless frozen), discriminator, student: jointly or in blocks.

    The student imitates the teacher as it was at the start of the step: its output and maps are
    those of the one forward pass that also trains the teacher. It minimizes its GAN term and the
    perceptual terms, as far as they have a weight, and what a subclass adds: `own_losses`, which is
    all that it must have. What it trains with the student it hands over as it makes the phases.

    Args:
        components: with a student.
        options: the method's own, with the perceptual ones if it has such terms.
        lambda_fools: weight of the student's own GAN term; None is what `StudentGanOptions` say, 0
            without them.
        lambda_judged: weight of the student's fakes in the discriminator's loss; likewise.

    Raises:
        ConfigError: without a student, for half a block schedule, or for a term without taps.
    """

    hosts_only: ClassVar[frozenset[str]] = frozenset()  # options that are not of `own_losses`
    options: BlockOptions
    _phases: list[Phase]

    def __init__(
        self,
        components: Components,
        options: BlockOptions,
        *,
        lambda_fools: float | None = None,
        lambda_judged: float | None = None,
    ) -> None:
        super().__init__()
        self.options, self.blocks = options, BlockSchedule.of(options)
        if isinstance(options, PerceptualOptions):
            check_perceptual(options)
        self.lambda_fools, self.lambda_judged = (
            (getattr(options, name, 0.0) if weight is None else weight)
            for name, weight in (("lambda_fools", lambda_fools), ("lambda_judged", lambda_judged))
        )
        self.task, self.student = components.task, components.trained_student(self.name)
        self.perceptual = components.perceptual
        self.student_taps: tuple[str, ...] = ()
        self.guests = nn.ModuleDict()
        self.guest_weights: dict[str, float] = {}
        self._components = components
        self._phases = []

    @abstractmethod
    def own_losses(
        self, step: Step, teacher: Translation, student: Translation
    ) -> dict[str, Tensor]:
        """What this method adds to the student's weighted terms; no weight, no term."""

    @staticmethod
    def perceptual_taps(options: BlockOptions) -> tuple[str, ...]:
        """The taps of those perceptual terms that have a weight."""
        return perceptual_taps(options) if isinstance(options, PerceptualOptions) else ()

    def record(self, teacher_taps: Iterable[str], student_taps: Iterable[str]) -> None:
        """From now on, the translations bring these maps along."""
        recorded = dict.fromkeys((*self.task.recorded_taps, *teacher_taps))
        self.task.recorded_taps = tuple(recorded)
        self.student_taps = tuple(dict.fromkeys((*self.student_taps, *student_taps)))

    def make_phases(
        self, components: Components, learners: Iterable[nn.Module] = ()
    ) -> list[Phase]:
        """The phases in their order; `learners` are trained with the student."""
        trained = nn.ModuleList([self.student, *learners])
        phases = adversarial_phases(
            self.task,
            components.optimizer,
            keeps_graph_of=(self.student,) if self.lambda_judged > 0 else (),
            active=self.blocks.is_teachers_turn,
        )
        student = Phase(
            "student",
            trained,
            adam(trained, components.optimizer),
            active=self.blocks.is_students_turn,
        )
        return [*phases, student]

    @classmethod
    def further_teacher(cls, task: str, options: Any) -> str | None:
        """What teacher this method's own terms need beside the run's, in words; usually none."""
        return None

    def invite(self, name: str, guest: Distillation, weight: float, components: Components) -> None:
        """Adds `weight` times the terms that `guest` has of its own to the student's.

        Args:
            name: begins the terms' and networks' names.
            guest: built from the same components.
            weight: of all its terms.
            components: of both.
        """
        self.guests[name], self.guest_weights[name] = guest, weight
        self.record((), guest.student_taps)
        *before, own = self.phases()
        *_, other = guest.phases()
        assert isinstance(own.module, nn.ModuleList)
        assert isinstance(other.module, nn.ModuleList)
        learners = [item for item in other.module if item is not self.student]
        trained = nn.ModuleList([*own.module, *learners])
        optimizer = adam(trained, components.optimizer)
        self._phases = [*before, replace(own, module=trained, optimizer=optimizer)]

    def check_size(self, size: Size) -> None:
        """Raises ConfigError if the networks cannot work together on images of `size`."""
        super().check_size(size)
        for guest in self._invited().values():
            guest.check_size(size)

    def _invited(self) -> dict[str, Distillation]:
        guests = {name: guest for name, guest in self.guests.items()}
        assert all(isinstance(guest, Distillation) for guest in guests.values())
        return guests  # type: ignore[return-value]

    def phases(self) -> list[Phase]:
        """Teacher (unless frozen), discriminator, student."""
        if not self._phases:
            self._phases = self.make_phases(self._components)
        return self._phases

    def generators(self) -> dict[str, TappedNetwork]:
        """The teacher and the student."""
        return {"teacher": self.task.generator, "student": self.student}

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, the student, and guests' own; a subclass adds its own."""
        networks = self.task.networks() | {"student": self.student}
        for name, guest in self._invited().items():
            for key, network in guest.networks().items():
                if not any(network is known for known in networks.values()):
                    networks[f"{name}_{key}"] = network
        return networks

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms: the task's for teacher and discriminator, its own for the student."""
        if phase == "teacher":
            return self.task.generator_losses(step)
        if phase == "discriminator":
            return self._discriminator_losses(step)
        return self.student_losses(step) | self._guest_losses(step)

    def _guest_losses(self, step: Step) -> dict[str, Tensor]:
        """`NAME_TERM` for each guest's own terms, `NAME` for the one that is called so itself."""
        losses: dict[str, Tensor] = {}
        for name, guest in self._invited().items():
            own = guest.own_losses(step, self.task.teacher(step), self.translate(step))
            for term, loss in own.items():
                full = name if term == name else f"{name}_{term}"
                losses[full] = self.guest_weights[name] * loss
        return losses

    def _discriminator_losses(self, step: Step) -> dict[str, Tensor]:
        """DCD's eq. 7, the discriminator's side."""
        if self.lambda_judged == 0:
            return self.task.discriminator_losses(step)
        return self.task.discriminator_losses(step, self.translate(step).fake, self.lambda_judged)

    def translate(self, step: Step) -> Translation:
        """The student's translation with its maps, computed once for all phases that need it."""

        def compute() -> Translation:
            source = step.batch["source"]
            return Translation(*self.student.forward_with_taps(source, self.student_taps))

        translation: Translation = step.once("student", compute)
        return translation

    def student_losses(self, step: Step) -> dict[str, Tensor]:
        """DCD's eq. 8, the student's side, with what this method has for its third term."""
        teacher, student = self.task.teacher(step), self.translate(step)
        losses: dict[str, Tensor] = {}
        if self.lambda_fools > 0:
            losses["gan"] = self.lambda_fools * self.task.student_gan_loss(step, student.fake)
        if isinstance(self.options, PerceptualOptions):
            fakes = teacher.fake.detach(), student.fake
            losses |= perceptual_losses(self.perceptual, self.options, *fakes)
        return losses | self.own_losses(step, teacher, student)

    def schedule_epoch(self, epoch: int) -> int:
        """In blocks, the learning rate moves with the teacher's epochs only."""
        return self.blocks.schedule_epoch(epoch)

    def num_epochs(self, schedule_epochs: int) -> int:
        """In blocks, the student's come on top of the schedule's."""
        return self.blocks.num_epochs(schedule_epochs)

    def refuse_no_loss(self, weight: float, *fields: str) -> None:
        """Refuses a student without any loss term.

        Args:
            weight: of the method's own terms.
            fields: what sets it.

        Raises:
            ConfigError: naming what to do.
        """
        if weight > 0 or self.lambda_fools > 0:
            return
        if self.perceptual is not None and self.perceptual_taps(self.options):
            return
        named = ", ".join(f"`{field}`" for field in fields)
        competes = isinstance(self.options, StudentGanOptions)
        raise ConfigError(
            f"the student has no loss term: give {named}, `lambda_feature` or `lambda_style` a "
            f"weight (the latter two need `perceptual`){GAN_INSTEAD if competes else ''}"
        )


@dataclass(frozen=True)
class BlockSchedule:
    """Whose turn it is. The rate moves with the teacher's epochs only, as OMGD and DCD released it.

    Attributes:
        teacher_epochs: of each block; 0 trains both jointly.
        student_epochs: after them, in which the teacher and its discriminators rest.
    """

    teacher_epochs: int
    student_epochs: int

    @classmethod
    def of(cls, options: BlockOptions) -> BlockSchedule:
        """As the options say.

        Raises:
            ConfigError: if only one of the block lengths is set.
        """
        teacher, student = options.teacher_block_epochs, options.student_block_epochs
        if (teacher > 0) != (student > 0):
            raise ConfigError(
                "`teacher_block_epochs`, `student_block_epochs`: give both (blocks) or neither "
                "(joint)"
            )
        return cls(teacher, student)

    @property
    def is_joint(self) -> bool:
        """Whether both learn in every step."""
        return self.teacher_epochs == 0

    def schedule_epoch(self, epoch: int) -> int:
        """The epoch that decides the learning rate."""
        if self.is_joint:
            return epoch
        block, position = divmod(epoch, self.teacher_epochs + self.student_epochs)
        return block * self.teacher_epochs + min(position, self.teacher_epochs - 1)

    def num_epochs(self, schedule_epochs: int) -> int:
        """Each `teacher_epochs` of the schedule (or what is left of it) bring the student's."""
        if self.is_joint:
            return schedule_epochs
        blocks = math.ceil(schedule_epochs / self.teacher_epochs)
        return schedule_epochs + blocks * self.student_epochs

    def is_students_turn(self, progress: Progress) -> bool:
        """Whether the student learns in the step after `progress`."""
        if self.is_joint:
            return True
        # the last block comes after the last teacher epoch, be its own block complete or not
        in_last = progress.epoch >= progress.num_epochs - self.student_epochs
        position = progress.epoch % (self.teacher_epochs + self.student_epochs)
        return in_last or position >= self.teacher_epochs

    def is_teachers_turn(self, progress: Progress) -> bool:
        """Whether teacher and discriminators learn in the step after `progress`."""
        return self.is_joint or not self.is_students_turn(progress)


def perceptual_taps(options: PerceptualOptions) -> tuple[str, ...]:
    """The VGG taps of those terms that have a weight, in the network's order."""
    wanted = set(options.feature_taps if options.lambda_feature > 0 else ())
    wanted |= set(options.style_taps if options.lambda_style > 0 else ())
    return tuple(sorted(wanted))


def check_perceptual(options: PerceptualOptions) -> None:
    """Checks that whatever has a weight has taps.

    Raises:
        ConfigError: naming the setting without taps.
    """
    for weight, taps in (("lambda_feature", "feature_taps"), ("lambda_style", "style_taps")):
        if getattr(options, weight) > 0 and not getattr(options, taps):
            raise ConfigError(
                f"method.options.{taps}: is empty; name VGG16 taps or set `{weight}` 0"
            )


def perceptual_losses(
    network: PerceptualFeatures | None,
    options: PerceptualOptions,
    teacher_fake: Tensor,
    student_fake: Tensor,
) -> dict[str, Tensor]:
    """DCD's eq. 3: the weighted terms between two images; none without a network.

    Args:
        network: VGG, frozen.
        options: weights and taps.
        teacher_fake: `(N, 3, H, W)` in [-1, 1]; no gradient flows into it.
        student_fake: of the same shape.
    """
    if network is None:
        return {}
    with torch.no_grad():
        teacher = network(teacher_fake)
    return weighted_terms(options, teacher, network(student_fake))


def weighted_terms(
    options: PerceptualOptions, teacher: Mapping[str, Tensor], student: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The same of maps that are there already, by tap: `feature` (eq. 4) and `style` (eq. 5)."""
    losses: dict[str, Tensor] = {}
    if options.lambda_feature > 0:
        maps = _pick(teacher, options.feature_taps), _pick(student, options.feature_taps)
        losses["feature"] = options.lambda_feature * feature_loss(*maps)
    if options.lambda_style > 0:
        maps = _pick(teacher, options.style_taps), _pick(student, options.style_taps)
        style = style_loss(*maps, reduction=options.style_reduction)
        losses["style"] = options.lambda_style * style
    return losses


def _pick(maps: Mapping[str, Tensor], taps: tuple[str, ...]) -> list[Tensor]:
    return [maps[tap] for tap in taps]
