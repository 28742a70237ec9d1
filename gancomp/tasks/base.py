"""What every adversarial objective offers to the methods that train or distill under it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.networks.base import TappedNetwork, initialize
from gancomp.networks.batching import in_one_pass
from gancomp.networks.shapes import tap_sizes
from gancomp.registry import build_network
from gancomp.seeding import derive_generator
from gancomp.settings import AdversarialSettings, NetworkSettings
from gancomp.sizes import Size, shown_size, sides
from gancomp.tasks.pool import FakePool


@dataclass(frozen=True)
class Translation:
    """A generator's output `(N, C, H, W)` in [-1, 1] and the feature maps at its taps."""

    fake: Tensor
    taps: dict[str, Tensor]


Direction = Literal["forward", "backward"]
Further = Callable[[Step, Direction, Translation], dict[str, Tensor]]


def nothing_further(
    step: Step, direction: Direction, translation: Translation
) -> dict[str, Tensor]:
    """No terms."""
    return {}


class Task(nn.Module, ABC):
    """An adversarial objective between one generator, usually the teacher, and a discriminator.

    A student with a GAN of its own has a second task, in which it is the generator.

    Args:
        generator: source to target.
        discriminator: settings of the discriminator; its input channels are the task's affair.
        adversarial: weights of the objective.
        seed: of the run; initial weights and pools derive theirs from it.
        frozen: the teacher is given and never changes: only the discriminator is trained.
        whole: a frozen teacher keeps all that was trained with it, frozen too: its discriminators
            and, of two directions, the backward generator.
        role: whose objective it is; tells results, random numbers and terms of two tasks apart.

    Attributes:
        recorded_taps: what `teacher` brings along.
        further: terms that a method adds to those of each translation, while its graph is there.
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
        whole: bool = False,
        role: Literal["teacher", "student"] = "teacher",
    ) -> None:
        super().__init__()
        self.role = role
        self.settings, self.seed, self.frozen = adversarial, seed, frozen
        self.whole = whole or not frozen
        self.generator = generator
        self.discriminator = new_network(
            self.discriminator_settings(generator, discriminator),
            seed,
            self.named("discriminator"),
        )
        self.teacher_pool = FakePool(adversarial.pool_size, seed, role)
        self.student_pool = FakePool(adversarial.pool_size, seed, "student")
        self.recorded_taps: tuple[str, ...] = ()
        self.further: Further = nothing_further
        if frozen:
            self.train()

    def named(self, name: str) -> str:
        """`name` as it is called of this task's role."""
        return name if self.role == "teacher" else f"{self.role}_{name}"

    def frozen_networks(self) -> list[nn.Module]:
        """What never changes."""
        if self.frozen and self.whole:
            return [item for item in self.children() if isinstance(item, TappedNetwork)]
        return [self.generator] if self.frozen else []

    def train(self, mode: bool = True) -> Task:
        """Sets the mode of all networks; what is frozen stays as it will be deployed."""
        super().train(mode)
        for network in self.frozen_networks():
            network.requires_grad_(False).eval()
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

    def discriminator_input(self, step: Step, images: Tensor) -> Tensor:
        """What the discriminator looks at to judge images that claim to be this batch's targets."""
        return images

    def judge(self, step: Step, images: Tensor) -> Tensor:
        """The discriminator's logits for images that claim to be this batch's targets."""
        logits: Tensor = self.discriminator(self.discriminator_input(step, images))
        return logits

    @abstractmethod
    def discriminator_losses(
        self, step: Step, student_fake: Tensor | None = None, lambda_student: float = 1.0
    ) -> dict[str, Tensor]:
        """The discriminator's weighted terms: real, teacher fake and, if given, student fake."""

    def check_size(self, size: Size) -> None:
        """Refuses images that a network reduces to less than it can normalize.

        Raises:
            ConfigError: naming the network and the way out.
        """
        for way_out, network in (
            ("another `arch`", self.generator),
            ("fewer `d_layers`", self.discriminator),
        ):
            try:
                tap_sizes(network, network.tap_names()[-1:], sides(size))
            except (ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"`size` {shown_size(size)}: is too small for {network.arch} of this depth; "
                    f"use a larger `size` or {way_out}"
                ) from error

    def networks(self) -> dict[str, nn.Module]:
        """What a checkpoint must hold of this task."""
        return dict(self.named_children())

    def teacher(self, step: Step) -> Translation:
        """The generator's translation of the batch's source, computed once per step."""

        def compute() -> Translation:
            with torch.set_grad_enabled(not self.frozen and torch.is_grad_enabled()):
                return Translation(
                    *self.generator.forward_with_taps(step.batch["source"], self.recorded_taps)
                )

        translation: Translation = step.once(self.role, compute)
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
        own = f"{self.role}_fake"
        inputs = {
            "real": self.discriminator_input(step, step.batch["target"]),
            own: self.shown(step, self.teacher_pool, self.teacher(step).fake),
        }
        if student_fake is not None:
            inputs["student_fake"] = self.shown(step, self.student_pool, student_fake)
        judge = self.discriminator
        logits = dict(zip(inputs, in_one_pass(judge, judge, list(inputs.values())), strict=True))
        kind = self.settings.gan
        losses = {
            "real": 0.5 * discriminator_real_loss(kind, logits["real"]),
            own: 0.5 * discriminator_fake_loss(kind, logits[own]),
        }
        if student_fake is not None:
            loss = discriminator_fake_loss(kind, logits["student_fake"])
            losses["student_fake"] = 0.5 * lambda_student * loss
        return losses

    def shown(self, step: Step, pool: FakePool, fake: Tensor) -> Tensor:
        """What a discriminator is shown for `fake`: itself or older ones, without a graph."""
        return pool.show(self.discriminator_input(step, fake.detach()), step)


def new_network(settings: NetworkSettings, seed: int, role: str) -> TappedNetwork:
    """A freshly initialized network; its weights depend on the seed and its role alone."""
    return _drawn(settings.arch, settings.arguments(), derive_generator(seed, "init", role))


def like(network: TappedNetwork, seed: int, role: str, **changes: int) -> TappedNetwork:
    """A freshly initialized network of the same architecture and settings, save for `changes`."""
    arguments = network.settings() | changes
    return _drawn(network.arch, arguments, derive_generator(seed, "init", role))


def _drawn(arch: str, arguments: dict[str, Any], generator: torch.Generator) -> TappedNetwork:
    with torch.device("meta"):  # a network that comes with weights would have them drawn twice
        network = build_network(arch, **arguments)
    network.to_empty(device="cpu")
    initialize(network, generator)
    return network
