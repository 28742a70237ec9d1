"""Wavelet Knowledge Distillation (CVPR 2022): the teacher's high frequencies, else a GAN alone."""

from __future__ import annotations

from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.losses.wavelet import wavelet_loss
from gancomp.methods.apprentice import Apprentice
from gancomp.methods.base import Components
from gancomp.methods.own_task import (
    own_networks,
    own_phases,
    own_task,
    term_name,
    translation_of,
)
from gancomp.methods.wavelet_kd_options import WaveletKdOptions
from gancomp.sizes import Size
from gancomp.tasks.base import Direction, Translation


class WaveletKd(Apprentice):
    """The student's own CycleGAN or pix2pix, and the teacher's high wavelet bands.

    Unpaired, there is a student of each direction, which learns from that direction's teacher.
    """

    name = "wavelet-kd"
    shared_by_ranks = True
    paper = (
        "Wavelet Knowledge Distillation: Towards Efficient Image-to-Image Translation, CVPR 2022"
    )
    has_features = False
    whole_teacher = ("unpaired",)  # for its backward generator
    Options = WaveletKdOptions
    replayable = True

    def __init__(self, components: Components, options: WaveletKdOptions) -> None:
        super().__init__(components)
        self.options = options
        width = options.student_d_width
        self.students_task = own_task(
            components, self.student, **({} if width is None else {"width": width})
        )
        if options.lambda_wavelet > 0:
            self.students_task.further = self.wavelet_terms
        self._phases = self.begin_with_teacher(
            components, own_phases(self.students_task, components)
        )

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, and those of the student's own."""
        return super().networks() | own_networks(self.students_task)

    def check_size(self, size: Size) -> None:
        """Refuses images too small for a network of the teacher's or the student's task."""
        super().check_size(size)
        self.students_task.check_size(size)

    def own_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """The student's GAN with the wavelet terms, or its discriminator's."""
        if phase == "student":
            return self.students_task.generator_losses(step)
        return self.students_task.discriminator_losses(step)

    def wavelet_terms(
        self, step: Step, direction: Direction, translation: Translation
    ) -> dict[str, Tensor]:
        """The weighted distance of the high bands of one direction's images (eq. 4)."""
        options, teacher = self.options, translation_of(self.task, step, direction)
        distance = wavelet_loss(
            teacher.fake,
            translation.fake,
            levels=options.wavelet_levels,
            distance=options.wavelet_distance,
            wavelet=options.wavelet,
        )
        return {term_name(self.task, "wavelet", direction): options.lambda_wavelet * distance}
