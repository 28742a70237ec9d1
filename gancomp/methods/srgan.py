"""The four techniques of SRGAN distillation (Lee and Park 2021): what the student learns from.

| technique | teacher | student minimizes | discriminators |
|---|---|---|---|
| gan2g | SRGAN | C + w_kd K | none |
| gan2g-al | SRGAN | C + w_kd K + w_adv A | D: photographs against student |
| g2g-al | SRResNet tuned by C alone | C + w_kd K + w_adv A | D |
| gan2gan | SRGAN | C + w_kd K + w_adv A + w_kd_adv A2 | D, and D2: teacher against student |

The released code does not run, and in what can be read of it gan2gan's second discriminator is
trained but never asked; here it acts on the student (`kd_adv_weight` 0 is the release). Student and
discriminators learn at once, from one forward pass of the student: all see the others as they
were at the start of the step.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Progress, Step, always
from gancomp.errors import ConfigError
from gancomp.losses.gan import generator_loss
from gancomp.losses.perceptual import PerceptualFeatures, content_loss
from gancomp.losses.pixel import pixel_loss
from gancomp.methods.base import Components, Method, adam
from gancomp.methods.srgan_options import (
    AdversarialOptions,
    ContentOptions,
    Gan2GanOptions,
    GanTeacherOptions,
    KdOptions,
)
from gancomp.networks.base import TappedNetwork
from gancomp.settings import OptimizerSettings
from gancomp.tasks.base import like
from gancomp.tasks.super_resolution import SuperResolutionTask

PAPER = "A Study of Lightening SRGAN Using Knowledge Distillation, J. KMMS 24(12), 2021"


class SuperResolutionMethod(Method):
    """What training with a content loss needs, with or without a teacher."""

    tasks = ("super-resolution",)
    replayable = True
    task: SuperResolutionTask
    perceptual: PerceptualFeatures | None
    options: ContentOptions

    def content_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """C: mean squared difference of the VGG maps, each divided by `content_scale`."""
        assert self.perceptual is not None
        tap = self.options.content_tap
        with torch.no_grad():
            wanted = self.perceptual(targets)[tap]
        found = self.perceptual(images)[tap]
        return content_loss(found, wanted, self.options.content_scale)

    def make_phase(
        self,
        name: str,
        module: nn.Module,
        rates: OptimizerSettings,
        *,
        start_step: int = 0,
    ) -> Phase:
        """A phase whose rate falls at `drop_step`, and which may begin later."""
        drop_step = start_step + self.options.drop_step  # counted from its own first step

        def has_begun(progress: Progress) -> bool:
            return progress.step >= start_step

        def slowed(progress: Progress) -> float:
            return 0.1 if progress.step >= drop_step else 1.0

        active = has_begun if start_step else always
        return Phase(name, module, adam(module, rates), active=active, slowed=slowed)


def super_resolution_task(components: Components) -> SuperResolutionTask:
    """The task, which `tasks` has made sure of."""
    assert isinstance(components.task, SuperResolutionTask)
    return components.task


def require_features(method: str, perceptual: PerceptualFeatures | None) -> None:
    """Raises ConfigError if the content loss has no feature network."""
    if perceptual is None:
        raise ConfigError(
            f"`perceptual` none: `method` {method} has a content loss; use vgg19, "
            "vgg16 (with `content_tap`) or random"
        )


class SrganDistillation(SuperResolutionMethod):
    """The student learns from photographs, the teacher and, by technique, discriminators.

    The teacher is frozen in inference mode: neither its weights nor its statistics ever change.
    """

    paper = PAPER
    teacher_objective: ClassVar[str] = "gan"
    Options: ClassVar[type] = KdOptions
    options: KdOptions

    def __init__(self, components: Components, options: KdOptions) -> None:
        super().__init__()
        if not components.task.frozen:
            raise ConfigError(
                f"`freeze_teacher=False`: `method` {self.name} learns from a finished teacher; "
                "remove the option"
            )
        require_features(self.name, components.perceptual)
        self.task, self.student = (
            super_resolution_task(components),
            components.trained_student(self.name),
        )
        self.perceptual, self.options = components.perceptual, options
        self.judges = nn.ModuleDict(self.make_judges(components.seed))
        self._phases = [self.make_phase("student", self.student, components.optimizer)]
        self._phases += [
            self.make_phase(name, judge, components.optimizer, start_step=self.adversary_start())
            for name, judge in self.judges.items()
        ]

    def make_judges(self, seed: int) -> dict[str, nn.Module]:
        """The discriminators by name, in the order of their phases."""
        return {}

    def adversary_start(self) -> int:
        """The step from which on there is adversarial learning."""
        return 0

    @staticmethod
    def perceptual_taps(options: ContentOptions) -> tuple[str, ...]:
        """The tap of the content loss."""
        return (options.content_tap,)

    def phases(self) -> list[Phase]:
        """Student, then the discriminators."""
        return self._phases

    def generators(self) -> dict[str, TappedNetwork]:
        """The teacher and the student."""
        return {"teacher": self.task.generator, "student": self.student}

    def networks(self) -> dict[str, nn.Module]:
        """The teacher, the student and the discriminators."""
        return self.task.networks() | {"student": self.student} | dict(self.judges.items())

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms of the table above."""
        if phase == "student":
            return self._transfer_losses(step) | self.adversarial_losses(step)
        return self.judge_losses(phase, step)

    def enlarge(self, step: Step) -> Tensor:
        """The student's `(N, 3, H, W)`, computed once for all phases."""
        fake: Tensor = step.once("student", lambda: self.student(step.batch["source"]))
        return fake

    def _transfer_losses(self, step: Step) -> dict[str, Tensor]:
        """C and K; what has no weight is not computed."""
        fake, options = self.enlarge(step), self.options
        losses = {"content": self.content_loss(fake, step.batch["target"])}
        if options.kd_weight > 0:
            distance = pixel_loss if options.kd_loss == "pixel" else self.content_loss
            losses["kd"] = options.kd_weight * distance(fake, self.task.teacher(step).fake)
        return losses

    def adversarial_losses(self, step: Step) -> dict[str, Tensor]:
        """The student's terms under the discriminators."""
        return {}

    def judge_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """The terms of the discriminator of that name."""
        raise AssertionError(f"{self.name} has no phase {phase}")


class Gan2G(SrganDistillation):
    """Transfer alone, from a teacher trained as SRGAN."""

    name = "gan2g"
    shared_by_ranks = True


class Gan2GAl(SrganDistillation):
    """Transfer and adversarial learning, from a teacher trained as SRGAN."""

    name = "gan2g-al"
    shared_by_ranks = True
    Options: ClassVar[type] = GanTeacherOptions
    options: AdversarialOptions

    def make_judges(self, seed: int) -> dict[str, nn.Module]:
        """D."""
        return {"discriminator": self.task.discriminator}

    def adversary_start(self) -> int:
        """`al_start_step`."""
        return self.options.al_start_step

    def adversarial_losses(self, step: Step) -> dict[str, Tensor]:
        """A, from its step on."""
        if step.index < self.options.al_start_step or self.options.adv_weight == 0:
            return {}
        loss = self.task.student_gan_loss(step, self.enlarge(step))
        return {"adversarial": self.options.adv_weight * loss}

    def judge_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """D: photographs against the student."""
        return self.task.discriminator_losses(step, self.enlarge(step))


class G2GAl(Gan2GAl):
    """Transfer and adversarial learning, from a teacher that never saw a discriminator."""

    name = "g2g-al"
    shared_by_ranks = True
    teacher_objective = "content"
    Options = AdversarialOptions


class Gan2Gan(Gan2GAl):
    """A second discriminator tells the teacher's images from the student's, who learns to pass."""

    name = "gan2gan"
    shared_by_ranks = True
    Options = Gan2GanOptions
    options: Gan2GanOptions

    def make_judges(self, seed: int) -> dict[str, nn.Module]:
        """D and D2."""
        second = like(self.task.discriminator, seed, "teacher_discriminator")
        return super().make_judges(seed) | {"teacher_discriminator": second}

    def adversarial_losses(self, step: Step) -> dict[str, Tensor]:
        """A and A2, from their step on."""
        losses, weight = super().adversarial_losses(step), self.options.kd_adv_weight
        if step.index >= self.options.al_start_step and weight > 0:
            logits = self.judges["teacher_discriminator"](self.enlarge(step))
            losses["kd_adversarial"] = weight * generator_loss(self.task.settings.gan, logits)
        return losses

    def judge_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """D, or D2: the teacher's images are its real ones."""
        if phase == "discriminator":
            return super().judge_losses(phase, step)
        teacher = self.task.teacher(step).fake
        return self.task.judged_losses(self.judges[phase], teacher, self.enlarge(step))
