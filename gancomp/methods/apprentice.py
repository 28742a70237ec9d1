"""A student that learns from a teacher, finished or in training, without a part in its game."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step, always
from gancomp.methods.base import Components, Method, adversarial_phases
from gancomp.networks.base import TappedNetwork


class Apprentice(Method):
    """The teacher and its discriminator have their turns first, unless they are frozen.

    A subclass makes the phases with `begin_with_teacher` and says in `own_losses` what its own
    phases minimize.

    Args:
        components: with a student.

    Raises:
        ConfigError: without a student.
    """

    finished_teacher = True
    _phases: list[Phase]

    def __init__(self, components: Components) -> None:
        super().__init__()
        self.task, self.student = components.task, components.trained_student(self.name)
        self.perceptual = components.perceptual

    def begin_with_teacher(self, components: Components, own: list[Phase]) -> list[Phase]:
        """The teacher's phases and then `own`; these alone if it is frozen."""
        if self.task.frozen:
            return own
        return [*adversarial_phases(self.task, components.optimizer, active=always), *own]

    @abstractmethod
    def own_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms of a phase that is not the teacher's or its discriminator's."""

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms: the task's for teacher and discriminator, else the method's own."""
        if phase == "teacher":
            return self.task.generator_losses(step)
        if phase == "discriminator":
            return self.task.discriminator_losses(step)
        return self.own_losses(phase, step)

    def phases(self) -> list[Phase]:
        """Teacher and discriminator (unless frozen), then the method's own."""
        return self._phases

    def generators(self) -> dict[str, TappedNetwork]:
        """The teacher and the student."""
        return {"teacher": self.task.generator, "student": self.student}

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks and the student; a subclass adds its own."""
        return self.task.networks() | {"student": self.student}
