"""DMAD (AAAI 2022): attention and verdict of a finished teacher and its discriminator.

The student plays the task's whole game by itself, in both directions if there are two, with
discriminators of its own. The differentiable mask, which its shape comes from there, is not part of
this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step, always
from gancomp.errors import ConfigError
from gancomp.losses.maps import co_attention_loss, map_distance
from gancomp.methods.base import Components, Method, adam, adversarial_phases
from gancomp.methods.dmad_options import DmadOptions
from gancomp.methods.matched_taps import MatchedTaps
from gancomp.methods.statistics import running_statistics
from gancomp.networks.base import TappedNetwork
from gancomp.seeding import derive_seed
from gancomp.settings import NetworkSettings
from gancomp.sizes import Size
from gancomp.tasks.base import Task, Translation
from gancomp.tasks.unpaired import UnpairedTask


@dataclass(frozen=True)
class Direction:
    """One translation: by the teacher and by the student, and who judges both.

    Attributes:
        teacher, student: translations of the same images.
        judge: the teacher's discriminator.
        condition: what it sees above an image `(N, C, H, W)`, or None.
    """

    teacher: Translation
    student: Translation
    judge: TappedNetwork
    condition: Tensor | None

    def seen(self, images: Tensor, taps: tuple[str, ...]) -> dict[str, Tensor]:
        """The discriminator's maps of `images`; it keeps its running statistics."""
        inputs = images if self.condition is None else torch.cat([self.condition, images], dim=1)
        with running_statistics(self.judge):
            return self.judge.features(inputs, taps)


class Dmad(Method):
    """The student's own game, and what a finished teacher and its discriminator attend to.

    Per step: the student (with its backward twin, if the data is unpaired), its discriminators. A
    teacher that is not finished has its own two turns before.
    """

    name = "dmad"
    paper = "Learning Efficient GANs for Image Translation via DMAD, AAAI 2022"
    has_features = False
    finished_teacher = True
    whole_teacher = ("unpaired", "paired")
    Options = DmadOptions

    def __init__(self, components: Components, options: DmadOptions) -> None:
        super().__init__()
        if components.student is None:
            raise ConfigError("--method dmad: needs a student; use gancomp pretrain for a teacher")
        self.options = options
        self.task, self.student = components.task, components.student
        self.own_task = task_of_the_students(self.task, self.student)
        self.matched = MatchedTaps(self.task.generator, self.student)
        self.discriminator_tap = (
            options.discriminator_tap or self.task.discriminator.default_taps[-1]
        )
        self._check_taps()
        recorded = (self.matched.of_teacher, self.matched.of_student)
        for task, taps in zip((self.task, self.own_task), recorded, strict=True):
            if options.lambda_attention == 0:
                continue
            task.recorded_taps = taps
            if isinstance(task, UnpairedTask):
                task.recorded_backward_taps = taps
        self._phases = self._make_phases(components)

    def _check_taps(self) -> None:
        known = self.task.discriminator.tap_names()
        for name in ("attention_tap", "discriminator_tap"):
            tap = getattr(self, name, getattr(self.options, name))
            if tap not in known:
                raise ConfigError(f"method.options.{name}: no {tap}; known: {', '.join(known)}")

    def _make_phases(self, components: Components) -> list[Phase]:
        student, judges = self.own_task.teacher_networks(), self.own_task.discriminator_networks()
        phases = [
            Phase("student", student, adam(student, components.optimizer)),
            Phase("student_discriminator", judges, adam(judges, components.optimizer)),
        ]
        if self.task.frozen:
            return phases
        return [*adversarial_phases(self.task, components.optimizer, active=always), *phases]

    def check_size(self, size: Size) -> None:
        """Refuses networks whose maps differ in size.

        Raises:
            ConfigError: naming the networks and the way out.
        """
        super().check_size(size)
        self.own_task.check_size(size)
        if self.options.lambda_attention > 0:
            self.matched.sizes(size)

    def phases(self) -> list[Phase]:
        """Teacher and its discriminators (unless frozen), the student, its discriminators."""
        return self._phases

    def generators(self) -> dict[str, TappedNetwork]:
        """The teacher and the student."""
        return {"teacher": self.task.generator, "student": self.student}

    def networks(self) -> dict[str, nn.Module]:
        """Both tasks' networks; those of the student's are named so."""
        own = {
            f"student_{name}": network
            for name, network in self.own_task.networks().items()
            if network is not self.student
        }
        return self.task.networks() | {"student": self.student} | own

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted terms: the task's for whoever plays it, and the teacher's for the student."""
        if phase == "teacher":
            return self.task.generator_losses(step)
        if phase == "discriminator":
            return self.task.discriminator_losses(step)
        own: Step = step.once("students_step", lambda: Step(step.index, step.batch))
        if phase == "student_discriminator":
            losses = self.own_task.discriminator_losses(own)
            names = {"teacher_fake": "fake"}  # the student is what this task calls its teacher
            return {names.get(name, name): term for name, term in losses.items()}
        return self.own_task.generator_losses(own) | self._distillation(step, own)

    def _distillation(self, step: Step, own: Step) -> dict[str, Tensor]:
        """Co-attention and verdict, summed over directions; what has no weight is not computed."""
        attention, verdict = self.options.attention_tap, self.discriminator_tap
        weights = (
            (attention, self.options.lambda_attention),
            (verdict, self.options.lambda_discriminator_map),
        )
        taps = tuple(dict.fromkeys(tap for tap, weight in weights if weight > 0))
        terms: dict[str, list[Tensor]] = {"attention": [], "discriminator_map": []}
        for direction in self._directions(step, own) if taps else ():
            student = direction.seen(direction.student.fake, taps)
            if self.options.lambda_attention > 0:
                loss = co_attention_loss(
                    list(direction.teacher.taps.values()),
                    list(direction.student.taps.values()),
                    student[attention],
                    detach_target=self.options.detach_attention,
                )
                terms["attention"].append(self.options.lambda_attention * loss)
            if self.options.lambda_discriminator_map > 0:
                with torch.no_grad():
                    teacher = direction.seen(direction.teacher.fake, (verdict,))
                distance = map_distance(teacher[verdict], student[verdict])
                terms["discriminator_map"].append(self.options.lambda_discriminator_map * distance)
        return {name: torch.stack(parts).sum() for name, parts in terms.items() if parts}

    def _directions(self, step: Step, own: Step) -> Iterator[Direction]:
        condition = step.batch["source"] if self.task.name == "paired" else None
        yield Direction(
            self.task.teacher(step),
            self.own_task.teacher(own),
            self.task.discriminator,
            condition,
        )
        if isinstance(self.task, UnpairedTask) and isinstance(self.own_task, UnpairedTask):
            yield Direction(
                self.task.backward(step),
                self.own_task.backward(own),
                self.task.backward_discriminator,
                None,
            )


def task_of_the_students(task: Task, student: TappedNetwork) -> Task:
    """The same objective, played by the student with fresh opponents of the same shape."""
    judge = task.discriminator
    return type(task)(
        student,
        NetworkSettings(arch=judge.arch, **judge.settings()),
        adversarial=task.settings,
        seed=derive_seed(task.seed, "student_task"),
    )
