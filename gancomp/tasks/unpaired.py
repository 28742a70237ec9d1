"""CycleGAN's objective: two generators, two discriminators, cycle and identity terms."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.networks.base import TappedNetwork
from gancomp.networks.batching import in_one_pass, is_better_in_one_pass
from gancomp.settings import NetworkSettings
from gancomp.tasks.base import Task, Translation, like
from gancomp.tasks.pool import FakePool


class UnpairedTask(Task):
    """Image-to-image translation without pairs (Zhu et al. 2017, eq. 3 and section 4).

    The teacher is the forward generator; the backward one only serves its training and is left
    out when the teacher is frozen, unless it is kept whole.
    """

    name = "unpaired"

    def __init__(
        self, generator: TappedNetwork, discriminator: NetworkSettings, **options: Any
    ) -> None:
        super().__init__(generator, discriminator, **options)
        self.recorded_backward_taps: tuple[str, ...] = ()
        if self.whole:
            settings = generator.settings()
            source, target = settings["in_channels"], settings["out_channels"]
            self.backward_generator = like(
                generator,
                self.seed,
                self.named("backward_generator"),
                in_channels=target,
                out_channels=source,
            )
            self.backward_discriminator = like(
                self.discriminator,
                self.seed,
                self.named("backward_discriminator"),
                in_channels=source,
            )
            self.backward_pool = FakePool(
                self.settings.pool_size, self.seed, self.named("backward")
            )
        if self.frozen:
            self.train()

    @staticmethod
    def discriminator_settings(
        generator: TappedNetwork, settings: NetworkSettings
    ) -> NetworkSettings:
        """The discriminator sees one image."""
        return settings.changed(in_channels=generator.settings()["out_channels"])

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
        kind, weight = self.settings.gan, self.settings.lambda_cycle
        losses = self._identity_losses(step)
        forward = self.teacher(step)
        fake_target = forward.fake
        losses |= self.further(step, "forward", forward) | {
            "gan_forward": generator_loss(kind, self.discriminator(fake_target)),
            "cycle_source": weight * F.l1_loss(self.backward_generator(fake_target), source),
        }
        # if it came in one pass with the backward fake, it shares the graph of the terms below
        early = {name: term for name, term in losses.items() if name != "identity_source"}
        losses |= step.minimize(early)
        backward = self.backward(step)
        fake_source, judge = backward.fake, self.backward_discriminator
        return (
            losses
            | self.further(step, "backward", backward)
            | {
                "gan_backward": generator_loss(kind, judge(fake_source)),
                "cycle_target": weight * F.l1_loss(self.generator(fake_source), target),
            }
        )

    def _identity_losses(self, step: Step) -> dict[str, Tensor]:
        """What each generator makes of an image that is in its target domain already."""
        weight = self.settings.lambda_cycle * self.settings.lambda_identity
        source, target = step.batch["source"], step.batch["target"]
        if weight == 0:
            return {}
        if is_better_in_one_pass(self.teacher_networks(), source.device):
            same_source, same_target = self._identities_with_translations(step)
            return {
                "identity_source": weight * F.l1_loss(same_source, source),
                "identity_target": weight * F.l1_loss(same_target, target),
            }
        same_source = self.backward_generator(source)
        losses = step.minimize({"identity_source": weight * F.l1_loss(same_source, source)})
        same_target = self.generator(target)
        return losses | step.minimize({"identity_target": weight * F.l1_loss(same_target, target)})

    def _identities_with_translations(self, step: Step) -> tuple[Tensor, Tensor]:
        """Each generator on both domains in one pass; the translations are kept for the others.

        Returns: what the backward generator makes of the source and the forward one of the target.
        """
        source, target, num = step.batch["source"], step.batch["target"], len(step.batch["source"])
        of_both, taps = self.backward_generator.forward_with_taps(
            torch.cat([source, target]), self.recorded_backward_taps
        )
        of_target = {tap: features[num:] for tap, features in taps.items()}
        step.once(self.named("backward"), lambda: Translation(of_both[num:], of_target))
        fakes, taps = self.generator.forward_with_taps(
            torch.cat([source, target]), self.recorded_taps
        )
        of_source = {tap: features[:num] for tap, features in taps.items()}
        step.once(self.role, lambda: Translation(fakes[:num], of_source))
        return of_both[:num], fakes[num:]

    def backward(self, step: Step) -> Translation:
        """The target translated back to the source's domain, computed once per step."""

        def compute() -> Translation:
            with torch.set_grad_enabled(not self.frozen and torch.is_grad_enabled()):
                return Translation(
                    *self.backward_generator.forward_with_taps(
                        step.batch["target"], self.recorded_backward_taps
                    )
                )

        translation: Translation = step.once(self.named("backward"), compute)
        return translation

    def discriminator_losses(
        self, step: Step, student_fake: Tensor | None = None, lambda_student: float = 1.0
    ) -> dict[str, Tensor]:
        """The target domain's terms and, unless the teacher is frozen, the source domain's."""
        losses = self.target_discriminator_losses(step, student_fake, lambda_student)
        if self.frozen:
            return losses
        losses = step.minimize(losses)
        kind, judge = self.settings.gan, self.backward_discriminator
        source = step.batch["source"]
        fake = self.backward_pool.show(self.backward(step).fake.detach(), step)
        real_logits, fake_logits = in_one_pass(judge, judge, [source, fake])
        return losses | {
            "real_source": 0.5 * discriminator_real_loss(kind, real_logits),
            "fake_source": 0.5 * discriminator_fake_loss(kind, fake_logits),
        }
