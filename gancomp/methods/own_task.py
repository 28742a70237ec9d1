"""A GAN of the student's own: the teacher's objective over again, with the student in it."""

from __future__ import annotations

from typing import Any

from torch import nn

from gancomp.engine.phases import Phase, Step
from gancomp.methods.base import Components, adam
from gancomp.networks.base import TappedNetwork
from gancomp.settings import NetworkSettings
from gancomp.tasks.base import Direction, Task, Translation
from gancomp.tasks.unpaired import UnpairedTask


def own_task(components: Components, student: TappedNetwork, **changes: Any) -> Task:
    """The run's objective with `student` as its generator and a discriminator of its own.

    Unpaired, there is a backward student too, and a discriminator for it.

    Args:
        components: with the teacher's task.
        student: source to target.
        changes: settings in which the discriminator differs from the teacher's; `arch` too.
    """
    task = components.task
    judge = task.discriminator
    settings = {"arch": judge.arch, **judge.settings(), **changes}
    return type(task)(
        student,
        NetworkSettings(**settings),
        adversarial=task.settings,
        seed=components.seed,
        role="student",
    )


def own_networks(students_task: Task) -> dict[str, nn.Module]:
    """What a checkpoint must hold of the student's task beside the student."""
    found = students_task.networks().items()
    return {students_task.named(name): item for name, item in found if name != "generator"}


def own_phases(students_task: Task, components: Components) -> list[Phase]:
    """The student's turn, then its discriminator's."""
    student, judge = students_task.teacher_networks(), students_task.discriminator_networks()
    return [
        Phase("student", student, adam(student, components.optimizer)),
        Phase("student_discriminator", judge, adam(judge, components.optimizer)),
    ]


def pairs_of(task: Task) -> dict[Direction, tuple[TappedNetwork, TappedNetwork]]:
    """Generator and discriminator of each direction."""
    pairs: dict[Direction, tuple[TappedNetwork, TappedNetwork]] = {
        "forward": (task.generator, task.discriminator)
    }
    if isinstance(task, UnpairedTask):
        pairs["backward"] = (task.backward_generator, task.backward_discriminator)
    return pairs


def term_name(task: Task, name: str, direction: Direction) -> str:
    """A term's name, which tells the direction where there are two."""
    return f"{name}_{direction}" if isinstance(task, UnpairedTask) else name


def translation_of(task: Task, step: Step, direction: Direction) -> Translation:
    """The generator's translation of one direction, computed once per step."""
    if direction == "forward":
        return task.teacher(step)
    assert isinstance(task, UnpairedTask)
    return task.backward(step)
