"""What every method is built from: the task, its optimizers, and an optional student."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Progress, Step
from gancomp.errors import ConfigError
from gancomp.losses.perceptual import PerceptualFeatures
from gancomp.networks.base import TappedNetwork
from gancomp.settings import OptimizerSettings, Settings
from gancomp.sizes import Size
from gancomp.tasks.base import Task


@dataclass(frozen=True)
class Components:
    """What a recipe hands to a method.

    Attributes:
        task: the adversarial objective with the teacher in it.
        student: the generator to be distilled into; None when the teacher is trained alone.
        perceptual: the frozen feature network, or None if the run does without.
        optimizer: Adam's settings.
        seed: of the run.
    """

    task: Task
    student: TappedNetwork | None
    perceptual: PerceptualFeatures | None
    optimizer: OptimizerSettings
    seed: int

    def trained_student(self, method: str) -> TappedNetwork:
        """The student, which `method` cannot do without.

        Raises:
            ConfigError: if there is none.
        """
        if self.student is None:
            raise ConfigError(
                f"`method` {method}: needs a student; use gancomp pretrain for a teacher alone"
            )
        return self.student


RENAMED = {"distils": ("distills", "0.1.0", "American spelling")}  # old: new, since, reason


class Method(nn.Module, ABC):
    """What is optimized while training: one paper, one subclass, one file.

    Attributes:
        Options: dataclass of the method's own knobs, read and checked by `config.read`.
        distills: whether the method needs a student.
        tasks: the kinds of data that it works on.
        has_features: whether any of its losses compares VGG's maps.
        replayable: whether a step may be replayed as a CUDA graph: `losses` and what phases do
            `after` run the same operations in every step of the same phases and variants, wait for
            no value, and take what is random or depends on the step's index from `Step.drawn`.
        finished_teacher: whether the paper's teacher was trained before: one that is given is
            frozen unless asked otherwise; without one, it is trained beside the student.
        shared_by_ranks: whether several processes may train it, each on its share of a batch: the
            mean of their gradients must be that of the whole batch. So it is where every term is a
            mean over images, and what is not takes in all ranks' by `gancomp.ranks`. A subclass,
            which has terms of its own, does not inherit it.
        whole_teacher: the kinds of data on which a frozen teacher needs its discriminators and
            backward generator.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    distills: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("unpaired", "paired")
    has_features: ClassVar[bool] = True
    replayable: ClassVar[bool] = False
    finished_teacher: ClassVar[bool] = False
    whole_teacher: ClassVar[tuple[str, ...]] = ()
    shared_by_ranks: ClassVar[bool] = False
    Options: ClassVar[type]

    def __init_subclass__(cls, **given: Any) -> None:
        """Takes what a subclass gives by an older name for what it is now called."""
        super().__init_subclass__(**given)
        for old, (new, since, reason) in RENAMED.items():
            if old in vars(cls) and new not in vars(cls):
                setattr(cls, new, vars(cls)[old])
                warnings.warn(
                    f"{cls.__name__}.{old}: is called {new} since {since} ({reason}); rename it",
                    DeprecationWarning,
                    stacklevel=3,  # the class statement, past abc's
                )

    @staticmethod
    def perceptual_taps(options: Any) -> tuple[str, ...]:
        """The VGG taps that these options need; none means that no weights are loaded."""
        return ()

    @staticmethod
    def problems_of(settings: Settings, options: Any) -> list[str]:
        """What in the run's settings the method cannot work with, one line each."""
        return []

    task: Task

    def check_size(self, size: Size) -> None:
        """Raises ConfigError if the networks cannot work together on images of `size`."""
        self.task.check_size(size)

    def why_one_process(self) -> str | None:
        """What keeps several processes from training it, in a line; None: nothing does."""
        if vars(type(self)).get("shared_by_ranks"):
            return None
        return (
            f"`method` {self.name}: does not say of itself that several processes may train it "
            "(`shared_by_ranks`); start it without torchrun"
        )

    @abstractmethod
    def generators(self) -> dict[str, TappedNetwork]:
        """What is handed out in the end, by role: `teacher`, and `student` if it distills."""

    @abstractmethod
    def phases(self) -> list[Phase]:
        """The phases in their order; the same objects at every call."""

    @abstractmethod
    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted scalar terms of `phase`; what is logged adds up to what is minimized."""

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """All that a checkpoint must hold, by name."""

    def schedule_epoch(self, epoch: int) -> int:
        """The epoch that decides the learning rate."""
        return epoch

    def num_epochs(self, schedule_epochs: int) -> int:
        """How many epochs a schedule of `schedule_epochs` takes in all."""
        return schedule_epochs


def adam(module: nn.Module, settings: OptimizerSettings) -> torch.optim.Adam:
    """Adam over all parameters of `module`, in one kernel."""
    return torch.optim.Adam(
        module.parameters(),
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=True,
    )


class Adversaries(Protocol):
    """Teachers and discriminators that are trained against each other: a task, or several."""

    @property
    def frozen(self) -> bool:
        """Whether no teacher is trained."""

    def teacher_networks(self) -> nn.Module:
        """What the teacher's phase trains."""

    def discriminator_networks(self) -> nn.Module:
        """What the discriminator's phase trains."""


def adversarial_phases(
    task: Adversaries,
    settings: OptimizerSettings,
    *,
    keeps_graph_of: tuple[nn.Module, ...] = (),
    active: Callable[[Progress], bool],
) -> list[Phase]:
    """The teacher's phase (unless it is frozen), then the discriminator's."""
    discriminator = task.discriminator_networks()
    phases = [
        Phase(
            "discriminator",
            discriminator,
            adam(discriminator, settings),
            keeps_graph_of=keeps_graph_of,
            active=active,
        )
    ]
    if not task.frozen:
        teacher = task.teacher_networks()
        phases.insert(0, Phase("teacher", teacher, adam(teacher, settings), active=active))
    return phases
