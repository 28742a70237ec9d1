"""A distillation method of your own: one class in one file, named on the command line.

    python examples/add_a_method.py        # trains it for a few steps on drawn pictures
    gancomp distill --plugin examples/add_a_method.py --method mimic --dataset FOLDER

The method here is the simplest there is: the student copies the teacher's picture (L1) while the
teacher is trained beside it. `gancomp methods` lists it, `--help` shows its option, and loop,
checkpoints, resuming, export and scores come for free. A package adds it for good by an entry point
in the group `gancomp.methods`, `mimic = "my_package.mimic:Mimic"`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.__main__ import run
from gancomp.data.demo_set import write_demo_set
from gancomp.declare import setting
from gancomp.engine.phases import Phase, Step, always
from gancomp.methods.base import Components, Method, adam, adversarial_phases
from gancomp.networks.base import TappedNetwork


@dataclass(frozen=True)
class MimicOptions:
    """The method's own knobs; a value outside its limits is refused before training starts."""

    lambda_copy: float = setting(10.0, "--lambda-copy", "Weight of the copy.", above=0.0)


class Mimic(Method):
    """The student's picture should be the teacher's."""

    name = "mimic"
    paper = "no paper: an example"
    Options = MimicOptions

    def __init__(self, components: Components, options: MimicOptions) -> None:
        super().__init__()
        assert components.student is not None
        self.task, self.student, self.options = components.task, components.student, options
        self._phases = [
            # the teacher and its discriminator, as the task (unpaired, paired) trains them
            *adversarial_phases(self.task, components.optimizer, active=always),
            # then the student's turn: this phase may change the student and nothing else
            Phase("student", self.student, adam(self.student, components.optimizer)),
        ]

    def phases(self) -> list[Phase]:
        """Teacher, discriminator, student."""
        return self._phases

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms: what is logged adds up to what is minimized."""
        if phase == "teacher":
            return self.task.generator_losses(step)
        if phase == "discriminator":
            return self.task.discriminator_losses(step)
        teacher_fake = self.task.teacher(step).fake.detach()  # computed once per step, kept
        student_fake = self.student(step.batch["source"])
        return {"copy": self.options.lambda_copy * F.l1_loss(student_fake, teacher_fake)}

    def generators(self) -> dict[str, TappedNetwork]:
        """What the run hands out."""
        return {"teacher": self.task.generator, "student": self.student}

    def networks(self) -> dict[str, nn.Module]:
        """All that a checkpoint must hold."""
        return self.task.networks() | {"student": self.student}


GANCOMP = {"methods": {"mimic": Mimic}}


def main() -> None:
    write_demo_set(Path("shapes"), size=32, train=6, test=2)
    command = (
        "distill --method mimic --lambda-copy 20 --dataset shapes --max-steps 4 --out runs/mimic"
        " --size 32 --arch mobile-resnet6 --width 8 --d-width 8 --d-layers 1"
    )
    sys.exit(run([*command.split(), "--plugin", __file__]))


if __name__ == "__main__":
    main()
