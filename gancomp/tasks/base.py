"""What every adversarial objective offers to the methods that train or distil under it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gancomp.config import AdversarialSettings, NetworkSettings
from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.networks.base import TappedNetwork, initialise
from gancomp.networks.shapes import tap_sizes
from gancomp.registry import build_network
from gancomp.seeding import derive_generator
from gancomp.tasks.pool import FakePool


@dataclass(frozen=True)
class Translation:
    """A generator's output `(N, 3, H, W)` in [-1, 1] and the feature maps at its taps."""

    fake: Tensor
    taps: dict[str, Tensor]


class Task(nn.Module, ABC):
    """An adversarial objective between one teacher generator and a discriminator.

    Args:
        generator: the teacher, source to target.
        discriminator: settings of the discriminator; its input channels are the task's affair.
        adversarial: weights of the objective.
        seed: of the run; initial weights and pools derive theirs from it.
        frozen: the teacher is given and never changes: only the discriminator is trained.
    """

    name: ClassVar[str]

    def __init__(
        self,
        generator: TappedNetwork,
        discriminator: NetworkSettings,
        *,
        adversarial: AdversarialSettings,
        seed: int,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.settings, self.seed, self.frozen = adversarial, seed, frozen
        self.generator = generator
        self.discriminator = new_network(
            self.discriminator_settings(generator, discriminator), seed, "discriminator"
        )
        self.teacher_pool = FakePool(adversarial.pool_size, seed, "teacher")
        self.student_pool = FakePool(adversarial.pool_size, seed, "student")
        self.recorded_taps: tuple[str, ...] = ()
        if frozen:
            generator.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Task:
        """Sets the mode of all networks; a frozen teacher stays as it will be deployed."""
        super().train(mode)
        if self.frozen:
            self.generator.eval()
        return self

    @staticmethod
    @abstractmethod
    def discriminator_settings(
        generator: TappedNetwork, settings: NetworkSettings
    ) -> NetworkSettings:
        """`settings` with the input channels that this task's discriminator looks at."""

    @abstractmethod
    def teacher_networks(self) -> nn.Module:
        """What the teacher's phase trains."""

    @abstractmethod
    def discriminator_networks(self) -> nn.Module:
        """What the discriminator's phase trains."""

    @abstractmethod
    def generator_losses(self, step: Step) -> dict[str, Tensor]:
        """The teacher's weighted terms."""

    @abstractmethod
    def judge(self, step: Step, images: Tensor) -> Tensor:
        """The discriminator's logits for images that claim to be this batch's targets."""

    @abstractmethod
    def discriminator_losses(
        self, step: Step, student_fake: Tensor | None = None, lambda_student: float = 1.0
    ) -> dict[str, Tensor]:
        """The discriminator's weighted terms: real, teacher fake and, if given, student fake."""

    def check_size(self, size: int) -> None:
        """Refuses images that a network reduces to less than it can normalise.

        Raises:
            ConfigError: naming the network and the way out.
        """
        for flags, network in (
            ("another --arch", self.generator),
            ("fewer --d-layers", self.discriminator),
        ):
            try:
                tap_sizes(network, network.tap_names()[-1:], (size, size))
            except (ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"--size {size}: is too small for {network.arch} of this depth; "
                    f"use a larger --size or {flags}"
                ) from error

    def networks(self) -> dict[str, nn.Module]:
        """What a checkpoint must hold of this task."""
        return dict(self.named_children())

    def teacher(self, step: Step) -> Translation:
        """The teacher's translation of the batch's source, computed once per step."""

        def compute() -> Translation:
            with torch.set_grad_enabled(not self.frozen and torch.is_grad_enabled()):
                return Translation(
                    *self.generator.forward_with_taps(step.batch["source"], self.recorded_taps)
                )

        translation: Translation = step.once("teacher", compute)
        return translation

    def student_gan_loss(self, step: Step, student_fake: Tensor) -> Tensor:
        """How far the student is from fooling the discriminator, unweighted (DCD, eq. 7)."""
        return generator_loss(self.settings.gan, self.judge(step, student_fake))

    def target_discriminator_losses(
        self, step: Step, student_fake: Tensor | None, lambda_student: float
    ) -> dict[str, Tensor]:
        """Halves of real and fake, as both released codes weigh them, plus the student's share.

        `0.5 (real + teacher fake) + 0.5 lambda_student student fake`: DCD eq. 7 with the task's
        form of GAN loss. The student's fakes have a pool of their own.
        """
        kind = self.settings.gan
        real, teacher_fake = step.batch["target"], self.teacher(step).fake.detach()
        losses = {
            "real": 0.5 * discriminator_real_loss(kind, self.judge(step, real)),
            "teacher_fake": 0.5 * self._pooled_loss(step, self.teacher_pool, teacher_fake),
        }
        if student_fake is not None:
            loss = self._pooled_loss(step, self.student_pool, student_fake.detach())
            losses["student_fake"] = 0.5 * lambda_student * loss
        return losses

    def _pooled_loss(self, step: Step, pool: FakePool, fake: Tensor) -> Tensor:
        return discriminator_fake_loss(self.settings.gan, self.judge_pooled(step, pool, fake))

    def judge_pooled(self, step: Step, pool: FakePool, fake: Tensor) -> Tensor:
        """The discriminator's logits for what the pool gives back for this batch's fakes."""
        return self.judge(step, pool.exchange(fake, step.index))


def new_network(settings: NetworkSettings, seed: int, role: str) -> TappedNetwork:
    """A freshly initialised network; its weights depend on the seed and its role alone."""
    network = build_network(settings.arch, **settings.arguments())
    initialise(network, derive_generator(seed, "init", role))
    return network


def like(network: TappedNetwork, seed: int, role: str) -> TappedNetwork:
    """A freshly initialised network of the same architecture and settings."""
    arguments: dict[str, Any] = network.settings()
    twin = build_network(network.arch, **arguments)
    initialise(twin, derive_generator(seed, "init", role))
    return twin
