"""A discriminator that only the student plays against, beside the teacher's."""

from __future__ import annotations

from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.networks.batching import in_one_pass
from gancomp.tasks.base import Task, like


class OwnDiscriminator(nn.Module):
    """A copy of the teacher's discriminator, or one like it, that learns from the student's fakes.

    Args:
        task: the objective with the teacher's discriminator.
        warm: start with the teacher's weights instead of fresh ones.

    Source: Li et al. 2020 (GAN Compression), section 3.1, whose student inherits them; its released
    code, and CAT's, show it the student's images of the step and no older ones.
    """

    def __init__(self, task: Task, *, warm: bool) -> None:
        super().__init__()
        self.network = like(task.discriminator, task.seed, "student_discriminator")
        if warm:
            self.network.load_state_dict(task.discriminator.state_dict())
        self._task = [task]  # a list: the task's networks are not this module's

    def losses(self, step: Step, fake: Tensor) -> dict[str, Tensor]:
        """The discriminator's terms, half each: real images and the student's of this step."""
        task = self._task[0]
        real = task.discriminator_input(step, step.batch["target"])
        shown = task.discriminator_input(step, fake.detach())
        real_logits, fake_logits = in_one_pass(self.network, self.network, [real, shown])
        kind = task.settings.gan
        return {
            "real": 0.5 * discriminator_real_loss(kind, real_logits),
            "fake": 0.5 * discriminator_fake_loss(kind, fake_logits),
        }

    def gan_loss(self, step: Step, fake: Tensor) -> Tensor:
        """How far the student is from fooling it, unweighted."""
        task = self._task[0]
        logits = self.network(task.discriminator_input(step, fake))
        return generator_loss(task.settings.gan, logits)
