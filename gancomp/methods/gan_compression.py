"""GAN Compression (CVPR 2020), section 3.1: a student that learns from a teacher's maps and image.

The supernet and its search, which the student's shape comes from there, are not part of this.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step, always
from gancomp.errors import ConfigError
from gancomp.losses.maps import adapted_map_loss
from gancomp.methods.base import Components, Method, adam, adversarial_phases
from gancomp.methods.gan_compression_options import GanCompressionOptions
from gancomp.methods.matched_taps import MatchedTaps
from gancomp.methods.own_discriminator import OwnDiscriminator
from gancomp.networks.base import TappedNetwork
from gancomp.sizes import Size
from gancomp.tasks.base import Translation


class GanCompression(Method):
    """A GAN of the student's own, its image and its maps, by those of a finished teacher.

    Per step: the student's discriminator (real, student's fake), then the student with the
    adaptors of its maps. A teacher that is not finished has its own two turns before.
    """

    name = "gan-compression"
    paper = "GAN Compression: Efficient Architectures for Interactive Conditional GANs, CVPR 2020"
    has_features = False
    finished_teacher = True
    replayable = True
    Options = GanCompressionOptions

    def __init__(self, components: Components, options: GanCompressionOptions) -> None:
        super().__init__()
        if components.student is None:
            raise ConfigError(
                "--method gan-compression: needs a student; use gancomp pretrain for a teacher"
            )
        self.options = options
        self.task, self.student = components.task, components.student
        self.own = OwnDiscriminator(self.task, warm=options.warm_discriminator)
        self.matched = MatchedTaps(self.task.generator, self.student)
        self.adaptors = self.matched.adaptors("conv", components.seed)
        if options.lambda_distill > 0:
            self.task.recorded_taps = self.matched.of_teacher
        self._phases = self._make_phases(components)

    def _make_phases(self, components: Components) -> list[Phase]:
        trained = nn.ModuleList([self.student, self.adaptors])
        judge, optimizer = self.own.network, components.optimizer
        phases = [
            Phase(
                "student_discriminator",
                judge,
                adam(judge, optimizer),
                keeps_graph_of=(self.student,),
            ),
            Phase("student", trained, adam(trained, optimizer)),
        ]
        if self.task.frozen:
            return phases
        return [*adversarial_phases(self.task, optimizer, active=always), *phases]

    def check_size(self, size: Size) -> None:
        """Refuses networks whose maps differ in size.

        Raises:
            ConfigError: naming the networks and the way out.
        """
        super().check_size(size)
        if self.options.lambda_distill > 0:
            self.matched.sizes(size)

    def phases(self) -> list[Phase]:
        """Teacher and its discriminator (unless frozen), the student's, the student."""
        return self._phases

    def generators(self) -> dict[str, TappedNetwork]:
        """The teacher and the student."""
        return {"teacher": self.task.generator, "student": self.student}

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, the student, its discriminator and the adaptors of its maps."""
        return self.task.networks() | {
            "student": self.student,
            "student_discriminator": self.own.network,
            "adaptors": self.adaptors,
        }

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms: the task's for the teacher, eq. 4 for the student and its opponent."""
        if phase == "teacher":
            return self.task.generator_losses(step)
        if phase == "discriminator":
            return self.task.discriminator_losses(step)
        student = self._translate(step)
        if phase == "student_discriminator":
            return self.own.losses(step, student.fake)
        return self._student_losses(step, student)

    def _student_losses(self, step: Step, student: Translation) -> dict[str, Tensor]:
        options, teacher = self.options, self.task.teacher(step)
        losses = {"gan": self.own.gan_loss(step, student.fake)}
        if options.lambda_recon > 0:
            paired = self.task.name == "paired"
            wanted = step.batch["target"] if paired else teacher.fake.detach()
            losses["recon"] = options.lambda_recon * F.l1_loss(student.fake, wanted)
        if options.lambda_distill > 0:
            adapted = self.adaptors(student.taps)
            distance = adapted_map_loss(list(teacher.taps.values()), list(adapted.values()))
            losses["distill"] = options.lambda_distill * distance
        return losses

    def _translate(self, step: Step) -> Translation:
        """The student's translation with its maps, computed once for both phases."""

        def compute() -> Translation:
            taps = self.matched.of_student if self.options.lambda_distill > 0 else ()
            return Translation(*self.student.forward_with_taps(step.batch["source"], taps))

        translation: Translation = step.once("student", compute)
        return translation
