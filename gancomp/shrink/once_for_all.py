"""GAN Compression's search (CVPR 2020, section 3.3): one network of shared weights for all."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial

from torch import nn

from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.methods.base import Components
from gancomp.methods.gan_compression import GanCompression
from gancomp.methods.gan_compression_options import GanCompressionOptions
from gancomp.networks.base import TappedNetwork
from gancomp.seeding import derive_seed
from gancomp.settings import Json
from gancomp.shrink.base import Judge, SearchSetup, ShrinkRequest, Shrunk
from gancomp.shrink.budget import SLACK_IN_TIME, Meter, built_on_meta, costs, counts_by_widths
from gancomp.shrink.candidates import Candidate, Candidates
from gancomp.shrink.evolution import (
    MOST_DRAWS,
    Evolution,
    Shape,
    Space,
    evolve,
    near_budget,
    read_space,
)
from gancomp.shrink.explicit import LayerWidths
from gancomp.shrink.on_images import OnImages
from gancomp.shrink.search_options import OnceForAllOptions
from gancomp.shrink.supernet import SlicedAdaptors, StageCosts, SuperNetwork, channels_of
from gancomp.shrink.transfer import carried_over
from gancomp.sizes import Size
from gancomp.tasks.base import Translation, new_network

UNPAIRED, PAIRED = (10.0, 0.01), (100.0, 1.0)  # lambda_recon and lambda_distill of the scripts
DRAWS_IN_TIME = 5  # each of which measures some ten networks


class OnceForAll(OnImages):
    """Trains one network with every narrower one in it, and looks for the best within the budget.

    Each step trains one sub-network, drawn evenly, as the method gan-compression would. Then
    candidates are compared on images held out of training: all of them, or an evolution of some.

    Source: Li et al. 2020 (GAN Compression), sections 3.3 and 4.
    """

    length = 2.0  # 200 + 200 epochs of horse2zebra, whose students have 100 + 100
    Options = OnceForAllOptions
    options: OnceForAllOptions

    def begin(self, setup: SearchSetup) -> SupernetSearch:
        """The search with its network, before training.

        Raises:
            ConfigError: without a trained teacher, or for a network without such sub-networks.
        """
        return SupernetSearch(setup, self.options)


class SupernetSearch:
    """The search under way.

    Attributes:
        method: trains the network of shared weights.
        supernet: that network.
        space: the widths that its stages may have.
    """

    def __init__(self, setup: SearchSetup, options: OnceForAllOptions) -> None:
        request = setup.request
        if request.open_teacher is None:
            raise ConfigError(f"{request.asked}: needs a trained teacher; give `teacher` FILE")
        self.setup, self.options = setup, options
        self.space = read_space(request.asked, options.channel_choices, request.teacher.width)
        self.supernet = self._supernet()
        self.affordable = Affordable(self.supernet, self.space, request, options, setup.seed)
        self.affordable.meter.keep_times_in(setup.times)
        self.affordable.refuse_too_little()
        recon, distill = PAIRED if setup.paired else UNPAIRED
        components = Components(
            setup.teacher_task(), self.supernet, None, setup.optimizer, setup.seed
        )
        self.method = SupernetTraining(
            components,
            GanCompressionOptions(lambda_recon=recon, lambda_distill=distill),
            self.space,
        )

    def _supernet(self) -> SuperNetwork:
        """Of the widest stages, with the teacher's weights where it is of the same kind."""
        request, widest = self.setup.request, self.space.widest
        teacher = request.open_teacher() if request.open_teacher is not None else None
        start = request.student
        plain = built_on_meta(start.changed(channels=None))
        channels = channels_of(widest, SuperNetwork(plain, widest).num_blocks)
        settings = start.changed(width=channels[0], channels=channels)
        full = new_network(settings, self.setup.seed, "student")
        if teacher is not None and _fits_in(full, teacher):
            full.load_state_dict(carried_over(teacher, full))
            request.say(f"{request.asked}: begins with the teacher's weights, by their norms")
        else:
            request.say(f"{request.asked}: begins with new weights; the teacher is of another kind")
        return SuperNetwork(full, widest)

    def choose(self, judge: Judge, candidates: Candidates) -> Shrunk:
        """The best sub-network within the budget, with its weights."""
        affordable = self.affordable
        fits, draw = affordable.drawing()

        def score(shape: Shape) -> Candidate:
            measures: Json = {"cost": affordable.cost(shape), **affordable.costs.of(shape)}
            device = next(self.supernet.parameters()).device
            return candidates.score(
                shape, measures, lambda: judge(self.supernet.exported(shape).to(device).eval())
            )

        options = self.options
        if options.search_all:
            best = min((score(shape) for shape in self.space if fits(shape)), key=_by_score)
        else:
            wanted = Evolution(
                options.population,
                options.generations,
                options.parent_share,
                options.mutation_share,
                options.mutation_rate,
                options.weighted_sample,
            )
            best = evolve(
                self.space, fits, score, wanted=wanted, numbers=affordable.numbers, draw=draw
            )
        if affordable.meter.in_time:
            best = affordable.met_again(candidates)
        return self._shrunk(best)

    def _shrunk(self, best: Candidate) -> Shrunk:
        request, shape = self.setup.request, best.shape
        cost = self.affordable.cost(shape, again=True)
        settings = self.supernet.settings_of(shape)
        weights = {
            name: value.detach().cpu() for name, value in self.supernet.state_of(shape).items()
        }
        request.say(
            f"{request.asked}: takes {'_'.join(map(str, shape))}, "
            f"{self.affordable.meter.worded_of(partial(self.affordable.cost, shape))}, "
            f"score {best.score:.4g}"
        )
        found: Json = {
            "shape": list(shape),
            "score": best.score,
            "scored_by": self.options.search_score,
            **costs(built_on_meta(settings), request.size),
        }
        if self.affordable.meter.in_time:
            found |= self.affordable.meter.clock.facts(cost)
        return Shrunk(settings, weights, found)


def _by_score(candidate: Candidate) -> float:
    return candidate.score


def _fits_in(full: TappedNetwork, teacher: TappedNetwork) -> bool:
    """Whether a network is as narrow as a teacher of its kind in every layer."""
    if full.arch != teacher.arch or full.settings()["norm"] != teacher.settings()["norm"]:
        return False
    widths = full.layer_widths["channels"], teacher.layer_widths["channels"]
    return all(0 < own <= theirs for own, theirs in zip(*widths, strict=True))


class Affordable:
    """The sub-networks within a budget.

    Args:
        supernet: that they are parts of.
        space: the widths that its stages may have.
        request: with the budget.
        options: how far below it a sub-network may stay.
        seed: of what is drawn.
    """

    def __init__(
        self,
        supernet: SuperNetwork,
        space: Space,
        request: ShrinkRequest,
        options: OnceForAllOptions,
        seed: int,
    ) -> None:
        self.supernet, self.space, self.request = supernet, space, request
        self.options, self.seed = options, seed
        self.meter = Meter.for_request(request, options)
        self.costs = stage_costs(supernet, request.size)
        self._measured: dict[tuple[Shape, bool], float] = {}

    def cost(self, shape: Shape, *, again: bool = False) -> float:
        """In the budget's unit; a time is measured once, and once `again`."""
        if not self.meter.in_time:
            return self.meter.of_counts(self.costs.of(shape))
        if (shape, again) not in self._measured:
            settings = self.supernet.settings_of(shape)
            self._measured[shape, again] = self.meter.of_settings(settings, again=again)
        return self._measured[shape, again]

    @property
    def limit(self) -> float:
        """The most that a sub-network may cost."""
        return self.meter.limit(built_on_meta(self.request.teacher))

    def met_again(self, candidates: Candidates) -> Candidate:
        """The best that meets a time when it is measured again, too: once may have been luck.

        Raises:
            ConfigError: if none does.
        """
        ranked = sorted(candidates.seen.values(), key=_by_score)
        for item in ranked:
            if self.cost(item.shape, again=True) <= self.limit:
                return item
        least = min(self.cost(item.shape, again=True) for item in ranked)
        raise ConfigError(
            f"{self.request.asked}: of {len(ranked)} candidates that met it none did so twice; the "
            f"fastest then took {self.meter.worded(least)}; give more"
        )

    def numbers(self, generation: int) -> random.Random:
        """Those of a generation."""
        return random.Random(derive_seed(self.seed, "evolution", generation))

    def refuse_too_little(self) -> None:
        """Raises ConfigError if the narrowest sub-network is too large."""
        if (narrowest := self.cost(self.space.narrowest)) > self.limit:
            raise ConfigError(
                f"{self.request.asked}: the narrowest of the `channel_choices` takes "
                f"{self.meter.worded(narrowest)}; give more, or narrower ones"
            )

    def drawing(self) -> tuple[Callable[[Shape], bool], Callable[[random.Random], Shape]]:
        """Whether a shape may be a candidate, and what draws one.

        The least that a candidate takes sinks where no sub-network is so near to the budget.
        """
        request, slack, limit = self.request, self.options.slack, self.limit
        if self.meter.in_time:
            slack = max(slack, SLACK_IN_TIME)
        while self._near(slack, limit, self.numbers(0)) is None:
            slack = min(1.0, 2 * slack)
            request.say(
                f"{request.asked}: no sub-network was found that near to it; trying those from "
                f"{1 - slack:.0%} of it on (`slack`)"
            )

        def fits(shape: Shape) -> bool:
            return (1 - slack) * limit <= self.cost(shape) <= limit

        return fits, lambda numbers: self._near(slack, limit, numbers) or self.space.narrowest

    def _near(self, slack: float, limit: float, numbers: random.Random) -> Shape | None:
        return near_budget(
            self.space,
            self.cost,
            least=(1 - slack) * limit,
            most=limit,
            numbers=numbers,
            weighted=self.options.weighted_sample,
            draws=DRAWS_IN_TIME if self.meter.in_time else MOST_DRAWS,
        )


_KNOWN: dict[str, StageCosts] = {}


def stage_costs(supernet: SuperNetwork, size: Size) -> StageCosts:
    """By every measure but time, of images of that size; counted once for each kind of network."""
    settings = {key: value for key, value in supernet.settings().items() if key != "channels"}
    key = json.dumps([supernet.arch, settings | {"width": None}, size])
    if key not in _KNOWN:
        layers = LayerWidths(supernet.full)
        counts = counts_by_widths(layers.built, len(layers.widths), size)
        _KNOWN[key] = StageCosts(lambda stages: counts.of(channels_of(stages, supernet.num_blocks)))
    return _KNOWN[key]


class SupernetTraining(GanCompression):
    """The method gan-compression on one sub-network a step, drawn by the step's index.

    Args:
        components: with a `SuperNetwork` as the student.
        options: of the method.
        space: the widths that its stages may have.
    """

    replayable = False
    student: SuperNetwork

    def __init__(
        self, components: Components, options: GanCompressionOptions, space: Space
    ) -> None:
        super().__init__(components, options)
        self.space, self.seed = space, components.seed

    def make_adaptors(self, seed: int) -> nn.Module:
        """Those of the widest network, each of which takes the first channels alone, too."""
        return SlicedAdaptors(self.matched.adaptors("conv", seed))

    def _translate(self, step: Step) -> Translation:
        numbers = random.Random(derive_seed(self.seed, "supernet", step.index))
        self.student.stages = self.space.sample(numbers)
        return super()._translate(step)
