"""Super-resolution's objective: one generator that enlarges, one discriminator, no pools."""

from __future__ import annotations

from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss
from gancomp.losses.pixel import pixel_loss
from gancomp.networks.base import TappedNetwork
from gancomp.networks.shapes import tap_sizes
from gancomp.settings import NetworkSettings
from gancomp.sizes import Size, square_side
from gancomp.tasks.base import Task


class SuperResolutionTask(Task):
    """SRResNet's and SRGAN's objectives (Ledig et al. 2017), as far as no features are needed.

    A batch's `source` is `(N, 3, h, w)`, its `target` `(N, 3, scale h, scale w)`. Which
    discriminators a run trains is its method's choice: none of them is among `networks()`.
    """

    name = "super-resolution"

    @staticmethod
    def discriminator_settings(
        generator: TappedNetwork, settings: NetworkSettings
    ) -> NetworkSettings:
        """The discriminator sees the enlarged image alone."""
        return settings

    def teacher_networks(self) -> nn.Module:
        """The generator."""
        return self.generator

    def discriminator_networks(self) -> nn.Module:
        """The discriminator."""
        return self.discriminator

    def networks(self) -> dict[str, nn.Module]:
        """The generator."""
        return {"generator": self.generator}

    def check_size(self, size: Size) -> None:
        """Refuses crops that the generators cannot make or the discriminator cannot take.

        Raises:
            ConfigError: naming `--size` and what fits.
        """
        size, scale = square_side(size, "super-resolution"), self.generator.scale
        if size % scale:
            raise ConfigError(f"`size` {size}: `scale` {scale} needs a multiple of {scale}")
        try:
            tap_sizes(self.discriminator, self.discriminator.default_taps, (size, size))
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"`size` {size}: {self.discriminator.arch} {str(error).splitlines()[0]}; use a "
                "larger `size`"
            ) from error

    def generator_losses(self, step: Step) -> dict[str, Tensor]:
        """SRResNet's objective: the distance in pixels."""
        return {"pixel": pixel_loss(self.teacher(step).fake, step.batch["target"])}

    def discriminator_losses(
        self, step: Step, student_fake: Tensor | None = None, lambda_student: float = 1.0
    ) -> dict[str, Tensor]:
        """Photographs are real, the generator's images (the student's, if given) are fake.

        Two whole terms, no halves; the two batches pass separately, so that BatchNorm never sees
        them mixed. Source: Lee and Park 2021 and the code they use.
        """
        fake = self.teacher(step).fake if student_fake is None else student_fake
        losses = self.judged_losses(self.discriminator, step.batch["target"], fake)
        return losses | {"fake": lambda_student * losses["fake"]}

    def judged_losses(self, judge: nn.Module, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """A discriminator's two terms; `fake` is cut off from its generator."""
        kind = self.settings.gan
        return {
            "real": discriminator_real_loss(kind, judge(real)),
            "fake": discriminator_fake_loss(kind, judge(fake.detach())),
        }
