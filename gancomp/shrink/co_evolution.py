"""Co-Evolution's way to a student's shape (ICCV 2019): two populations of channel masks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from torch import Tensor

from gancomp.declare import NoOptions
from gancomp.engine.device import choose_device
from gancomp.engine.phases import Step
from gancomp.errors import ConfigError
from gancomp.methods.base import Components
from gancomp.methods.teacher_only import TeacherOnly
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.seeding import derive_seed
from gancomp.settings import Json
from gancomp.shrink.base import Judge, SearchSetup, ShrinkRequest, Shrunk
from gancomp.shrink.budget import SLACK_IN_TIME, Meter, built_on_meta, costs
from gancomp.shrink.candidates import Candidate, Candidates
from gancomp.shrink.genes import Genes, Mask, offspring
from gancomp.shrink.on_images import OnImages
from gancomp.shrink.ranked import Channels, of_channels
from gancomp.shrink.resemblance import Side, fitness_of
from gancomp.shrink.search_options import CoEvolutionOptions
from gancomp.shrink.supernet import STAGED

FORWARD, BACKWARD = "forward", "backward"
MOST_TRIES, TRIES_IN_TIME = 20, 3  # orders of channels, until one comes near to the budget


class CoEvolution(OnImages):
    """Evolves two populations of channel masks, one of each generator of a trained CycleGAN.

    A candidate has those channels of its trained generator that its mask keeps. It is tuned
    together with the other population's best, by the objective that the teacher was trained by,
    and is the fitter the nearer the trained discriminator sees its images to the teacher's, the
    less a cycle loses, and the more channels it lacks. Paired, there is one population and no
    cycle.

    Source: Shu et al. 2019 (Co-Evolution). There is no budget in the paper: `--budget 100%
    --slack 1` is as it has it.
    """

    length = 0.05  # 10 epochs for each candidate, of 200
    judges_both_ways = True
    prunes = True
    Options = CoEvolutionOptions
    options: CoEvolutionOptions

    def begin(self, setup: SearchSetup) -> CoEvolutionSearch:
        """The search with the teacher's networks.

        Raises:
            ConfigError: without a trained ResNet, or for a budget that is too small.
        """
        return CoEvolutionSearch(setup, self.options)


class Population:
    """The masks of one generator.

    Attributes:
        name: of its direction.
        whole: the trained generator.
        genes: what its masks stand for.
        masks: of this generation.
        fitnesses: of each.
        names: of the candidates that they were scored as.
    """

    def __init__(
        self, name: str, whole: TappedNetwork, request: ShrinkRequest, options: CoEvolutionOptions
    ) -> None:
        self.name, self.whole, self.options = name, whole, options
        self.genes = _genes_of(whole, request.asked)
        self.channels = Channels(whole)
        self.meter = Meter.for_request(request, options)
        self.limit = self.meter.limit(built_on_meta(request.teacher))
        self.masks: list[Mask] = []
        self.names: list[str] = []
        self.fitnesses: list[float] = []

    @property
    def best(self) -> Mask:
        """The first of the fittest."""
        return self.masks[self._fittest()]

    def _fittest(self) -> int:
        return max(range(len(self.masks)), key=lambda index: self.fitnesses[index])

    def cost(self, parts: Sequence[int]) -> float:
        """Of networks with so many channels in each part, in the budget's unit.

        A time within the budget is measured twice, as once may be luck: the longer one counts.
        """
        built, layers = self.channels.widths.built, self.genes.layers(parts)
        cost = self.meter.of_widths(built, layers)
        if self.meter.in_time and cost <= self.limit:
            cost = max(cost, self.meter.of_widths(built, layers, again=True))
        return cost

    def refuse_too_little(self, asked: str) -> None:
        """Raises ConfigError if no mask is within the budget."""
        if (least := self.cost([1] * len(self.genes.lengths))) > self.limit:
            raise ConfigError(
                f"{asked}: {self.whole.arch} with one channel in every layer takes "
                f"{self.meter.worded(least)}; give more"
            )

    def measures(self, mask: Mask) -> Json:
        """What a candidate costs, and what it is."""
        parts = self.genes.open(mask)
        return {
            "cost": self.cost(parts),
            **self.meter.counts(self.channels.widths.built, self.genes.layers(parts)),
            "closed": self.genes.closed(mask),
            "mask": "".join(map(str, mask)),
        }

    def within(self, mask: Mask, seed: int) -> Mask:
        """The mask with channels closed or opened, until it is within the budget."""
        slack, tries = self.options.slack, MOST_TRIES
        if self.meter.in_time:  # where each try measures some ten networks
            slack, tries = max(slack, SLACK_IN_TIME), TRIES_IN_TIME
        return self.genes.within(
            mask,
            self.cost,
            least=(1 - slack) * self.limit,
            most=self.limit,
            numbers=random.Random(seed),
            tries=tries,
        )

    def network(self, mask: Mask, *, as_released: bool = False) -> TappedNetwork:
        """The generator with the channels that the mask keeps, and their trained weights."""
        kept = self.genes.kept(mask, as_released=as_released)
        shape = self.channels.widths.settings([len(each) for each in kept])
        network = build_network(shape.arch, **shape.arguments())
        network.load_state_dict(of_channels(self.channels, kept))
        return network.to(next(self.whole.parameters()).device).eval()

    def shrunk(self) -> Shrunk:
        """The fittest, with its weights of the trained generator."""
        index = self._fittest()
        mask = self.masks[index]
        settings = self.channels.widths.settings(self.genes.shape(mask))
        weights = of_channels(self.channels, self.genes.kept(mask))
        found: Json = {
            "shape": self.genes.shape(mask),
            "candidate": self.names[index],
            "fitness": self.fitnesses[index],
            "scored_by": "fitness",
            **costs(built_on_meta(settings), self.meter.size),
        }
        if self.meter.in_time:
            found |= self.meter.clock.facts(self.cost(self.genes.open(mask)))
        return Shrunk(settings, {name: value.cpu() for name, value in weights.items()}, found)


def _genes_of(network: TappedNetwork, asked: str) -> Genes:
    if network.arch not in STAGED:
        raise ConfigError(
            f"{asked}: prunes {', '.join(STAGED)}, not {network.arch}; choose magnitude or width "
            "instead"
        )
    widths = tuple(network.layer_widths["channels"])
    genes = Genes(widths)
    if genes.layers(genes.lengths) != list(widths):
        raise ConfigError(
            f"{asked}: needs a teacher whose blocks are as wide inside as outside, not "
            f"{'_'.join(map(str, widths))}; choose magnitude instead"
        )
    return genes


class CoEvolutionSearch:
    """The search under way.

    Attributes:
        method: none: nothing is trained before the first candidate.
        populations: of the generators, the student's first.
    """

    method = None

    def __init__(self, setup: SearchSetup, options: CoEvolutionOptions) -> None:
        request = setup.request
        self.setup, self.options = setup, options
        if request.open_teacher is None:
            raise ConfigError(f"{request.asked}: prunes a trained teacher; give `teacher` RUN")
        if request.student.arch != request.teacher.arch:
            raise ConfigError(
                f"{request.asked}: prunes the teacher, {request.teacher.arch}; remove "
                f"`student_arch` {request.student.arch}"
            )
        self.device = choose_device(request.device)
        self.task = setup.teacher_task(whole=True).to(self.device)
        wholes = {FORWARD: self.task.generator}
        if not setup.paired:
            wholes[BACKWARD] = cast(TappedNetwork, self.task.backward_generator)
        self.populations = [
            Population(name, whole, request, options) for name, whole in wholes.items()
        ]
        first, *others = self.populations
        first.meter.keep_times_in(setup.times)
        if first.meter.in_time:
            for other in others:
                other.meter.share_clock(first.meter)
        for item in self.populations:
            item.refuse_too_little(request.asked)

    def choose(self, judge: Judge, candidates: Candidates) -> Shrunk:
        """The best of the last generation, with the teacher's weights."""
        sides, options = self._sides(), self.options
        self.setup.request.say(
            f"search: {len(sides)} x {options.population} masks, {options.generations} "
            f"generations, {self.setup.steps} steps for each candidate"
        )
        for population in self.populations:
            numbers = self._numbers(population, 0)
            drawn = [population.genes.drawn(numbers) for _ in range(options.population)]
            self._score(population, drawn, 0, sides[population.name], candidates)
        for generation in range(1, options.generations + 1):
            for population in self.populations:
                numbers = self._numbers(population, generation)
                masks, fitnesses = population.masks, population.fitnesses
                drawn = offspring(masks, fitnesses, population.best, numbers)
                self._score(population, drawn, generation, sides[population.name], candidates)
            self._tell(generation)
        return self._shrunk()

    def _numbers(self, population: Population, generation: int) -> random.Random:
        return random.Random(
            derive_seed(self.setup.seed, "co-evolution", population.name, generation)
        )

    def _sides(self) -> dict[str, Side]:
        """What candidates are scored by in each direction: the trained networks."""
        images, task = self.setup.held_out(), self.task
        sides = {
            FORWARD: Side(
                images[0],
                task.generator,
                lambda source, fake: task.judge(Step(0, {"source": source}), fake),
            )
        }
        if not self.setup.paired:
            judge = task.get_submodule("backward_discriminator")
            whole = task.get_submodule("backward_generator")
            sides[BACKWARD] = Side(images[1], whole, lambda source, fake: judge(fake))
        return sides

    def _score(
        self,
        population: Population,
        drawn: Sequence[Mask],
        generation: int,
        side: Side,
        candidates: Candidates,
    ) -> None:
        """Puts a generation in the place of the one before, once all of it is scored."""
        known: dict[Mask, Candidate] = {}
        masks = []
        for index, bits in enumerate(drawn):
            name = f"{population.name} {generation}.{index}"
            mask = population.within(bits, derive_seed(self.setup.seed, "within", name))
            masks.append(mask)
            if mask in known:  # selected or bred twice: tuned alike, it scores alike
                continue
            known[mask] = candidates.score(
                population.genes.shape(mask),
                population.measures(mask),
                partial(self._fall_short, population, mask, generation, side, candidates),
                name=name,
                compared=generation > 0 and population is self.populations[0],
            )
        population.masks = masks
        population.names = [known[mask].name for mask in masks]
        population.fitnesses = [-known[mask].score for mask in masks]

    def _fall_short(
        self,
        population: Population,
        mask: Mask,
        generation: int,
        side: Side,
        candidates: Candidates,
    ) -> float:
        """The fitness's negative, so that lower is better. The first generation is not tuned."""
        options, others = self.options, self.populations if generation else [population]
        pair = {
            each.name: each.network(
                mask if each is population else each.best,
                as_released=options.released_masks and generation > 0,
            )
            for each in others
        }
        if generation:
            self._tune(pair, generation, candidates)
        candidate = pair.pop(population.name)
        back = next(iter(pair.values()), None)
        loss = side.loss(candidate, back)
        return -fitness_of(loss, population.genes.closed(mask), options.prune_weight)

    def _tune(
        self, pair: dict[str, TappedNetwork], generation: int, candidates: Candidates
    ) -> None:
        """Trains them as the teacher was, against copies of its discriminators.

        All candidates of a generation see the same images.
        """
        start = (generation - 1) * self.setup.steps
        self.setup.train(self._method(pair), start, candidates.pause)
        for network in pair.values():
            network.eval()

    def _method(self, pair: dict[str, TappedNetwork]) -> TeacherOnly:
        task = self.setup.fresh_task(pair[FORWARD])
        judges = ["discriminator"]
        if BACKWARD in pair:
            task.backward_generator = pair[BACKWARD]
            judges.append("backward_discriminator")
        for name in judges:
            trained: dict[str, Tensor] = self.task.get_submodule(name).state_dict()
            task.get_submodule(name).load_state_dict(trained)
        components = Components(task, None, None, self.setup.optimizer, self.setup.seed)
        return TeacherOnly(components, NoOptions())

    def _tell(self, generation: int) -> None:
        each = ", ".join(
            f"{item.name} {max(item.fitnesses):.4g} "
            f"(mean {sum(item.fitnesses) / len(item.fitnesses):.4g})"
            for item in self.populations
        )
        self.setup.request.say(
            f"search: generation {generation} of {self.options.generations}: best fitness {each}"
        )

    def _shrunk(self) -> Shrunk:
        request, student = self.setup.request, self.populations[0]
        chosen = student.shrunk()
        shape = chosen.found["shape"]
        cost = partial(student.meter.of_widths, student.channels.widths.built, shape)
        request.say(
            f"{request.asked}: takes {'_'.join(map(str, shape))}, "
            f"{student.meter.worded_of(cost)}, fitness {chosen.found['fitness']:.4g}"
        )
        others = {item.name: item.shrunk() for item in self.populations[1:]}
        found = chosen.found | {name: dict(other.found) for name, other in others.items()}
        return replace(chosen, found=found, others=others)
