"""The options of the ways to shrink that search, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from gancomp.declare import setting
from gancomp.shrink.options import BudgetOptions, FormOptions


@dataclass(frozen=True)
class SearchOptions(BudgetOptions):
    """Of a search that trains on the run's images first."""

    search_steps: int | None = setting(
        None,
        "--search-steps",
        "Training steps of the search.",
        shown="once-for-all 2, dmad and agd 1, gcc 0.1, a candidate of co-evolution 0.05 times the "
        "run's",
        least=1,
    )


def population_setting(default: int) -> int:
    """How many candidates there are at a time."""
    size: int = setting(
        default,
        "--population",
        "Candidates of a generation.",
        shown="once-for-all 100, co-evolution 32",
        least=2,
    )
    return size


def generations_setting(default: int) -> int:
    """How long a population lives."""
    number: int = setting(
        default,
        "--generations",
        "Generations of the evolution.",
        shown="once-for-all 500, co-evolution 50",
        least=1,
    )
    return number


@dataclass(frozen=True)
class HeldOutOptions(SearchOptions, FormOptions):
    """Of searches that compare candidates on images.

    Attributes:
        search_held_out: training images that candidates are scored on.
    """

    search_held_out: int = setting(
        120, "--search-held-out", "Training images held out for their scores.", least=2
    )


@dataclass(frozen=True)
class ScoredOptions(HeldOutOptions):
    """Of searches that have candidates scored.

    Attributes:
        search_score: what they are compared by, on images held out of training.
    """

    search_score: Literal["fid", "l1"] = setting(
        "fid",
        "--search-score",
        "Candidates are compared by fid, or l1 to the teacher's images.",
    )


@dataclass(frozen=True)
class EvolutionOptions(HeldOutOptions):
    """Of searches whose candidates are within the budget from the first one on.

    Attributes:
        slack: the share of the budget that a candidate may leave unused.
    """

    slack: float = setting(
        0.01,
        "--slack",
        "The share of the budget that may be left; 1, any, is the papers' own.",
        above=0.0,
        most=1.0,
    )


@dataclass(frozen=True)
class OnceForAllOptions(ScoredOptions, EvolutionOptions):
    """Space, budget and evolution; the defaults are those of GAN-Compression's unpaired tasks.

    Attributes:
        channel_choices: the widths that each stage may have, at the image's size.
        search_all: score every candidate within the budget instead of evolving some.
        population: candidates of a generation.
        generations: how many.
        parent_share: of a generation, which lives on.
        mutation_share: of the children; the others are crossed.
        mutation_rate: of each width of a child that is mutated.
        weighted_sample: how much likelier the narrowest width is than the widest, at first.
    """

    channel_choices: str = setting(
        "",
        "--channel-choices",
        "Widths to choose from, 64,48,32 for all stages or eight such lists with / between, or "
        "channels-32, channels-48, channels-64-cycleGAN, channels-64-pix2pix.",
        shown="1, 3/4, 1/2, 3/8 and 1/4 of the teacher's",
    )
    search_all: bool = setting(
        False, "--search-all", "Score all candidates, instead of evolving some."
    )
    population: int = population_setting(100)
    generations: int = generations_setting(500)
    parent_share: float = setting(
        0.25, "--parent-share", "The share that lives on.", above=0.0, most=1.0
    )
    mutation_share: float = setting(
        0.5, "--mutation-share", "Children that are mutated, not crossed.", least=0.0, most=1.0
    )
    mutation_rate: float = setting(
        0.4, "--mutation-rate", "Widths of a child that are drawn anew.", above=0.0, most=1.0
    )
    weighted_sample: float = setting(
        1.0,
        "--weighted-sample",
        "How much likelier the narrowest width is than the widest, at first.",
        least=1.0,
    )


@dataclass(frozen=True)
class StartOptions(SearchOptions):
    """Of searches that begin with a network of another width than the teacher's.

    Attributes:
        start_width: of the network that channels are taken from.
    """

    start_width: int | None = setting(
        None,
        "--start-width",
        "Width of the network that is pruned; GCC's is 48, DMAD's 32 or 64.",
        shown="the teacher's",
        least=1,
        most=4096,
    )


@dataclass(frozen=True)
class GccOptions(StartOptions, FormOptions):
    """Sparse training before the threshold.

    Attributes:
        sparsity: weight of the L1 penalty.
        summed_norms: filters are compared by their L1 norms, as released; else by the means.
        released_shape: the widths that the released code has for horse2zebra, without a search.
    """

    sparsity: float | None = setting(
        None,
        "--sparsity",
        "Weight of the L1 penalty.",
        shown="0.001 on filters, 0.01 on the scales of norms",
        least=0.0,
    )
    summed_norms: bool = setting(
        False,
        "--summed-norms",
        "Compare filters by sums of weights, as GCC's code does, not by means.",
    )
    released_shape: bool = setting(
        False,
        "--released-shape",
        "The widths that GCC's code has for horse2zebra, 2.4G and 2.7G, whatever it finds.",
    )


@dataclass(frozen=True)
class CatOptions(BudgetOptions, FormOptions):
    """One-step pruning.

    Attributes:
        min_channels: that the stem, strided and transposed convolutions keep.
        discard_weights: the student begins with new weights, as in CAT's released code.
    """

    min_channels: int = setting(
        16, "--min-channels", "Channels that layers outside the blocks keep, or a quarter.", least=1
    )
    discard_weights: bool = setting(
        False, "--discard-weights", "Begin with new weights, as CAT's released code does."
    )


@dataclass(frozen=True)
class DmadSearchOptions(StartOptions):
    """How masks close; the defaults are those of the mobile ResNet on horse2zebra.

    Attributes:
        mask_decay: weight of all sparsity terms.
        shared_weight: of channels along the residual path, within them (lambda_update).
        costly_weight: of the stem and the transposed convolutions, within them (upconv_coeff).
    """

    mask_decay: float = setting(2e-3, "--mask-decay", "Weight of what closes masks.", least=0.0)
    shared_weight: float = setting(
        5.0, "--shared-weight", "Within that: of channels along the residual path.", least=0.0
    )
    costly_weight: float = setting(
        200.0, "--costly-weight", "Within that: of the stem and the up-convolutions.", least=0.0
    )


@dataclass(frozen=True)
class CoEvolutionOptions(EvolutionOptions):
    """Two populations of channel masks; the defaults are those of the released code.

    Attributes:
        population: masks of each of the two.
        generations: after the first one, which is drawn and not tuned.
        prune_weight: what a closed channel adds to the fitness.
        released_masks: all but the first generation are scored with the stem's bits in every layer.
    """

    population: int = population_setting(32)
    generations: int = generations_setting(50)
    prune_weight: float = setting(
        0.001, "--prune-weight", "What each closed channel adds to the fitness.", least=0.0
    )
    released_masks: bool = setting(
        False,
        "--released-masks",
        "Score with the stem's mask in every layer, as Co-Evolution's code does from generation 1.",
    )


@dataclass(frozen=True)
class AgdSearchOptions(ScoredOptions, StartOptions):
    """How operations and widths are found; the defaults are those of AGD's released code.

    Attributes:
        pretrain_share: of the search's steps, in which the weights alone are trained.
        arch_share: of the training images, which operations and widths learn on; 0 lets them learn
            on those of the weights.
        supernet_lr: Adam's rate for the weights.
        arch_lr: Adam's rate for operations and widths.
        cost_weight: of one MAC in their loss, at first.
        least_of_budget: where the derived network takes less of the budget, the weight is halved;
            doubled where it takes more than all. AGD's bounds are 3 and 8 GFLOPs.
        cost_checks: how often that is looked at in a search.
        operations_weight: within the cost, of that of the operations at full width; the rest is of
            the widths with all operations alike.
        released_cells: the supernet's cells have connections that derived ones have not.
    """

    pretrain_share: float = setting(
        0.5,
        "--pretrain-share",
        "The share of a search's steps that trains weights alone.",
        least=0.0,
        most=0.99,
    )
    arch_share: float = setting(
        0.5,
        "--arch-share",
        "The share of the images that operations and widths learn on.",
        least=0.0,
        most=0.5,
    )
    supernet_lr: float = setting(
        1e-3, "--supernet-lr", "Learning rate of the supernet's weights.", above=0.0, most=10.0
    )
    arch_lr: float = setting(
        3e-4, "--arch-lr", "Learning rate of operations and widths.", above=0.0, most=10.0
    )
    cost_weight: float = setting(
        1e-17, "--cost-weight", "Weight of one MAC in their loss, at first.", least=0.0
    )
    least_of_budget: float = setting(
        0.375,
        "--least-of-budget",
        "That weight is halved under this share of the budget, doubled over all of it.",
        least=0.0,
        most=0.99,
    )
    cost_checks: int = setting(
        25, "--cost-checks", "How often that is looked at in a search.", least=1, most=10_000
    )
    operations_weight: float = setting(
        0.25,
        "--operations-weight",
        "Share of the operations in that cost; the rest is of the widths.",
        least=0.0,
        most=1.0,
    )
    released_cells: bool = setting(
        False,
        "--released-cells",
        "The supernet's cells are wider inside than derived ones, as in AGD's released code.",
    )

    held_out_option: ClassVar[str] = "arch_share"

    @property
    def held_out_share(self) -> float:
        """What the recipe keeps out of the training images and shows beside them."""
        return self.arch_share
