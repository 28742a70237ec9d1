"""Online Multi-Granularity Distillation (OMGD, ICCV 2021), equations 5 to 12.

The student has neither discriminator nor ground truth: it imitates teachers that are trained beside
it, a wide one and, for paired images, also a deep one. SSIM takes images in [-1, 1] and the total
variation is a sum, both as in the released code, whose weights assume it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step
from gancomp.errors import ConfigError
from gancomp.losses.image import structural_similarity, total_variation
from gancomp.losses.maps import channel_distillation_loss
from gancomp.methods.base import Components, adam, adversarial_phases
from gancomp.methods.distillation import Distillation, weighted_terms
from gancomp.methods.matched_taps import MatchedTaps
from gancomp.methods.omgd_options import OmgdOptions
from gancomp.settings import NetworkSettings
from gancomp.sizes import Size
from gancomp.tasks.base import Translation, new_network
from gancomp.tasks.several_teachers import SeveralTeachers, share_discriminator, task_like

DEEP = {  # the student's network -> its deep teacher's
    "mobile-resnet9": "deep-resnet9",
    "mobile-resnet6": "deep-resnet9",
    "resnet9": "deep-resnet9",
    "resnet6": "deep-resnet9",
    "unet256": "deep-unet256",
}
KEPT = ("width", "norm", "in_channels", "out_channels", "dropout")  # of the student's settings


class Omgd(Distillation):
    """Teachers (unless frozen), their discriminators, student: jointly or in blocks.

    The wide teacher is the run's own; the deep one is made and trained here, whatever `--teacher`
    is. Its terms begin with `deep_`.
    """

    name = "omgd"
    shared_by_ranks = True
    paper = "Online Multi-Granularity Distillation for GAN Compression, ICCV 2021"
    Options = OmgdOptions
    replayable = True
    hosts_only = frozenset({"shared_blocks", "teacher_every"})
    options: OmgdOptions

    def __init__(self, components: Components, options: OmgdOptions) -> None:
        super().__init__(components, options)
        if not any((options.lambda_ssim, options.lambda_tv, options.lambda_channel)):
            self.refuse_no_loss(0.0, "lambda_ssim", "lambda_tv", "lambda_channel")
        self.teachers = SeveralTeachers({"wide": self.task})
        if options.deep_teacher and self.task.name == "paired":
            self.teachers = self._with_deep_teacher()
        learners: list[nn.Module] = []
        self.adaptors: nn.Module | None = None
        if options.lambda_channel > 0:
            self.matched = MatchedTaps(self.task.generator, self.student)
            self.adaptors = self.matched.adaptors("conv-bn-relu", components.seed)
            self.record(self.matched.of_teacher, self.matched.of_student)
            learners.append(self.adaptors)
        self._phases = self._make_phases(components, nn.ModuleList([self.student, *learners]))

    def _with_deep_teacher(self) -> SeveralTeachers:
        if self.student.arch not in DEEP:
            raise ConfigError(
                f"`deep_teacher`: there is none for `student_arch` {self.student.arch}, only for "
                f"{', '.join(DEEP)}; give `deep_teacher=False`"
            )
        settings = self.student.settings()
        like = {name: settings[name] for name in KEPT if settings.get(name) is not None}
        if self.options.deep_width is not None:
            like["width"] = self.options.deep_width
        network = NetworkSettings(arch=DEEP[self.student.arch], **like)
        deep = task_like(self.task, new_network(network, self.task.seed, "deep_generator"), "deep")
        if self.options.shared_blocks > 0:
            share_discriminator(self.task, deep, self.options.shared_blocks)
        return SeveralTeachers({"wide": self.task, "deep": deep})

    def _make_phases(self, components: Components, trained: nn.Module) -> list[Phase]:
        student = Phase(
            "student",
            trained,
            adam(trained, components.optimizer),
            active=self.blocks.is_students_turn,
        )
        if self.teachers.frozen:
            return [student]  # nobody asks the discriminator
        phases = adversarial_phases(
            self.teachers, components.optimizer, active=self.blocks.is_teachers_turn
        )
        for phase in phases:
            phase.every = self.options.teacher_every
        return [*phases, student]

    @classmethod
    def further_teacher(cls, task: str, options: OmgdOptions) -> str | None:
        """The deep one, for paired images."""
        wanted = options.deep_teacher and task == "paired"
        return "a deep teacher (`deep_teacher=False`: none)" if wanted else None

    def check_size(self, size: Size) -> None:
        """Raises ConfigError if a network cannot work on images of `size`."""
        super().check_size(size)
        self.teachers.check_size(size)

    def networks(self) -> dict[str, nn.Module]:
        """Those of all teachers, the student, and its adaptors."""
        networks = super().networks() | self.teachers.networks()
        return networks if self.adaptors is None else networks | {"adaptors": self.adaptors}

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms: of the teachers' tasks, or eq. 12 for the student."""
        if phase == "teacher":
            return self.teachers.generator_losses(step)
        if phase == "discriminator":
            return self.teachers.discriminator_losses(step)
        return super().losses(phase, step)

    def student_losses(self, step: Step) -> dict[str, Tensor]:
        """Eq. 10 for each teacher, and eq. 11 for the wide one."""
        student, translations = self.translate(step), self.teachers.translations(step)
        seen = None if self.perceptual is None else self.perceptual(student.fake)
        losses: dict[str, Tensor] = {}
        for name, teacher in translations.items():
            terms = self._image_losses(teacher.fake.detach(), student.fake)
            if self.perceptual is not None and seen is not None:
                with torch.no_grad():
                    wanted = self.perceptual(teacher.fake)
                terms |= weighted_terms(self.options, wanted, seen)
            prefix = "" if name == "wide" else f"{name}_"
            losses |= {f"{prefix}{term}": loss for term, loss in terms.items()}
        losses |= self._channel_losses(translations["wide"], student)
        return losses | self._roughness(student, count=len(translations))

    def own_losses(
        self, step: Step, teacher: Translation, student: Translation
    ) -> dict[str, Tensor]:
        """What OMGD has of one teacher beside the perceptual terms."""
        return {
            **self._image_losses(teacher.fake.detach(), student.fake),
            **self._channel_losses(teacher, student),
            **self._roughness(student, count=1),
        }

    def _image_losses(self, teacher_fake: Tensor, student_fake: Tensor) -> dict[str, Tensor]:
        if self.options.lambda_ssim == 0:
            return {}
        similar = structural_similarity(student_fake, teacher_fake)
        return {"ssim": self.options.lambda_ssim * (1 - similar)}

    def _channel_losses(self, teacher: Translation, student: Translation) -> dict[str, Tensor]:
        if self.adaptors is None:
            return {}
        adapted = self.adaptors(student.taps)
        wanted = [teacher.taps[tap].detach() for tap in self.matched.of_teacher]
        distance = channel_distillation_loss(
            wanted, list(adapted.values()), reduction=self.options.channel_reduction
        )
        return {"channel": self.options.lambda_channel * distance}

    def _roughness(self, student: Translation, count: int) -> dict[str, Tensor]:
        """Part of each teacher's eq. 10, though no teacher is in it."""
        if self.options.lambda_tv == 0:
            return {}
        return {"tv": self.options.lambda_tv * count * total_variation(student.fake)}
