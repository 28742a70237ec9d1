"""GAN Compression (CVPR 2020), section 3.1: a student that learns from a teacher's maps and image.

The supernet and its search, which the student's shape comes from there, are not part of this.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.losses.maps import adapted_map_loss
from gancomp.methods.apprentice import Apprentice
from gancomp.methods.base import Components, adam
from gancomp.methods.gan_compression_options import GanCompressionOptions
from gancomp.methods.matched_taps import MatchedTaps
from gancomp.networks.batching import in_one_pass
from gancomp.sizes import Size
from gancomp.tasks.base import Task, Translation, like


class GanCompression(Apprentice):
    """A GAN of the student's own, its image and its maps, by those of a finished teacher.

    Per step: the student's discriminator (real, student's fake), then the student with the
    adaptors of its maps. A teacher that is not finished has its own two turns before.
    """

    name = "gan-compression"
    shared_by_ranks = True
    paper = "GAN Compression: Efficient Architectures for Interactive Conditional GANs, CVPR 2020"
    has_features = False
    replayable = True
    Options = GanCompressionOptions
    options: GanCompressionOptions

    def __init__(self, components: Components, options: GanCompressionOptions) -> None:
        super().__init__(components)
        self.options = options
        self.own = OwnDiscriminator(self.task, warm=options.warm_discriminator)
        self.matched = MatchedTaps(self.task.generator, self.student)
        self.adaptors = self.make_adaptors(components.seed)
        if options.lambda_distill > 0:
            self.task.recorded_taps = self.matched.of_teacher
        trained = nn.ModuleList([self.student, self.adaptors])
        judge, rates = self.own.network, components.optimizer
        opponent = Phase(
            "student_discriminator", judge, adam(judge, rates), keeps_graph_of=(self.student,)
        )
        student = Phase("student", trained, adam(trained, rates))
        self._phases = self.begin_with_teacher(components, [opponent, student])

    def make_adaptors(self, seed: int) -> nn.Module:
        """What brings the student's maps, by tap, to the teacher's channels."""
        return self.matched.adaptors("conv", seed)

    def check_size(self, size: Size) -> None:
        """Refuses networks whose maps differ in size.

        Raises:
            ConfigError: naming the networks and the way out.
        """
        super().check_size(size)
        if self.options.lambda_distill > 0:
            self.matched.sizes(size)

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, the student, its discriminator and the adaptors of its maps."""
        own = {"student_discriminator": self.own.network, "adaptors": self.adaptors}
        return super().networks() | own

    def own_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Eq. 4 for the student, or its opponent's terms."""
        student = self._translate(step)
        if phase == "student_discriminator":
            return self.own.losses(step, student.fake)
        options, teacher = self.options, self.task.teacher(step)
        losses = {"gan": self.own.gan_loss(step, student.fake)}
        if options.lambda_recon > 0:
            paired = self.task.name == "paired"
            wanted = step.batch["target"] if paired else teacher.fake.detach()
            losses["recon"] = options.lambda_recon * F.l1_loss(student.fake, wanted)
        if options.lambda_distill > 0:
            maps = list(teacher.taps.values()), list(self.adaptors(student.taps).values())
            losses["distill"] = options.lambda_distill * self.map_distance(*maps)
        return losses

    def map_distance(self, teacher_maps: list[Tensor], adapted_maps: list[Tensor]) -> Tensor:
        """Eq. 3, unweighted."""
        return adapted_map_loss(teacher_maps, adapted_maps)

    def _translate(self, step: Step) -> Translation:
        """The student's translation with its maps, computed once for both phases."""

        def compute() -> Translation:
            taps = self.matched.of_student if self.options.lambda_distill > 0 else ()
            return Translation(*self.student.forward_with_taps(step.batch["source"], taps))

        translation: Translation = step.once("student", compute)
        return translation


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
