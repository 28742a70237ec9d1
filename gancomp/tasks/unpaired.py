"""CycleGAN's objective: two generators, two discriminators, cycle and identity terms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.config import NetworkSettings
from gancomp.engine.phases import Step
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.networks.base import TappedNetwork
from gancomp.tasks.base import Task, like
from gancomp.tasks.pool import FakePool


class UnpairedTask(Task):
    """Image-to-image translation without pairs (Zhu et al. 2017, eq. 3 and section 4).

    The teacher is the forward generator; the backward one only serves its training and is left
    out when the teacher is frozen.
    """

    name = "unpaired"

    def __init__(
        self, generator: TappedNetwork, discriminator: NetworkSettings, **options: Any
    ) -> None:
        super().__init__(generator, discriminator, **options)
        if not self.frozen:
            self.backward_generator = like(generator, self.seed, "backward_generator")
            self.backward_discriminator = like(
                self.discriminator, self.seed, "backward_discriminator"
            )
            self.backward_pool = FakePool(self.settings.pool_size, self.seed, "backward")

    @staticmethod
    def discriminator_settings(
        generator: TappedNetwork, settings: NetworkSettings
    ) -> NetworkSettings:
        """The discriminator sees one image."""
        return replace(settings, in_channels=3)

    def teacher_networks(self) -> nn.Module:
        """Both generators."""
        return nn.ModuleList([self.generator, self.backward_generator])

    def discriminator_networks(self) -> nn.Module:
        """One discriminator per direction that is trained."""
        if self.frozen:
            return self.discriminator
        return nn.ModuleList([self.discriminator, self.backward_discriminator])

    def generator_losses(self, step: Step) -> dict[str, Tensor]:
        """GAN, cycle and identity terms of both directions.

        Cycle terms weigh `lambda_cycle`, identity terms `lambda_cycle * lambda_identity`.
        """
        source, target = step.batch["source"], step.batch["target"]
        kind, lambda_cycle = self.settings.gan, self.settings.lambda_cycle
        fake_target = self.teacher(step).fake
        fake_source = self._backward_fake(step)
        losses = {
            "gan_forward": generator_loss(kind, self.discriminator(fake_target)),
            "gan_backward": generator_loss(kind, self.backward_discriminator(fake_source)),
            "cycle_source": lambda_cycle * F.l1_loss(self.backward_generator(fake_target), source),
            "cycle_target": lambda_cycle * F.l1_loss(self.generator(fake_source), target),
        }
        weight = lambda_cycle * self.settings.lambda_identity
        if weight > 0:
            losses["identity_source"] = weight * F.l1_loss(self.backward_generator(source), source)
            losses["identity_target"] = weight * F.l1_loss(self.generator(target), target)
        return losses

    def _backward_fake(self, step: Step) -> Tensor:
        """The target translated back to the source's domain, computed once per step."""
        fake: Tensor = step.once(
            "backward_fake", lambda: self.backward_generator(step.batch["target"])
        )
        return fake

    def judge(self, step: Step, images: Tensor) -> Tensor:
        """Logits of the target domain's discriminator, which sees the image alone."""
        logits: Tensor = self.discriminator(images)
        return logits

    def discriminator_losses(
        self, step: Step, student_fake: Tensor | None = None, lambda_student: float = 1.0
    ) -> dict[str, Tensor]:
        """The target domain's terms and, unless the teacher is frozen, the source domain's."""
        losses = self.target_discriminator_losses(step, student_fake, lambda_student)
        if not self.frozen:
            kind, judge = self.settings.gan, self.backward_discriminator
            fake = self._backward_fake(step).detach()
            fake = self.backward_pool.exchange(fake, step.index)
            losses["real_source"] = 0.5 * discriminator_real_loss(kind, judge(step.batch["source"]))
            losses["fake_source"] = 0.5 * discriminator_fake_loss(kind, judge(fake))
        return losses
