"""The options of the ways to shrink that search, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gancomp.declare import setting
from gancomp.shrink.options import BudgetOptions


@dataclass(frozen=True)
class SearchOptions(BudgetOptions):
    """Of a search that trains on the run's images first."""

    search_steps: int | None = setting(
        None,
        "--search-steps",
        "Training steps of the search.",
        shown="once-for-all 2, dmad 1, gcc 0.1, a candidate of co-evolution 0.05 times the run's",
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
class EvolutionOptions(SearchOptions):
    """Of searches whose candidates are within the budget from the first one on.

    Attributes:
        search_held_out: training images that candidates are scored on.
        slack: the share of the budget that a candidate may leave unused.
    """

    search_held_out: int = setting(
        120, "--search-held-out", "Training images held out for their scores.", least=2
    )
    slack: float = setting(
        0.01,
        "--slack",
        "The share of the budget that may be left; 1, any, is the papers' own.",
        above=0.0,
        most=1.0,
    )


@dataclass(frozen=True)
class OnceForAllOptions(EvolutionOptions):
    """Space, budget and evolution; the defaults are those of GAN-Compression's unpaired tasks.

    Attributes:
        channel_choices: the widths that each stage may have, at the image's size.
        search_score: what candidates are compared by, on images held out of training.
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
    search_score: Literal["fid", "l1"] = setting(
        "fid",
        "--search-score",
        "Candidates are compared by fid, or l1 to the teacher's images.",
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
class GccOptions(StartOptions):
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
class CatOptions(BudgetOptions):
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
