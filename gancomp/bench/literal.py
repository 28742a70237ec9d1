"""The joint DCD step on unpaired data, written plainly.

It is what `gancomp bench train` times gancomp's step against, and what the tests hold its losses
and gradients to. Nothing is shared: the teacher translates once more for the student, images pass
one by one through discriminator and VGG16, which collect weight gradients whoever is trained; all
maps are contiguous float32; norm, head and optimizer are torch's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.methods.dcd import Dcd
from gancomp.networks.plain import plain_copy
from gancomp.settings import OptimizerSettings
from gancomp.tasks.unpaired import UnpairedTask

Module = TypeVar("Module", bound=nn.Module)


class LiteralStep:
    """Trains copies of a DCD method's networks; gives the same losses and gradients.

    Args:
        method: DCD trained jointly on the unpaired objective with the paper's options: InstanceNorm
            throughout, an online teacher, student connectors trained, all terms weighted, and
            without pools of old fakes.
        optimizer: Adam's settings.
    """

    def __init__(self, method: Dcd, optimizer: OptimizerSettings) -> None:
        task = method.task
        assert isinstance(task, UnpairedTask)
        assert method.perceptual is not None
        self.method, self.settings, self.options = method, task.settings, method.options
        self.forward_generator = for_training(task.generator)
        self.backward_generator = for_training(task.backward_generator)
        self.discriminator = for_training(task.discriminator)
        self.backward_discriminator = for_training(task.backward_discriminator)
        self.student = for_training(method.student)
        self.teacher_connectors = copy.deepcopy(method.teacher_connectors)
        self.student_connectors = copy.deepcopy(method.student_connectors)
        self.perceptual = for_training(method.perceptual)
        trained: dict[str, list[nn.Module]] = {
            "teacher": [self.forward_generator, self.backward_generator],
            "discriminator": [self.discriminator, self.backward_discriminator],
            "student": [self.student, self.student_connectors],
        }
        self.modules = {name: nn.ModuleList(modules) for name, modules in trained.items()}
        self.optimizers = {
            name: torch.optim.Adam(
                modules.parameters(), lr=optimizer.lr, betas=(optimizer.beta1, optimizer.beta2)
            )
            for name, modules in self.modules.items()
        }

    def step(self, source: Tensor, target: Tensor) -> dict[str, float]:
        """One step on `(N, 3, H, W)` images in [-1, 1]; all weighted terms by name."""
        taps = self.teacher_connectors.taps
        # once more, for the student: before the teacher moves on
        teacher_fake, teacher_taps = self.forward_generator.forward_with_taps(source, taps)
        teacher_taps = {tap: features.detach() for tap, features in teacher_taps.items()}
        fake_target, fake_source = self.forward_generator(source), self.backward_generator(target)
        turns: dict[str, Callable[[], dict[str, Tensor]]] = {
            "teacher": lambda: self.teacher_losses(source, target, fake_source, fake_target),
            "discriminator": lambda: self.discriminator_losses(
                source, target, fake_source.detach(), fake_target.detach()
            ),
            "student": lambda: self.student_losses(source, teacher_fake.detach(), teacher_taps),
        }
        losses: dict[str, float] = {}
        for name, compute in turns.items():
            terms = compute()
            self.optimizers[name].zero_grad()
            torch.autograd.backward(torch.stack(list(terms.values())).sum())
            self.optimizers[name].step()
            losses |= {f"{name}/{term}": value.item() for term, value in terms.items()}
        return losses

    def teacher_losses(
        self, source: Tensor, target: Tensor, fake_source: Tensor, fake_target: Tensor
    ) -> dict[str, Tensor]:
        """CycleGAN's generators: GAN, cycle and identity terms."""
        kind, weight = self.settings.gan, self.settings.lambda_cycle
        judge, other = self.discriminator, self.backward_discriminator
        cycled_source = self.backward_generator(fake_target)
        cycled_target = self.forward_generator(fake_source)
        same_target, same_source = self.forward_generator(target), self.backward_generator(source)
        identity = weight * self.settings.lambda_identity
        return {
            "gan_forward": generator_loss(kind, one_by_one(judge, fake_target)),
            "gan_backward": generator_loss(kind, one_by_one(other, fake_source)),
            "cycle_source": weight * F.l1_loss(cycled_source, source),
            "cycle_target": weight * F.l1_loss(cycled_target, target),
            "identity_source": identity * F.l1_loss(same_source, source),
            "identity_target": identity * F.l1_loss(same_target, target),
        }

    def discriminator_losses(
        self, source: Tensor, target: Tensor, fake_source: Tensor, fake_target: Tensor
    ) -> dict[str, Tensor]:
        """Real, teacher fake and student fake; real and fake of the other domain (DCD eq. 7)."""
        kind, judge, other = self.settings.gan, self.discriminator, self.backward_discriminator
        student_fake = self.student(source).detach()
        half = 0.5 * self.options.lambda_student
        return {
            "real": 0.5 * discriminator_real_loss(kind, one_by_one(judge, target)),
            "teacher_fake": 0.5 * discriminator_fake_loss(kind, one_by_one(judge, fake_target)),
            "student_fake": half * discriminator_fake_loss(kind, one_by_one(judge, student_fake)),
            "real_source": 0.5 * discriminator_real_loss(kind, one_by_one(other, source)),
            "fake_source": 0.5 * discriminator_fake_loss(kind, one_by_one(other, fake_source)),
        }

    def student_losses(
        self, source: Tensor, teacher_fake: Tensor, teacher_taps: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """DCD eq. 8: the student's GAN term, VGG16 feature and style terms, and eq. 6."""
        options = self.options
        fake, taps = self.student.forward_with_taps(source, self.student_connectors.taps)
        logits = one_by_one(self.discriminator, fake)
        teacher_maps, student_maps = self.perceived(teacher_fake), self.perceived(fake)
        feature = [F.l1_loss(student_maps[n], teacher_maps[n]) for n in options.feature_taps]
        style = [
            F.l1_loss(gram(student_maps[n]), gram(teacher_maps[n])) for n in options.style_taps
        ]
        (concept,) = self.method.discriminator_taps
        teacher_inputs = self.teacher_connectors(teacher_taps).values()
        student_inputs = self.student_connectors(taps).values()
        dcd = [
            F.l1_loss(self.concepts(student, concept), self.concepts(teacher, concept).detach())
            for student, teacher in zip(student_inputs, teacher_inputs, strict=True)
        ]
        return {
            "gan": options.lambda_student * generator_loss(self.settings.gan, logits),
            "feature": options.lambda_feature * torch.stack(feature).sum(),
            "style": options.lambda_style * torch.stack(style).sum(),
            "dcd": options.lambda_dcd * torch.stack(dcd).sum(),
        }

    def perceived(self, images: Tensor) -> dict[str, Tensor]:
        """VGG16's maps, one image at a time."""
        each = [self.perceptual(image) for image in torch.split(images, 1)]
        return {name: torch.cat([maps[name] for maps in each]) for name in each[0]}

    def concepts(self, maps: Tensor, tap: str) -> Tensor:
        """The discriminator's hidden map for a generator's connected map, one at a time."""
        return one_by_one(lambda item: self.discriminator.features(item, (tap,))[tap], maps)


def for_training(network: Module) -> Module:
    """A plain copy, all of whose weights collect gradients."""
    return plain_copy(network).requires_grad_(True)


def one_by_one(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The outputs for a batch, each image by itself."""
    return torch.cat([network(image) for image in torch.split(images, 1)])


def gram(features: Tensor) -> Tensor:
    """Channel correlations `(N, C, C)` of `(N, C, H, W)`, divided by `C H W`."""
    flat = features.flatten(2)
    return torch.bmm(flat, flat.transpose(1, 2)) / flat[0].numel()
