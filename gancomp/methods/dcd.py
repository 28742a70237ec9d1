"""Discriminator-Cooperated Feature Map Distillation (DCD, CVPR 2023), equations 3 to 8.

The teacher's discriminator is used twice: as a feature extractor under which the generators' maps
are compared (`L_dcd`), and as a critic that is trained against teacher and student at once
(collaborative adversarial training). Paper and released code differ in many places; this file
follows the paper, and the options (with the `dcd-released` preset) reach what the code does.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Progress, Step, always
from gancomp.errors import ConfigError
from gancomp.losses.feature import discriminator_concept_loss, feature_loss, style_loss
from gancomp.methods.base import Components, Method, adam, adversarial_phases
from gancomp.methods.connectors import Connectors
from gancomp.methods.dcd_options import DcdOptions
from gancomp.networks.base import TappedNetwork
from gancomp.networks.shapes import tap_sizes
from gancomp.seeding import derive_generator
from gancomp.sizes import Size, shown_size, sides
from gancomp.tasks.base import Translation


class Dcd(Method):
    """Teacher, discriminator (real, teacher fake, student fake), student: jointly or in blocks.

    The student imitates the teacher as it was at the start of the step: its output and maps are
    those of the one forward pass that also trains the teacher.
    """

    name = "dcd"
    paper = "Discriminator-Cooperated Feature Map Distillation for GAN Compression, CVPR 2023"
    Options = DcdOptions
    replayable = True

    def __init__(self, components: Components, options: DcdOptions) -> None:
        super().__init__()
        if components.student is None:
            raise ConfigError(
                "--method dcd: needs a student; use gancomp pretrain for a teacher alone"
            )
        check_options(options)
        if not _has_student_loss(options, components.perceptual is not None):
            raise ConfigError(
                "the student has no loss term: give --lambda-dcd, --lambda-feature or "
                "--lambda-style a weight (the latter two need --perceptual), or remove "
                "--no-student-gan"
            )
        self.options = options
        self.fools = options.student_fools_discriminator and options.lambda_student > 0
        self.is_judged = options.student_in_discriminator and options.lambda_student > 0
        self.task, self.student = components.task, components.student
        self.perceptual = components.perceptual
        self.discriminator_taps = _known_taps(self.task.discriminator, options.discriminator_taps)
        self.teacher_connectors, self.student_connectors = self._make_connectors(components.seed)
        if options.lambda_dcd > 0:
            self.task.recorded_taps = self.teacher_connectors.taps
        self._phases = self._make_phases(components)

    def check_size(self, size: Size) -> None:
        """Refuses networks whose maps differ in size, or shrink to nothing in the discriminator.

        Raises:
            ConfigError: naming the networks and the way out.
        """
        super().check_size(size)
        if self.options.lambda_dcd == 0:
            return
        teacher = tap_sizes(self.task.generator, self.teacher_connectors.taps, sides(size))
        student = tap_sizes(self.student, self.student_connectors.taps, sides(size))
        if teacher != student:
            raise ConfigError(
                f"--student-arch {self.student.arch}: its maps {student} differ in size from the "
                f"teacher's ({self.task.generator.arch}: {teacher}); choose networks of one family"
            )
        judge, taps = self.task.discriminator, self.discriminator_taps
        for height, width in teacher:
            try:
                tap_sizes(judge, taps, (height, width), running_statistics=True)
            except (ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"--size {shown_size(size)}: the discriminator reduces the generator's "
                    f"{height}x{width} map to less than it can normalize; use a larger --size, "
                    "fewer --d-layers, --d-norm batch, or --lambda-dcd 0"
                ) from error

    def _make_connectors(self, seed: int) -> tuple[Connectors, Connectors]:
        both = self.options.train_connectors == "both"
        sides = (("teacher", self.task.generator), ("student", self.student))
        teacher, student = (
            Connectors(
                generator.tap_channels,
                self.task.discriminator.settings()["in_channels"],
                kind=self.options.connector,
                trained=both or self.options.train_connectors == side,
                generator=derive_generator(seed, "init", f"{side}_connectors"),
            )
            for side, generator in sides
        )
        if len(teacher.taps) != len(student.taps):
            raise ConfigError(
                f"--student-arch {self.student.arch}: its taps cannot be matched with those of the "
                f"teacher ({self.task.generator.arch}); choose networks of one family"
            )
        return teacher, student

    def _make_phases(self, components: Components) -> list[Phase]:
        trained = nn.ModuleList([self.student])
        trained += [
            side for side in (self.student_connectors, self.teacher_connectors) if side.trained
        ]
        in_blocks = self.options.teacher_block_epochs > 0
        shared = (self.student,) if self.is_judged else ()
        phases = adversarial_phases(
            self.task,
            components.optimizer,
            keeps_graph_of=shared,
            active=self._in_teacher_block if in_blocks else always,
        )
        student = Phase(
            "student",
            trained,
            adam(trained, components.optimizer),
            active=self._in_student_block if in_blocks else always,
        )
        return [*phases, student]

    def phases(self) -> list[Phase]:
        """Teacher (unless frozen), discriminator, student."""
        return self._phases

    @staticmethod
    def perceptual_taps(options: DcdOptions) -> tuple[str, ...]:
        """The taps of those of eqs. 4 and 5 that have a weight, in the network's order."""
        wanted = set(options.feature_taps if options.lambda_feature > 0 else ())
        wanted |= set(options.style_taps if options.lambda_style > 0 else ())
        return tuple(sorted(wanted))

    def generators(self) -> dict[str, TappedNetwork]:
        """The teacher and the student."""
        return {"teacher": self.task.generator, "student": self.student}

    def networks(self) -> dict[str, nn.Module]:
        """The task's networks, the student, and both connectors: the frozen ones are random too."""
        return self.task.networks() | {
            "student": self.student,
            "teacher_connectors": self.teacher_connectors,
            "student_connectors": self.student_connectors,
        }

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms: the task's for teacher and discriminator, eq. 8 for the student."""
        if phase == "teacher":
            return self.task.generator_losses(step)
        if phase == "discriminator":
            return self._discriminator_losses(step)
        return self._student_losses(step)

    def _discriminator_losses(self, step: Step) -> dict[str, Tensor]:
        """Eq. 7, the discriminator's side."""
        if not self.is_judged:
            return self.task.discriminator_losses(step)
        fake = self._translate(step).fake
        return self.task.discriminator_losses(step, fake, self.options.lambda_student)

    def _student_losses(self, step: Step) -> dict[str, Tensor]:
        """Eq. 8, the student's side: what has no weight is not computed."""
        options, teacher, student = self.options, self.task.teacher(step), self._translate(step)
        losses: dict[str, Tensor] = {}
        if self.fools:
            gan = self.task.student_gan_loss(step, student.fake)
            losses["gan"] = options.lambda_student * gan
        losses |= self._perceptual_losses(teacher.fake.detach(), student.fake)
        if options.lambda_dcd > 0:
            losses["dcd"] = options.lambda_dcd * self.dcd_loss(teacher.taps, student.taps)
        return losses

    def _translate(self, step: Step) -> Translation:
        """The student's translation with its maps, computed once for both phases that need it."""

        def compute() -> Translation:
            taps = self.student_connectors.taps if self.options.lambda_dcd > 0 else ()
            return Translation(*self.student.forward_with_taps(step.batch["source"], taps))

        translation: Translation = step.once("student", compute)
        return translation

    def _perceptual_losses(self, teacher_fake: Tensor, student_fake: Tensor) -> dict[str, Tensor]:
        """Eq. 3: weighted feature (eq. 4) and style (eq. 5) terms between the output images."""
        if self.perceptual is None:
            return {}
        options, losses = self.options, {}
        with torch.no_grad():
            teacher = self.perceptual(teacher_fake)
        student = self.perceptual(student_fake)
        if options.lambda_feature > 0:
            maps = _pick(teacher, options.feature_taps), _pick(student, options.feature_taps)
            losses["feature"] = options.lambda_feature * feature_loss(*maps)
        if options.lambda_style > 0:
            maps = _pick(teacher, options.style_taps), _pick(student, options.style_taps)
            style = style_loss(*maps, reduction=options.style_reduction)
            losses["style"] = options.lambda_style * style
        return losses

    def dcd_loss(
        self, teacher_taps: Mapping[str, Tensor], student_taps: Mapping[str, Tensor]
    ) -> Tensor:
        """Eq. 6 with l = L1: both generators' maps, seen through connectors and discriminator.

        Args:
            teacher_taps: tap name to `(N, C_T, H, W)`; no gradient flows into them.
            student_taps: as many maps of the same sizes, any channels.

        Returns: a scalar, averaged over elements and summed over taps; 0 for identical maps under
            identical connectors.

        The discriminator is not trained here, and its BatchNorm (if any) neither sees nor keeps
        the statistics of feature maps.
        """
        teacher_taps = {tap: features.detach() for tap, features in teacher_taps.items()}
        with running_statistics(self.task.discriminator):
            with torch.set_grad_enabled(self.teacher_connectors.trained):
                teacher = self._concepts(self.teacher_connectors(teacher_taps))
            student = self._concepts(self.student_connectors(student_taps))
        return discriminator_concept_loss(
            dict(zip(student, teacher.values(), strict=True)), student
        )

    def _concepts(self, maps: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """What the discriminator sees in each map; maps of one size go through it together."""
        judge: TappedNetwork = self.task.discriminator
        concepts: dict[str, dict[str, Tensor]] = {}
        for group in _by_size(maps):
            features = judge.features(
                torch.cat([maps[tap] for tap in group]), self.discriminator_taps
            )
            parts = {tap: all_of.chunk(len(group)) for tap, all_of in features.items()}
            for index, tap in enumerate(group):
                concepts[tap] = {name: part[index] for name, part in parts.items()}
        return {tap: concepts[tap] for tap in maps}

    def schedule_epoch(self, epoch: int) -> int:
        """In blocks, the learning rate moves with the teacher's epochs only, as released."""
        teacher, student = self.options.teacher_block_epochs, self.options.student_block_epochs
        if teacher == 0:
            return epoch
        block, position = divmod(epoch, teacher + student)
        return block * teacher + min(position, teacher - 1)

    def num_epochs(self, schedule_epochs: int) -> int:
        """In blocks, each `teacher_block_epochs` of the schedule (or what is left) bring more."""
        teacher, student = self.options.teacher_block_epochs, self.options.student_block_epochs
        return schedule_epochs + (math.ceil(schedule_epochs / teacher) * student if teacher else 0)

    def _in_student_block(self, progress: Progress) -> bool:
        teacher, student = self.options.teacher_block_epochs, self.options.student_block_epochs
        # the last block comes after the last teacher epoch, be its own block complete or not
        in_last = progress.epoch >= progress.num_epochs - student
        return in_last or progress.epoch % (teacher + student) >= teacher

    def _in_teacher_block(self, progress: Progress) -> bool:
        return not self._in_student_block(progress)


def _has_student_loss(options: DcdOptions, perceptual: bool) -> bool:
    fools = options.student_fools_discriminator and options.lambda_student > 0
    perceptual = perceptual and options.lambda_feature + options.lambda_style > 0
    return fools or options.lambda_dcd > 0 or perceptual


def check_options(options: DcdOptions) -> None:
    """Checks what concerns several options.

    Raises:
        ConfigError: if only one of the block lengths is set, or a weighted term has no taps.
    """
    if (options.teacher_block_epochs > 0) != (options.student_block_epochs > 0):
        raise ConfigError(
            "--teacher-block-epochs, --student-block-epochs: give both (blocks) or neither (joint)"
        )
    for weight, taps in (("lambda_feature", "feature_taps"), ("lambda_style", "style_taps")):
        if getattr(options, weight) > 0 and not getattr(options, taps):
            flag = f"--{weight.replace('_', '-')}"
            raise ConfigError(f"method.options.{taps}: is empty; name VGG16 taps or set {flag} 0")


def _known_taps(discriminator: TappedNetwork, taps: tuple[str, ...]) -> tuple[str, ...]:
    known = discriminator.tap_names()
    for tap in taps:
        if tap not in known:
            raise ConfigError(
                f"method.options.discriminator_taps: no {tap}; known: {', '.join(known)}"
            )
    return taps or discriminator.default_taps


def _by_size(maps: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of the maps, those of one shape together."""
    groups: dict[torch.Size, list[str]] = {}
    for tap, features in maps.items():
        groups.setdefault(features.shape, []).append(tap)
    return list(groups.values())


def _pick(maps: Mapping[str, Tensor], taps: tuple[str, ...]) -> list[Tensor]:
    return [maps[tap] for tap in taps]


@contextlib.contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """BatchNorm layers of `network` use and keep their running statistics within the block."""
    norms = [
        item for item in network.modules() if isinstance(item, nn.BatchNorm2d) and item.training
    ]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
