"""DGL-GAN: the student also plays against the teacher's discriminator (Tian et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.losses.gan import generator_loss
from gancomp.methods.adversarial_pair import AdversarialPair, judge_phases, turn_of
from gancomp.methods.base import Components
from gancomp.methods.synthesis import SynthesisMethod, synthesis_task
from gancomp.methods.synthesis_options import DglOptions
from gancomp.networks.base import TappedNetwork
from gancomp.networks.synthesis import SynthesisDiscriminator, SynthesisGenerator
from gancomp.settings import NetworkSettings
from gancomp.tasks.base import new_network
from gancomp.tasks.synthesis import Judged, Styled, SynthesisTask


class Dgl(SynthesisMethod):
    """The student's own adversarial pair, and `lambda_dgl` times the teacher's discriminator.

    The teacher's generator takes no part; it is carried along to be compared with. Where the
    released code runs a later variant, this is the paper's: the term itself, not a weighted one.
    """

    name = "dgl"
    shared_by_ranks = True
    paper = "DGL-GAN: Discriminator Guided Learning for GAN Compression, arXiv 2112.06502"
    Options = DglOptions

    def __init__(self, components: Components, options: DglOptions) -> None:
        super().__init__()
        student = components.trained_student(self.name)
        assert isinstance(student, SynthesisGenerator)
        self.task, self.options = synthesis_task(components), options
        _, teacher_discriminator = self.task.players
        self.pair = AdversarialPair(
            student,
            student_discriminator(self.task, student, options.d_multiplier, components.seed),
            options,
            kind=self.task.settings.gan,
            optimizer=components.optimizer,
            seed=components.seed,
            role="student",
        )
        self.guided = options.is_guided
        self.learns = self.guided and options.teacher_discriminator == "finetune"
        teacher_discriminator.requires_grad_(False).eval()
        judges = []
        if self.learns:
            names = ("teacher_discriminator", "teacher_r1")
            judges = judge_phases(teacher_discriminator, options, components.optimizer, names=names)
        self._phases = self.pair.phases(judges)

    def train(self, mode: bool = True) -> Dgl:
        """Sets the mode of all networks; a frozen discriminator stays as the teacher left it."""
        super().train(mode)
        if not self.learns:
            self.task.discriminator.eval()
        return self

    def generators(self) -> dict[str, TappedNetwork]:
        """The teacher, if there is one, and the student's average."""
        teacher = {"teacher": self.task.generator} if self.task.frozen else {}
        return {**teacher, "student": self.pair.average.network}

    def networks(self) -> dict[str, nn.Module]:
        """Those of the adversarial pair, and the teacher's as far as there are any."""
        networks = self.pair.networks()
        if self.task.frozen:
            networks["teacher_generator"] = self.task.generator
        if self.guided:
            networks["teacher_discriminator"] = self.task.discriminator
        return networks

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Those of the adversarial pair; the student's with the teacher's verdict."""
        _, judge = self.task.players
        name, turn = turn_of(phase)
        if name == "teacher_discriminator":
            return self.pair.judge_losses(step, judge, turn)
        if name == "teacher_r1":
            return self.pair.r1_losses(step, judge, turn)

        def guidance(fakes: Judged) -> dict[str, Tensor]:
            logits = fakes.by(judge)
            self.pair.note(step, "judged_by_teacher", logits)
            return {"dgl": self.options.lambda_dgl * generator_loss(self.pair.kind, logits)}

        return self.pair.losses(phase, step, guidance if self.guided else None)

    def go_on_from(self, role: str, states: Mapping[str, Any]) -> None:
        """Goes on from the networks of another run: the student's, or a teacher's average."""
        if role == "student":
            self.pair.go_on_from(states)
            return
        self.task.generator.load_state_dict(states["average"])
        self.task.discriminator.load_state_dict(states["discriminator"])


def student_discriminator(
    task: SynthesisTask, student: SynthesisGenerator, multiplier: float | None, seed: int
) -> SynthesisDiscriminator:
    """A fresh discriminator like the teacher's, `multiplier` times as wide.

    None: as much narrower as the student is than its teacher where there are styles (StyleGAN2,
    released launcher), else as wide (BigGAN, released script).
    """
    generator, like = task.players
    if multiplier is None:
        ratio = student.settings()["width"] / generator.settings()["width"]
        multiplier = ratio if isinstance(student, Styled) else 1.0
    width = max(1, round(like.settings()["width"] * multiplier))
    settings = NetworkSettings(arch=like.arch, **(like.settings() | {"width": width}))
    network = new_network(settings, seed, "student_discriminator")
    assert isinstance(network, SynthesisDiscriminator)
    return network
