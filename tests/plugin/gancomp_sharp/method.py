"""A method with three knobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.declare import setting, zero
from gancomp.engine.phases import Phase, Step, always
from gancomp.methods.base import Components, Method, adam, adversarial_phases
from gancomp.networks.base import TappedNetwork


@dataclass(frozen=True)
class SharpOptions:
    """Three knobs."""

    lambda_copy: float = setting(10.0, "--lambda-copy", "Weight of the copy.", least=0.0)
    lambda_edges: float = setting(
        1.0, "--lambda-edges", "Weight of the edges.", least=0.0, equation="2", unit="levels"
    )
    edges: Literal["rows", "columns"] = setting(
        "rows", "--edges", "Which edges: rows or columns.", unused=(zero("lambda_edges"),)
    )


class Sharp(Method):
    """The student's picture and its edges should be the teacher's."""

    name = "sharp"
    paper = "no paper: a plug-in of the tests"
    tasks = ("unpaired", "paired")
    has_features = False
    Options = SharpOptions

    def __init__(self, components: Components, options: SharpOptions) -> None:
        super().__init__()
        assert components.student is not None
        self.task, self.student, self.options = components.task, components.student, options
        self._phases = [
            *adversarial_phases(self.task, components.optimizer, active=always),
            Phase("student", self.student, adam(self.student, components.optimizer)),
        ]

    def phases(self) -> list[Phase]:
        return self._phases

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        if phase == "teacher":
            return self.task.generator_losses(step)
        if phase == "discriminator":
            return self.task.discriminator_losses(step)
        wanted = self.task.teacher(step).fake.detach()
        fake = self.student(step.batch["source"])
        axis = 2 if self.options.edges == "rows" else 3
        edges = F.l1_loss(fake.diff(dim=axis), wanted.diff(dim=axis))
        return {
            "copy": self.options.lambda_copy * F.l1_loss(fake, wanted),
            "edges": self.options.lambda_edges * edges,
        }

    def generators(self) -> dict[str, TappedNetwork]:
        return {"teacher": self.task.generator, "student": self.student}

    def networks(self) -> dict[str, nn.Module]:
        return self.task.networks() | {"student": self.student}


GANCOMP = {"methods": {"sharp": Sharp}}
