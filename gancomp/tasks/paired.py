"""pix2pix's objective: a conditional discriminator and an L1 term to the true target."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.losses.gan import generator_loss
from gancomp.networks.base import TappedNetwork
from gancomp.settings import NetworkSettings
from gancomp.tasks.base import Task


class PairedTask(Task):
    """Image-to-image translation with pairs (Isola et al. 2017, eq. 4)."""

    name = "paired"

    @staticmethod
    def discriminator_settings(
        generator: TappedNetwork, settings: NetworkSettings
    ) -> NetworkSettings:
        """The discriminator sees condition and image, one above the other."""
        channels = generator.settings()
        return settings.changed(in_channels=channels["in_channels"] + channels["out_channels"])

    def teacher_networks(self) -> nn.Module:
        """The generator."""
        return self.generator

    def discriminator_networks(self) -> nn.Module:
        """The conditional discriminator."""
        return self.discriminator

    def generator_losses(self, step: Step) -> dict[str, Tensor]:
        """The GAN term and `lambda_l1` times the L1 distance to the target."""
        forward = self.teacher(step)
        fake = forward.fake
        return {
            "gan": generator_loss(self.settings.gan, self.judge(step, fake)),
            "l1": self.settings.lambda_l1 * F.l1_loss(fake, step.batch["target"]),
            **self.further(step, "forward", forward),
        }

    def discriminator_input(self, step: Step, images: Tensor) -> Tensor:
        """(Condition, image) pairs, stacked over channels; a pooled fake keeps its condition."""
        return torch.cat([step.batch["source"], images], dim=1)

    def discriminator_losses(
        self, step: Step, student_fake: Tensor | None = None, lambda_student: float = 1.0
    ) -> dict[str, Tensor]:
        """Real pair, teacher's pair and student's pair."""
        return self.target_discriminator_losses(step, student_fake, lambda_student)
