"""What AGD's search trains: a supernet's weights, and its architecture, in turns."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Progress, Step
from gancomp.methods.agd import agd_losses, clipped
from gancomp.methods.agd_options import AgdOptions
from gancomp.methods.apprentice import Apprentice
from gancomp.methods.base import Components, adam
from gancomp.seeding import derive_seed
from gancomp.shrink.cell_space import Shape, expected_cost
from gancomp.shrink.cell_supernet import Architecture, CellSupernet
from gancomp.shrink.search_options import AgdSearchOptions

CONSTANT = 0.2  # of each half of the training: 10 of 50 epochs; then the rate falls linearly


@dataclass(frozen=True)
class Widths:
    """Those of one pass.

    Attributes:
        widths: of the layers.
        scores: 1 each, with a gradient where they were drawn by their probabilities.
    """

    widths: Sequence[int]
    scores: Sequence[Tensor]


class Adaption(nn.Module):
    """The weight of the cost, and the networks that it was adapted by: what a checkpoint holds.

    Args:
        weight: at first, of one MAC.
        limit: that the cost is to meet; one of MACs that was found by timing stays what it was.
        checks: of a whole search.
        numbers: of one shape.
    """

    weight: Tensor
    limit: Tensor
    derived: Tensor

    def __init__(self, weight: float, limit: float, checks: int, numbers: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight))
        self.register_buffer("limit", torch.tensor(limit))
        self.register_buffer("derived", torch.full((checks, numbers), -1))

    @property
    def num_derived(self) -> int:
        """How many there are so far."""
        return int((self.derived[:, 0] >= 0).sum())

    def follow(self, shape: Shape, cost: float, least: float) -> None:
        """Notes what was derived; doubles the weight over the limit, halves it far under it.

        Args:
            shape: that was derived.
            cost: of it.
            least: the share of the limit under which it is halved.

        Source: the released code, whose bounds are 3 and 8 GFLOPs.
        """
        self.derived[self.num_derived] = torch.tensor(shape.numbers)
        if cost > float(self.limit):
            self.weight *= 2
        elif cost < least * float(self.limit):
            self.weight /= 2


class CellTraining(Apprentice):
    """AGD's loss on a supernet: weights alone at first, then in turns with the architecture.

    Of a step, the architecture's turn comes first, on images of its own. While it searches, each
    turn minimizes the sum of three passes: of widths that are drawn, the widest and the narrowest;
    before, of the widest, the narrowest and two of random widths.

    Args:
        components: with a `CellSupernet` as the student.
        options: of the search.
        steps: of both parts together.
        limit: gives what the cost's weight adapts to, in what the supernet's space counts. Asked
            once, after the first step: a search that goes on has it in its checkpoint.
        macs_by_cost: MACs for a unit of that.
        tell: told each network that would be derived, and the weight of the cost from then on.
    """

    name = "agd"
    replayable = False

    def __init__(
        self,
        components: Components,
        options: AgdSearchOptions,
        *,
        steps: int,
        limit: Callable[[], float],
        macs_by_cost: float,
        tell: Callable[[Shape, float], None],
    ) -> None:
        super().__init__(components)
        assert isinstance(self.student, CellSupernet)
        self.supernet, self.options, self.seed = self.student, options, components.seed
        self.space, self.steps = self.supernet.space, steps
        self.macs_by_cost, self.tell, self.limit = macs_by_cost, tell, limit
        self.num_pretrained = round(options.pretrain_share * self.steps)
        self.architecture = Architecture(self.space)
        numbers = len(self.space.narrowest.numbers)
        self.adaption = Adaption(options.cost_weight, 0.0, options.cost_checks, numbers)
        # as the released code: no distance of the images while there are maps to compare
        self.weights = AgdOptions(lambda_base=0.0 if self.perceptual is not None else 1.0)
        self._phases = self.begin_with_teacher(components, self._own_phases(components))

    def _own_phases(self, components: Components) -> list[Phase]:
        options, rates = self.options, components.optimizer
        architecture = Phase(
            "architecture",
            self.architecture,
            adam(self.architecture, replace(rates, lr=options.arch_lr)),
            active=lambda progress: progress.step >= self.num_pretrained,
        )
        descent = adam(self.supernet, replace(rates, lr=options.supernet_lr))
        student = Phase(
            "student",
            self.supernet,
            clipped(descent, self.supernet, AgdOptions().clip_norm),
            slowed=self._slowed,
            after=self._after,
        )
        return [architecture, student]

    def schedule_epoch(self, epoch: int) -> int:
        """Before the run's own rate falls: the weights' has a course of its own."""
        return -1

    def _slowed(self, progress: Progress) -> float:
        """Constant, then falling to 0 in each of the two halves of the training."""
        begin, end = 0, self.num_pretrained
        if progress.step >= end:
            begin, end = end, self.steps
        share = (progress.step - begin) / max(1, end - begin)
        return 1 - max(0.0, share - CONSTANT) / (1 - CONSTANT)

    def own_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """The terms of each pass, added up; for the architecture, and what it costs."""
        shown = step.held_out() if phase == "architecture" else step
        teacher = self.task.teacher(shown).fake.detach()
        with torch.no_grad():
            wanted = self.perceptual(teacher) if self.perceptual is not None else None
        losses: dict[str, Tensor] = {}
        for name, widths in self._passes(phase, step.index):
            operations = F.softmax(self.architecture.operations, -1)
            fake = self.supernet.mixed(
                shown.batch["source"], operations, widths.widths, widths.scores
            )
            terms = agd_losses(self.weights, self.perceptual, teacher, fake, wanted)
            losses |= step.minimize({name: torch.stack(list(terms.values())).sum()})
        if phase == "architecture":
            losses["cost"] = self.adaption.weight * self._expected_macs(step.index)
        return losses

    def _passes(self, phase: str, index: int) -> Iterator[tuple[str, Widths]]:
        if index >= self.num_pretrained:
            yield "sampled", self._drawn(phase, index)
        yield "widest", self._fixed(self.space.full)
        yield "narrowest", self._fixed(self.space.narrowest.widths)
        if index < self.num_pretrained:
            for name in ("random_1", "random_2"):
                numbers = random.Random(derive_seed(self.seed, "widths", name, index))
                yield name, self._fixed([numbers.choice(each) for each in self.space.widths])

    def _fixed(self, widths: Sequence[int]) -> Widths:
        return Widths(widths, [self.adaption.weight.new_ones(()) for _ in widths])

    def _drawn(self, purpose: str, index: int) -> Widths:
        hard = self.architecture.sampled_widths(self.seed, purpose, index)
        places = [int(each.argmax()) for each in hard]
        pairs = list(zip(self.space.widths, places, strict=True))
        scores = [each[place] for each, place in zip(hard, places, strict=True)]
        return Widths([widths[place] for widths, place in pairs], scores)

    def _expected_macs(self, index: int) -> Tensor:
        """AGD's F: of the operations at full width, and of drawn widths with all operations alike.

        A budget of parameters or bytes counts these, as a share of the widest network's, times the
        MACs of that.
        """
        share, drawn = self.options.operations_weight, self._drawn("cost", index)
        operations = F.softmax(self.architecture.operations, -1)
        alike = torch.full_like(operations, 1 / operations.shape[1])
        whole = self._fixed(self.space.full)
        cost = partial(expected_cost, self.space)
        of_operations = cost(operations, whole.widths, whole.scores)
        of_widths = cost(alike, drawn.widths, drawn.scores)
        return self.macs_by_cost * (share * of_operations + (1 - share) * of_widths)

    def _after(self, index: int) -> None:
        """Looks at what would be derived, as often as was asked for."""
        if index == 0:
            self.adaption.limit.fill_(self.limit())
        step, steps = index - self.num_pretrained, self.steps - self.num_pretrained
        checks = self.options.cost_checks
        if step < 0 or (step + 1) * checks // steps == step * checks // steps:
            return
        shape = self.architecture.beliefs().derived(self.space)
        self.adaption.follow(shape, self.space.cost(shape), self.options.least_of_budget)
        self.tell(shape, float(self.adaption.weight))

    def derived(self) -> list[Shape]:
        """What would have been derived at each check."""
        rows = self.adaption.derived[: self.adaption.num_derived].tolist()
        return [Shape.of(row) for row in rows]

    def networks(self) -> dict[str, nn.Module]:
        """The task's, the supernet, its architecture and the weight of what it costs."""
        own = {"architecture": self.architecture, "adaption": self.adaption}
        return super().networks() | own
