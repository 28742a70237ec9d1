"""GCC's way to a student's shape (NeurIPS 2021): sparse training, one threshold, new weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from gancomp.declare import NoOptions
from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.methods.base import Components
from gancomp.methods.gcc_options import PRUNED
from gancomp.methods.teacher_only import TeacherOnly
from gancomp.networks.base import TappedNetwork
from gancomp.settings import Json, NetworkSettings
from gancomp.shrink.base import Judge, SearchSetup, Shrunk
from gancomp.shrink.budget import Meter, built_on_meta, costs
from gancomp.shrink.candidates import Candidates
from gancomp.shrink.on_images import OnImages
from gancomp.shrink.ranked import Channels, Cut, Maker, cut_within
from gancomp.shrink.search_options import GccOptions
from gancomp.tasks.base import new_network

# by the network's width in the list of its `channels`: the released code's own factors
FACTORS = {"stem": 2.0, "down1": 2.0, "up1": 1000.0, "up2": 2.0}
OF_WEIGHTS, OF_SCALES = 1e-3, 1e-2  # the paper's weights of the two penalties
# the released code's for horse2zebra, whatever its search finds, by MACs as torchprofile counts
RELEASED = {
    2_383_638_528: tuple(PRUNED),
    2_691_059_712: (24, 48, 96, 91, 73, 62, 61, 74, 54, 51, 58, 81, 48, 24),
}
RELEASED_ARCH = "mobile-resnet9"


class Gcc(OnImages):
    """Trains the start network with an L1 penalty; channels below one threshold go, then weights.

    What is penalized and compared are the scales of the norms, or, where these have none, the
    filters. Channels along a residual path share the mean of their scores. The threshold is found
    by bisection. Only the shape is kept.

    Source: Li et al. 2021 (GCC), section 3.2. The released code takes fixed widths for horse2zebra
    (`--released-shape`).
    """

    length = 0.1
    Options = GccOptions
    options: GccOptions

    def begin(self, setup: SearchSetup) -> SparseSearch:
        """The search with the start network, before training."""
        return SparseSearch(setup, self.options)


class SparseSearch:
    """The search under way.

    Attributes:
        method: trains the start network with its opponents.
        network: that network.
    """

    def __init__(self, setup: SearchSetup, options: GccOptions) -> None:
        request = setup.request
        self.setup, self.options = setup, options
        if not built_on_meta(request.teacher).layer_widths:
            raise ConfigError(
                f"{request.asked}: {request.teacher.arch} has no settings for the width of each "
                "layer; choose width instead"
            )
        width = options.start_width or request.teacher.width
        start = request.student.changed(channels=None, width=width)
        self.network = new_network(start, setup.seed, "generator")
        task = setup.fresh_task(self.network)
        components = Components(task, None, None, setup.optimizer, setup.seed)
        self.method = SparseTraining(components, options.sparsity)
        self.meter = Meter.for_request(request, options)
        self.meter.keep_times_in(setup.times)
        self.limit = self.meter.limit(built_on_meta(request.teacher))
        self.channels = Channels(self.network)
        if options.released_shape:
            self._released()
        elif self._narrowest() > self.limit:
            raise self._too_little()

    def cost(self, widths: list[int], *, again: bool = False) -> float:
        """In the budget's unit; a time is measured once, and once `again`."""
        return self.meter.of_widths(self.channels.widths.built, widths, again=again)

    def _narrowest(self, *, again: bool = False) -> float:
        return self.cost([1] * len(self.channels.widths.widths), again=again)

    def _too_little(self, *, again: bool = False) -> ConfigError:
        return ConfigError(
            f"{self.setup.request.asked}: {self.network.arch} with one channel in every layer "
            f"takes {self.meter.worded(self._narrowest(again=again))}; give more"
        )

    def choose(self, judge: Judge, candidates: Candidates) -> Shrunk:
        """The shape of what is left, without weights."""
        request = self.setup.request
        if self.options.released_shape:
            settings = self._released()
            found = costs(built_on_meta(settings), request.size)
            return Shrunk(settings, None, {"shape": list(settings.channels), **found})
        channels = self.channels
        scores = channels.scores("mean", summed=self.options.summed_norms)

        def tried(cut: Cut) -> None:
            counts = self.meter.counts(channels.widths.built, cut.widths)
            measures: Json = {"cost": cut.cost, **counts}
            candidates.score(cut.widths, measures, lambda: cut.threshold)

        cut = cut_within(
            scores,
            [1] * len(scores),
            cost=self.cost,
            again=partial(self.cost, again=True) if self.meter.in_time else None,
            limit=self.limit,
            tried=tried,
        )
        if cut is None:  # a time, where the narrowest met it only once
            raise self._too_little(again=True)
        return self._shrunk(channels, cut)

    def _shrunk(self, channels: Channels, cut: Cut) -> Shrunk:
        request, settings = self.setup.request, channels.widths.settings(cut.widths)
        cost = partial(self.cost, cut.widths)
        request.say(
            f"{request.asked}: over {cut.threshold:.4g} are {'_'.join(map(str, cut.widths))}, "
            f"{self.meter.worded_of(cost)}; its weights are new"
        )
        found: Json = {
            "shape": cut.widths,
            "threshold": cut.threshold,
            **costs(built_on_meta(settings), request.size),
        }
        if self.meter.in_time:
            found |= self.meter.clock.facts(max(cost(), cost(again=True)))
        return Shrunk(settings, None, found)

    def _released(self) -> NetworkSettings:
        """The widest of the released code's that is within the budget."""
        request = self.setup.request
        fitting = []
        for channels in RELEASED.values():
            settings = request.student.changed(width=channels[0], channels=channels)
            if (
                request.student.arch == RELEASED_ARCH
                and self.meter.of_settings(settings) <= self.limit
            ):
                fitting.append(settings)
        if not fitting:
            raise ConfigError(
                f"{request.asked}: `released_shape` has widths for {RELEASED_ARCH} of 2.4G and "
                "2.7G MACs by `budget_rule` torchprofile; remove it"
            )
        return fitting[-1]


class SparseTraining(TeacherOnly):
    """CycleGAN or pix2pix with an L1 penalty on what the generator is pruned by.

    Args:
        components: with the objective around the generator that is to be pruned.
        sparsity: weight of the penalty; None is the released code's.
    """

    def __init__(self, components: Components, sparsity: float | None = None) -> None:
        super().__init__(components, NoOptions())
        self.penalized = list(penalized(components.task.generator, sparsity))

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """The task's terms, and the penalty beside those of the generator."""
        losses = super().losses(phase, step)
        if phase != "teacher":
            return losses
        return losses | {"sparse": penalty(self.penalized)}


def penalty(penalized: list[tuple[Tensor, float]]) -> Tensor:
    """The weighted sum of absolute values; its gradient is the subgradient `weight * sign`."""
    return torch.stack([weight * values.abs().sum() for values, weight in penalized]).sum()


def penalized(
    network: TappedNetwork, sparsity: float | None = None
) -> Iterator[tuple[Tensor, float]]:
    """The scales or filters that channels are compared by, with the weight of their penalty."""
    names = ("stem", "down1", "down2")
    channels = Channels(network).makers
    places = {k: name for k, name in enumerate(names)} | {
        len(channels) - 2: "up1",
        len(channels) - 1: "up2",
    }
    is_resnet = "resnet" in network.arch
    for place, makers in enumerate(channels):
        factor = FACTORS.get(places.get(place, ""), 1.0) if is_resnet else 1.0
        for maker in makers:
            yield _penalized(maker, factor, sparsity)


def _penalized(maker: Maker, factor: float, sparsity: float | None) -> tuple[Tensor, float]:
    if maker.norm is not None:
        scales = maker.norm.get_parameter("weight")
        return scales, OF_SCALES if sparsity is None else sparsity
    return maker.convolution.weight, factor * (OF_WEIGHTS if sparsity is None else sparsity)
