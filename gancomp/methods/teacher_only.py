"""No distillation: the task's own objective trains the teacher alone."""

from __future__ import annotations

from torch import Tensor, nn

from gancomp.declare import NoOptions
from gancomp.engine.phases import Phase, Step, always
from gancomp.methods.base import Components, Method, adversarial_phases
from gancomp.networks.base import TappedNetwork


class TeacherOnly(Method):
    """CycleGAN or pix2pix as published: teacher, then discriminator, on one batch."""

    name = "teacher-only"
    shared_by_ranks = True
    paper = "CycleGAN (Zhu et al. 2017), pix2pix (Isola et al. 2017)"
    distills = False
    has_features = False
    replayable = True

    Options = NoOptions  # the task's are `adversarial` settings

    def __init__(self, components: Components, options: NoOptions) -> None:
        super().__init__()
        self.task = components.task
        self._phases = adversarial_phases(self.task, components.optimizer, active=always)

    def phases(self) -> list[Phase]:
        """Teacher, discriminator."""
        return self._phases

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """The task's own terms."""
        if phase == "teacher":
            return self.task.generator_losses(step)
        return self.task.discriminator_losses(step)

    def generators(self) -> dict[str, TappedNetwork]:
        """The teacher."""
        return {"teacher": self.task.generator}

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks and pools."""
        return self.task.networks()
