"""Super-resolution without a teacher: SRResNet, content fine-tuning and SRGAN."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step
from gancomp.losses.pixel import pixel_loss
from gancomp.methods.base import Components
from gancomp.methods.srgan import (
    PAPER,
    SuperResolutionMethod,
    require_features,
    super_resolution_task,
)
from gancomp.methods.srgan_options import AloneOptions
from gancomp.networks.base import TappedNetwork


class TrainedAlone(SuperResolutionMethod):
    """One generator, and for SRGAN its discriminator; both learn at once."""

    paper = "Photo-Realistic Single Image Super-Resolution Using a GAN (SRGAN), CVPR 2017"
    Options = AloneOptions
    options: AloneOptions

    def __init__(self, components: Components, options: AloneOptions) -> None:
        super().__init__()
        if options.objective != "pixel":
            require_features(self.name, components.perceptual)
        self.task, self.perceptual = super_resolution_task(components), components.perceptual
        self.options = options
        role, self.network = self.choose_network(components)
        self._phases = [self.make_phase(role, self.network, components.optimizer)]
        if options.objective == "gan":
            judge = self.task.discriminator_networks()
            self._phases.append(self.make_phase("discriminator", judge, components.optimizer))

    @abstractmethod
    def choose_network(self, components: Components) -> tuple[str, TappedNetwork]:
        """The role and the network that is trained."""

    @staticmethod
    def perceptual_taps(options: AloneOptions) -> tuple[str, ...]:
        """The tap of the content loss, if the objective has one."""
        return () if options.objective == "pixel" else (options.content_tap,)

    def phases(self) -> list[Phase]:
        """The generator, then the discriminator of SRGAN."""
        return self._phases

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms of the objective."""
        fake, target = self.enlarge(step), step.batch["target"]
        if phase == "discriminator":
            return self.task.discriminator_losses(step, fake)
        if self.options.objective == "pixel":
            return {"pixel": pixel_loss(fake, target)}
        losses = {"content": self.content_loss(fake, target)}
        if self.options.objective == "gan" and self.options.adv_weight > 0:
            loss = self.task.student_gan_loss(step, fake)
            losses["adversarial"] = self.options.adv_weight * loss
        return losses

    def enlarge(self, step: Step) -> Tensor:
        """The generator's `(N, 3, H, W)`, computed once for both phases."""
        fake: Tensor = step.once("enlarged", lambda: self.network(step.batch["source"]))
        return fake

    def generators(self) -> dict[str, TappedNetwork]:
        """The network that is trained."""
        return {self._phases[0].name: self.network}

    def networks(self) -> dict[str, nn.Module]:
        """The network, and the discriminator of SRGAN."""
        names = {"teacher": "generator"}
        return {names.get(phase.name, phase.name): phase.module for phase in self._phases}


class Srgan(TrainedAlone):
    """The teacher: first as SRResNet, then as SRGAN or by its content loss alone."""

    name = "srgan"
    shared_by_ranks = True
    distills = False

    def choose_network(self, components: Components) -> tuple[str, TappedNetwork]:
        """The task's generator."""
        return "teacher", components.task.generator


class NoKd(TrainedAlone):
    """The student without any teacher, as SRGAN: what the techniques are compared with."""

    name = "no-kd"
    shared_by_ranks = True
    paper = f"{PAPER}: its undistilled student"

    def choose_network(self, components: Components) -> tuple[str, TappedNetwork]:
        """The student."""
        return "student", components.trained_student(self.name)
