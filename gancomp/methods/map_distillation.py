"""DCD with another distance of feature maps in place of eq. 6: the rows of its table 2."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.methods.base import Components
from gancomp.methods.distillation import Distillation
from gancomp.methods.matched_taps import MatchedTaps
from gancomp.methods.shared_options import BlockOptions, StudentGanOptions
from gancomp.sizes import Size
from gancomp.tasks.base import Translation


class MapDistillation(Distillation):
    """All as `Dcd` has it (GAN, perceptual terms, order, blocks), but for how maps are compared.

    A subclass makes what is trained with the student, `make_adaptors`, and compares, `map_loss`;
    its own options have its weight under the name of `weight`.

    Args:
        components: with a student.
        options: with the weight.
    """

    replayable = True
    weight: str
    adaptors: nn.Module

    def __init__(self, components: Components, options: BlockOptions) -> None:
        assert isinstance(options, StudentGanOptions)
        super().__init__(components, options)
        self.map_weight: float = getattr(options, self.weight)
        self.refuse_no_loss(self.map_weight, self.weight)
        self.matched, self.seed = MatchedTaps(self.task.generator, self.student), components.seed
        self.adaptors = self.make_adaptors()
        if self.map_weight > 0:
            self.record(self.matched.of_teacher, self.matched.of_student)
        self._phases = self.make_phases(components, [self.adaptors] if self.map_weight > 0 else [])

    @abstractmethod
    def make_adaptors(self) -> nn.Module:
        """What brings the student's maps to the teacher's; initial weights by the run's seed."""

    @abstractmethod
    def map_loss(self, step: Step, teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        """The unweighted term.

        Args:
            step: random numbers are drawn by its index.
            teacher: detached maps, one per tap, `(N, C_T, H, W)`.
            student: its own, `(N, C_S, H, W)`.
        """

    def check_size(self, size: Size) -> None:
        """Refuses networks whose maps differ in size.

        Raises:
            ConfigError: naming the networks and the way out.
        """
        super().check_size(size)
        if self.map_weight > 0:
            self.matched.sizes(size)

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, the student and the adaptors."""
        return super().networks() | {"adaptors": self.adaptors}

    def own_losses(
        self, step: Step, teacher: Translation, student: Translation
    ) -> dict[str, Tensor]:
        """The weighted distance of the maps."""
        if self.map_weight == 0:
            return {}
        pairs = self.matched.pairs(teacher.taps, student.taps)
        loss = self.map_loss(step, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
        return {self.name: self.map_weight * loss}
