"""DCD's training step on unpaired data as its release takes it, for `gancomp bench train`.

Written anew after what the release does (`optimize_parameters` and `backward_G_Student` of its
CycleGAN distiller), with what it wastes: the teacher translates once more for the student, after
its own step and with the graph; the student's GAN term judges the teacher's image, so that its
gradients go to teacher and discriminator, where nobody uses them; for each tap the discriminator
judges both connected maps to the end, and the teacher's connectors collect gradients for good. It
does not judge the student's images. The release trains the student in blocks; here a step of each
is one step.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.bench.literal import LiteralStep, gram
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.methods.dcd import Dcd
from gancomp.settings import OptimizerSettings


class ReleasedStep(LiteralStep):
    """Trains copies of a DCD method's networks in the order, and by the passes, of the release.

    Args:
        method: as `LiteralStep` takes it.
        optimizer: Adam's settings.
    """

    def __init__(self, method: Dcd, optimizer: OptimizerSettings) -> None:
        super().__init__(method, optimizer)
        self.perceptual.requires_grad_(False)
        self.teacher_connectors.requires_grad_(True)  # in eval mode; no optimizer has them

    def step(self, source: Tensor, target: Tensor) -> dict[str, float]:
        """One step on `(N, 3, H, W)` images in [-1, 1]; all weighted terms by name."""
        terms = self.teacher_turn(source, target) | self.student_turn(source)
        return {name: value.item() for name, value in terms.items()}

    def teacher_turn(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Both generators, then both discriminators, which are frozen until then."""
        forth, back = self.forward_generator, self.backward_generator
        fake_target = forth(source)
        cycled_source = back(fake_target)
        fake_source = back(target)
        cycled_target = forth(fake_source)
        for name in ("discriminator", "teacher"):
            self.optimizers[name].zero_grad()
        self.modules["discriminator"].requires_grad_(False)
        kind, weight = self.settings.gan, self.settings.lambda_cycle
        identity = weight * self.settings.lambda_identity
        losses = {
            "identity_target": identity * F.l1_loss(forth(target), target),
            "identity_source": identity * F.l1_loss(back(source), source),
            "gan_forward": generator_loss(kind, self.discriminator(fake_target)),
            "gan_backward": generator_loss(kind, self.backward_discriminator(fake_source)),
            "cycle_source": weight * F.l1_loss(cycled_source, source),
            "cycle_target": weight * F.l1_loss(cycled_target, target),
        }
        _descend(losses)
        self.optimizers["teacher"].step()
        self.modules["discriminator"].requires_grad_(True)
        judged = self.judge(source, target, fake_source.detach(), fake_target.detach())
        self.optimizers["discriminator"].step()
        return _named("teacher", losses) | _named("discriminator", judged)

    def judge(
        self, source: Tensor, target: Tensor, fake_source: Tensor, fake_target: Tensor
    ) -> dict[str, Tensor]:
        """Gradients for each discriminator in a backward pass of its own, and the terms."""
        kind, forth, back = self.settings.gan, self.discriminator, self.backward_discriminator
        losses = {
            "real": 0.5 * discriminator_real_loss(kind, forth(target)),
            "teacher_fake": 0.5 * discriminator_fake_loss(kind, forth(fake_target)),
        }
        _descend(losses)
        others = {
            "real_source": 0.5 * discriminator_real_loss(kind, back(source)),
            "fake_source": 0.5 * discriminator_fake_loss(kind, back(fake_source)),
        }
        _descend(others)
        return losses | others

    def student_turn(self, source: Tensor) -> dict[str, Tensor]:
        """The student's step, with a teacher that has moved on."""
        self.optimizers["student"].zero_grad()
        losses = self.imitation(source)
        _descend(losses)
        self.optimizers["student"].step()
        return _named("student", losses)

    def imitation(self, source: Tensor) -> dict[str, Tensor]:
        """The student's terms, of which the GAN's is the teacher's."""
        options = self.options
        generator, taps = self.forward_generator, self.teacher_connectors.taps
        teacher_fake, teacher_taps = generator.forward_with_taps(source, taps)
        fake, student_taps = self.student.forward_with_taps(source, self.student_connectors.taps)
        logits = self.discriminator(teacher_fake)
        teacher_maps, student_maps = self.perceptual(teacher_fake.detach()), self.perceptual(fake)
        style = [
            F.l1_loss(gram(student_maps[tap]), gram(teacher_maps[tap]))
            for tap in options.style_taps
        ]
        feature = [F.l1_loss(student_maps[tap], teacher_maps[tap]) for tap in options.feature_taps]
        return {
            "gan": generator_loss(self.settings.gan, logits),
            "feature": options.lambda_feature * torch.stack(feature).sum(),
            "style": options.lambda_style * torch.stack(style).sum(),
            "dcd": options.lambda_dcd * self.cooperation(teacher_taps, student_taps),
        }

    def cooperation(
        self, teacher_taps: Mapping[str, Tensor], student_taps: Mapping[str, Tensor]
    ) -> Tensor:
        """Eq. 6, tap by tap; the discriminator goes on to its logits, which nobody uses."""
        (concept,) = self.method.discriminator_taps
        kept = {tap: features.detach() for tap, features in teacher_taps.items()}
        teacher_inputs = self.teacher_connectors(kept).values()
        student_inputs = self.student_connectors(student_taps).values()
        distances = []
        for teacher, student in zip(teacher_inputs, student_inputs, strict=True):
            _, of_student = self.discriminator.forward_with_taps(student, (concept,))
            _, of_teacher = self.discriminator.forward_with_taps(teacher, (concept,))
            distances.append(F.l1_loss(of_teacher[concept], of_student[concept]))
        return torch.stack(distances).sum()


def _descend(losses: Mapping[str, Tensor]) -> None:
    torch.autograd.backward(torch.stack(list(losses.values())).sum())


def _named(phase: str, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{phase}/{term}": value.detach() for term, value in losses.items()}
