"""AutoGAN-Distiller's way to a student's shape (ICML 2020): cells that learn what to be."""

from __future__ import annotations

from functools import partial

from gancomp.errors import ConfigError
from gancomp.losses.perceptual import PerceptualFeatures
from gancomp.methods.agd import Agd as Distillation
from gancomp.methods.agd_options import AgdOptions
from gancomp.methods.base import Components
from gancomp.networks.base import construct, initialize
from gancomp.seeding import derive_generator
from gancomp.settings import Json, NetworkSettings
from gancomp.shrink.base import Judge, SearchSetup, Shrunk
from gancomp.shrink.budget import Meter, built_on_meta
from gancomp.shrink.candidates import Candidate, Candidates
from gancomp.shrink.cell_choice import Beliefs, within
from gancomp.shrink.cell_space import CellSpace, Shape
from gancomp.shrink.cell_supernet import CellSupernet
from gancomp.shrink.cell_training import CellTraining
from gancomp.shrink.filling import CLOSE
from gancomp.shrink.on_images import OnImages
from gancomp.shrink.search_options import AgdSearchOptions

ROUNDS = 8  # of bisection for a time


class Agd(OnImages):
    """Trains a supernet on the teacher's images, then its weights and its architecture in turns.

    Nine cells between a ResNet's stem and head are mixtures of four operations, and every layer
    has one of five widths, drawn by Gumbel-softmax. Their probabilities learn on images of their
    own, from the same loss and what the network costs, whose weight adapts to the budget. The
    student is the most probable network, changed as little as the budget demands; its weights are
    new.

    Source: Fu et al. 2020 (AutoGAN-Distiller), section 3, and the released code's settings.
    """

    has_features = True
    finds = "agd"
    length = 1.0  # 100 epochs of half the images in batches of 2, before 400 in batches of 16
    Options = AgdSearchOptions
    options: AgdSearchOptions

    def begin(self, setup: SearchSetup) -> CellSearch:
        """The search with its supernet, before training."""
        return CellSearch(setup, self.options)


class CellSearch:
    """The search under way.

    Attributes:
        method: trains supernet and architecture.
        space: the networks that may be found.
        most: that one may cost, in the budget's unit.
    """

    def __init__(self, setup: SearchSetup, options: AgdSearchOptions) -> None:
        request = setup.request
        self.setup, self.options = setup, options
        if request.open_teacher is None:
            raise ConfigError(f"{request.asked}: needs a trained teacher; give `teacher` FILE")
        teacher = built_on_meta(request.teacher)
        own = teacher.settings()
        if teacher.scale != 1 or not {"in_channels", "out_channels"} <= own.keys():
            raise ConfigError(
                f"{request.asked}: finds generators that translate images, not {teacher.arch}"
            )
        self.meter = Meter.for_request(request, options)
        self.meter.keep_times_in(setup.times)
        self.most = self.meter.limit(teacher)
        self.space = CellSpace(
            options.start_width or request.teacher.width,
            own["in_channels"],
            own["out_channels"],
            size=request.size,
            cost_of=self.meter.of_counts,
        )
        self._narrowest()
        components = Components(
            setup.teacher_task(), self._supernet(), self._features(), setup.optimizer, setup.seed
        )
        self.method = CellTraining(
            components,
            options,
            steps=setup.steps,
            limit=self.limit,
            macs_by_cost=self._macs_by_cost(),
            tell=self._tell,
        )

    @property
    def widest(self) -> NetworkSettings:
        """Of the widest student that may be found."""
        return self.space.settings(self.space.widest)

    def _macs_by_cost(self) -> float:
        """Of the widest network, where the budget is of parameters or bytes."""
        if self.meter.budget.measure not in ("params", "bytes"):
            return 1.0
        return float(
            self.space.costs(self.space.widest)["macs"] / self.space.cost(self.space.widest)
        )

    def _tell(self, shape: Shape, weight: float) -> None:
        self.setup.request.say(
            f"search: would derive {shape.worded()}, {self.counted(shape)}; the cost now weighs "
            f"{weight:.2g}"
        )

    def cost(self, shape: Shape) -> float:
        """In the budget's unit.

        A time within the budget is measured twice, as once may be luck: the longer one counts.
        """
        if not self.meter.in_time:
            return self.space.cost(shape)
        settings = self.space.settings(shape)
        cost = self.meter.of_settings(settings)
        if cost <= self.most:
            cost = max(cost, self.meter.of_settings(settings, again=True))
        return cost

    def counted(self, shape: Shape) -> str:
        """What the space counts, as a person writes it."""
        if self.meter.in_time:
            return f"{self.space.cost(shape) / 1e9:.4g}G MACs"
        return self.meter.worded(self.space.cost(shape))

    def _narrowest(self) -> float:
        """The cost of the narrowest network, which must be within the budget."""
        if (least := self.cost(self.space.narrowest)) > self.most:
            raise ConfigError(
                f"{self.setup.request.asked}: 1x1 convolutions of the narrowest widths take "
                f"{self.meter.worded(least)}; give more, or a smaller `start_width`"
            )
        return least

    def limit(self) -> float:
        """The most in what the space counts; for a time the MACs that should take it.

        Raises:
            ConfigError: if the narrowest network exceeds it.
        """
        least = self._narrowest()
        if not self.meter.in_time:
            return self.most
        low, high = map(self.space.cost, (self.space.narrowest, self.space.widest))
        share = (self.most - least) / max(1e-9, self.cost(self.space.widest) - least)
        return low + min(1.0, max(0.0, share)) * (high - low)

    def _within(self, beliefs: Beliefs) -> tuple[Shape, float]:
        """What fits the budget; a time twice, of the MACs that bisection finds to take it."""
        if not self.meter.in_time:
            return within(self.space, beliefs, self.most)
        best = self.space.narrowest, self._narrowest()
        if (cost := self.cost(self.space.widest)) <= self.most:
            return self.space.widest, cost
        low, high = self.space.cost(best[0]), self.space.cost(self.space.widest)
        for _ in range(ROUNDS):
            middle = (low + high) / 2
            shape, _ = within(self.space, beliefs, middle)
            if (cost := self.cost(shape)) <= self.most:
                best, low = (shape, cost), middle
            else:
                high = middle
        return best

    def _worded(self, shape: Shape) -> str:
        if not self.meter.in_time:
            return self.meter.worded(self.space.cost(shape))
        return self.meter.worded_of(partial(self.meter.of_settings, self.space.settings(shape)))

    def _supernet(self) -> CellSupernet:
        supernet = construct(lambda: CellSupernet(self.space, released=self.options.released_cells))
        initialize(supernet, derive_generator(self.setup.seed, "init", "supernet"))
        return supernet

    def _features(self) -> PerceptualFeatures | None:
        found = self.setup.features(Distillation.perceptual_taps(AgdOptions()))
        if found is None:
            asked = self.setup.request.asked
            self.setup.request.say(f"{asked}: learns from the images alone, without `perceptual`")
        return found

    def choose(self, judge: Judge, candidates: Candidates) -> Shrunk:
        """The most probable network within the budget, without weights."""
        request, method = self.setup.request, self.method
        beliefs = method.architecture.beliefs()
        derived = beliefs.derived(self.space)

        def score(shape: Shape) -> Candidate:
            return self._scored(shape, judge, candidates)

        for shape in [*method.derived(), derived]:
            score(shape)
        shape, cost = self._within(beliefs)
        best = score(shape)
        request.say(
            f"{request.asked}: takes {shape.worded()}, {self._worded(shape)}, score "
            f"{best.score:.4g}; before it was made to fit the budget it was {derived.worded()}, "
            f"{self.counted(derived)}; its weights are new"
        )
        if cost < CLOSE * self.most and list(shape.widths) == self.space.full:
            request.say(
                f"{request.asked}: that is the widest, {cost / self.most:.0%} of the budget; a "
                "larger `start_width` would use more"
            )
        found: Json = {
            "shape": list(shape.numbers),
            "operations": shape.named,
            "derived": list(derived.numbers),
            "score": best.score,
            "scored_by": self.options.search_score,
            **self.space.costs(shape),
        }
        if self.meter.in_time:
            found |= self.meter.clock.facts(cost)
        return Shrunk(self.space.settings(shape), None, found)

    def _scored(self, shape: Shape, judge: Judge, candidates: Candidates) -> Candidate:
        supernet = self.method.supernet
        device = next(supernet.parameters()).device
        measures: Json = {
            "cost": self.cost(shape),
            "operations": shape.named,
            "channels": list(shape.widths),
            **self.space.costs(shape),
        }
        return candidates.score(
            shape.numbers, measures, lambda: judge(supernet.exported(shape).to(device).eval())
        )
