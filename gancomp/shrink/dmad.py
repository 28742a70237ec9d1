"""DMAD's way to a student's shape (AAAI 2022): differentiable masks that a falling bound closes."""

from __future__ import annotations

import torch
from torch import Tensor

from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.losses.masks import NUM_UPDATES, bound_at
from gancomp.methods.base import Components
from gancomp.methods.dmad import Dmad as Distillation
from gancomp.methods.dmad_options import DmadOptions
from gancomp.settings import Json
from gancomp.shrink.base import Judge, SearchSetup, Shrunk
from gancomp.shrink.budget import Budget, Meter, built_on_meta, costs
from gancomp.shrink.candidates import Candidates
from gancomp.shrink.masked import MaskedChannels
from gancomp.shrink.on_images import OnImages
from gancomp.shrink.ranked import Cut, cut_to, filled_up
from gancomp.shrink.search_options import DmadSearchOptions
from gancomp.shrink.supernet import STAGED
from gancomp.tasks.base import new_network

ATTENTION_PAIRED = 10.0  # lambda_attention of the paired tasks


class Dmad(OnImages):
    """Trains a network with a mask on every channel, until what is open is within the budget.

    A channel's mask is a smooth step, whose width, the bound, falls to 0 in three quarters of the
    training. Sparsity terms push masks to close; channels along the residual path are tied. Once
    the open channels are within the budget, they alone are trained on; they are the student, with
    their weights. Where they are still too many when the bound is 0, the best of them are.

    Source: Li et al. 2022 (DMAD), sections 3.1 to 3.3, with the method `dmad`'s distillation.
    """

    length = 1.0
    Options = DmadSearchOptions
    options: DmadSearchOptions

    def read(self, asked: str, budget: str) -> Budget:
        """The budget, of what can be counted: masks close by it in the middle of the training.

        Raises:
            ConfigError: if it is none, or a time.
        """
        found = super().read(asked, budget)
        if found.measure == "ms":
            raise ConfigError(
                f"{asked}: masks close by what is counted; give MACs (2.4G), parameters (0.3M), "
                "bytes or a share, or choose once-for-all, gcc, magnitude or width"
            )
        return found

    def begin(self, setup: SearchSetup) -> MaskSearch:
        """The search with the masked network, before training."""
        return MaskSearch(setup, self.options)


class MaskSearch:
    """The search under way.

    Attributes:
        method: trains the masked network.
        masked: its masks.
    """

    def __init__(self, setup: SearchSetup, options: DmadSearchOptions) -> None:
        request = setup.request
        self.setup, self.options = setup, options
        if request.open_teacher is None:
            raise ConfigError(f"{request.asked}: needs a trained teacher; give `teacher` FILE")
        if request.student.arch not in STAGED:
            raise ConfigError(
                f"{request.asked}: masks {', '.join(STAGED)}, not {request.student.arch}"
            )
        width = options.start_width or request.teacher.width
        start = request.student.changed(channels=None, width=width)
        network = new_network(start, setup.seed, "student")
        self.masked = MaskedChannels(network, setup.seed)
        self.meter = Meter.for_request(request, options)
        self.limit = self.meter.limit(built_on_meta(request.teacher))
        least = self.cost([1] * self.masked.num_widths)
        if least > self.limit:
            raise ConfigError(
                f"{request.asked}: {start.arch} with one channel in every layer takes "
                f"{self.meter.worded(least)}; give more"
            )
        components = Components(
            setup.teacher_task(whole=True), network, None, setup.optimizer, setup.seed
        )
        attention = ATTENTION_PAIRED if setup.paired else DmadOptions().lambda_attention
        self.method = MaskTraining(components, DmadOptions(lambda_attention=attention), self)

    def cost(self, widths: list[int]) -> float:
        """In the budget's unit."""
        return self.meter.of_widths(self.masked.channels.widths.built, widths)

    def cut(self, threshold: float) -> Cut | None:
        """What is over a threshold, filled up, if it is within the budget."""
        scores = self.masked.scores()
        widths = [max(1, int((values > threshold).sum())) for values in scores]
        if self.cost(widths) > self.limit:
            return None
        cut = Cut(threshold, widths, self.cost(widths))
        return filled_up(cut, scores, cost=self.cost, limit=self.limit)

    def best(self) -> Cut:
        """The channels of the largest mask weights that are within the budget."""
        scores = self.masked.scores()
        found = cut_to(scores, [1] * len(scores), cost=self.cost, limit=self.limit)
        assert found is not None, "checked before the training"
        return filled_up(found, scores, cost=self.cost, limit=self.limit)

    def kept(self, widths: list[int]) -> list[list[int]]:
        """The channels of the largest mask weights, as many as each width says."""
        pairs = zip(self.masked.scores(), widths, strict=True)
        return [torch.topk(values, width).indices.sort().values.tolist() for values, width in pairs]

    def choose(self, judge: Judge, candidates: Candidates) -> Shrunk:
        """The open channels, with their weights; the best of them, if they are too many."""
        request, masked = self.setup.request, self.masked
        scores = masked.scores()
        if bool(self.method.is_settled):
            widths = [int((values > 0).sum()) for values in scores]
            cut = Cut(0.0, widths, self.cost(widths))
        else:
            cut = self.best()
        kept = self.kept(cut.widths)
        settings = masked.channels.widths.settings(cut.widths)
        measures: Json = costs(built_on_meta(settings), request.size)
        candidates.score(cut.widths, {"cost": cut.cost, **measures}, lambda: cut.threshold)
        request.say(
            f"{request.asked}: open are {'_'.join(map(str, cut.widths))}, "
            f"{self.meter.worded(cut.cost)}"
        )
        found_here = {"shape": cut.widths, "settled": bool(self.method.is_settled), **measures}
        return Shrunk(settings, masked.extracted(kept), found_here)


class MaskTraining(Distillation):
    """The method dmad on a masked network, whose masks close as the bound falls.

    Args:
        components: with the masked network as the student.
        options: of the method.
        search: whose budget ends the closing.
    """

    replayable = False
    is_settled: Tensor

    def __init__(self, components: Components, options: DmadOptions, search: MaskSearch) -> None:
        super().__init__(components, options)
        self._search = [search]  # a list: it is none of the method's modules
        self.register_buffer("is_settled", torch.zeros((), dtype=torch.bool))
        for phase in self._phases:
            if phase.name == "student":
                phase.after = self._after

    def own_losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """The method's terms, and what closes the masks beside the student's."""
        if phase != "student":
            return super().own_losses(phase, step)
        search = self._search[0]
        self._narrow(step.index)
        losses = super().own_losses(phase, step)
        if bool(self.is_settled):
            return losses
        options = search.options
        sparsity = search.masked.sparsity(
            costly_weight=options.costly_weight, shared_weight=options.shared_weight
        )
        return losses | {"sparse": options.mask_decay * sparsity}

    def _narrow(self, index: int) -> None:
        """Moves the bound; once the open channels fit, they are the student's for good."""
        search = self._search[0]
        if bool(self.is_settled):
            return
        bound = bound_at(index + 1, search.setup.steps, updates=NUM_UPDATES)
        masks = search.masked.all()
        if index and bound == masks[0].bound:
            return
        for mask in masks:
            mask.narrow_to(bound)
        cut = search.cut(-bound)
        if cut is None and bound <= 0:
            cut = search.best()  # the sparsity terms were too weak for so short a training
        if cut is not None:
            search.masked.settle(search.kept(cut.widths))
            self.is_settled.fill_(True)

    def _after(self, index: int) -> None:
        for mask in self._search[0].masked.all():
            mask.hold()

    def networks(self) -> dict[str, torch.nn.Module]:
        """The method's, and whether the masks are settled."""
        return super().networks() | {"masks": _Flag(self)}


class _Flag(torch.nn.Module):
    """Holds the buffer of the method in its checkpoints."""

    is_settled: Tensor

    def __init__(self, method: MaskTraining) -> None:
        super().__init__()
        self.register_buffer("is_settled", method.is_settled)
