"""A training step as data: a list of phases, each one optimizer's turn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

HELD_OUT = "held_out_"  # before the names of what a batch has for one phase alone


@dataclass(frozen=True)
class Progress:
    """Where a run stands: finished steps, passes over the data so far, and passes in all."""

    step: int
    epoch: int
    num_epochs: int


Draw = Callable[[int], dict[str, Tensor]]  # what follows from a step's index alone, by name


def always(progress: Progress) -> bool:
    """The phase takes part in every step."""
    return True


def unchanged(progress: Progress) -> float:
    """The phase's rate is the schedule's."""
    return 1.0


def same(index: int) -> Hashable:
    """The phase does the same in every step."""
    return None


@dataclass
class Phase:
    """One optimizer's turn within a training step; several phases may share an optimizer.

    Attributes:
        name: prefix of its log keys, such as `student`.
        module: exactly what this phase may change.
        optimizer: steps over the parameters of `module`.
        keeps_graph_of: networks that this phase runs once for itself and for a later phase: their
            parameters require grad here too, so that the later phase need not run them again.
        every: takes part in each `every`-th step (16 for lazy R1).
        active: further condition, such as the blocks of a schedule.
        after: called with the step's index, from 0, once the optimizer has stepped.
        slowed: factor on the schedule's rate, such as 0.1 from some step on.
        variant: of a step's index; where it differs, the phase runs other operations: a replayed
            step is one of the same variants (`engine.graphs`).
    """

    name: str
    module: nn.Module
    optimizer: Optimizer
    keeps_graph_of: tuple[nn.Module, ...] = ()
    every: int = 1
    active: Callable[[Progress], bool] = always
    after: Callable[[int], None] | None = None
    slowed: Callable[[Progress], float] = unchanged
    variant: Callable[[int], Hashable] = same

    def __post_init__(self) -> None:
        """Notes each group's own rate, which the schedule scales: phases may differ in theirs."""
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def takes_part(self, progress: Progress) -> bool:
        """Whether this phase has its turn in the step after `progress`."""
        return progress.step % self.every == 0 and self.active(progress)


def optimizers(phases: Iterable[Phase]) -> dict[str, Optimizer]:
    """Each optimizer once, under the name of the first of the phases that share it."""
    named: dict[str, Optimizer] = {}
    for phase in phases:
        if not any(phase.optimizer is known for known in named.values()):
            named[phase.name] = phase.optimizer
    return named


def _later(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms as they are, to be minimized with the others."""
    return terms


@dataclass
class Step:
    """One training step: its batch, and what earlier phases already computed.

    Attributes:
        index: number of the step, from 0.
        batch: what the task's reader reads: `source` and `target`, each `(N, 3, H, W)` in [-1, 1];
            or `image` alike, and `label` `(N,)` where there are classes. What a method keeps for
            one of its phases is there under the same names with `HELD_OUT` before.
        shared: results by name, so that no forward pass is repeated within the step.
        notes: scalars to be logged beside the losses, by `phase/name`; nothing minimizes them.
        minimize: takes a part of a phase's terms whose graph no other term needs, and may minimize
            it right away: the graph's memory is then free for the next part. Returns the terms to
            put among the phase's losses.
        held: stands in for `drawn`, which computes values here and now: a step that is replayed has
            them at fixed addresses, where each step's are put beforehand.
    """

    index: int
    batch: dict[str, Tensor]
    shared: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Tensor] = field(default_factory=dict)
    minimize: Callable[[dict[str, Tensor]], dict[str, Tensor]] = _later
    held: Callable[[str, Draw], dict[str, Tensor]] | None = None

    def drawn(self, name: str, compute: Draw) -> dict[str, Tensor]:
        """What is random, or decided on the host, in this step: the values called `name`.

        Args:
            name: no other values of the step are called so.
            compute: gives them, by the step's index. Called once a step, maybe before it begins:
                nothing that the step computes may go into it. Shapes and devices never change.
        """
        return compute(self.index) if self.held is None else self.held(name, compute)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """The value called `name`: computed by the first phase that asks, handed to the others."""
        if name not in self.shared:
            self.shared[name] = compute()
        return self.shared[name]

    def held_out(self) -> Step:
        """A step of what the batch has for one phase alone, if there is any, else this step."""
        batch = {
            name.removeprefix(HELD_OUT): value
            for name, value in self.batch.items()
            if name.startswith(HELD_OUT)
        }
        if not batch:
            return self
        held: Step = self.once("held_out", lambda: Step(self.index, batch))
        return held


class Trainable(Protocol):
    """What the loop needs of a method."""

    def phases(self) -> list[Phase]:
        """The phases in their order; the same objects at every call."""

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Weighted scalar terms of `phase`; what is logged adds up to what is minimized."""

    def networks(self) -> dict[str, nn.Module]:
        """All that a checkpoint must hold, by name: trained, frozen at random, and pools."""

    def train(self, mode: bool = True) -> Any:
        """Sets the mode of all networks, as `nn.Module.train` does."""

    def schedule_epoch(self, epoch: int) -> int:
        """The epoch that decides the learning rate; differs from `epoch` in block schedules."""

    def num_epochs(self, schedule_epochs: int) -> int:
        """How many epochs a schedule of `schedule_epochs` takes in all."""
