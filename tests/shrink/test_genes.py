"""Masks of channels: what their bits stand for, how they are bred, and kept within a budget."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from golden_values import golden, u
from shrink_builders import golden_mask

from gancomp.metrics.cost import measure_cost
from gancomp.registry import build_network
from gancomp.shrink.genes import Genes, crossed, flipped, offspring, roulette, segment

WHOLE = (64, 128, *[256] * 10, 128, 64)
GENES = Genes(WHOLE)


def test_the_bits_stand_for_the_channels_that_the_released_code_has_them_for() -> None:
    sizes = golden("coevo/network sizes")["value"]
    assert list(GENES.lengths) == sizes["mask_channels"]
    assert sum(GENES.lengths) == sizes["bits"]
    wanted, mask = golden("coevo/compute_layer_mask")["value"], golden_mask(300)
    stem, down1, *path, up1, up2, image = wanted["ones"]
    assert image == 3
    assert len(path) == 1 + 2 * GENES.num_blocks  # each block has two convolutions
    assert list(GENES.open(mask)) == [stem, down1, path[0], up1, up2]
    assert GENES.closed(mask) == wanted["zeros_total"]


@pytest.mark.parametrize("which", ["as meant", "as released"])
def test_the_channels_that_a_candidate_loses_are_the_released_ones(which: str) -> None:
    wanted = golden(f"coevo/zeroed output channels per layer of the A2B candidate, {which}")
    kept = GENES.kept(golden_mask(300), as_released=which == "as released")
    stem, down1, down2, *inner, up1, up2 = [
        width - len(each) for width, each in zip(WHOLE, kept, strict=True)
    ]
    blocks = [lost for inside in inner for lost in (inside, down2)]
    assert [stem, down1, down2, *blocks, up1, up2, 0] == [lost for _, lost, _ in wanted["value"]]


@pytest.mark.parametrize(("name", "closed"), [("mask A", True), ("all ones", False)])
def test_a_candidate_costs_what_the_released_pruned_generator_does(name: str, closed: bool) -> None:
    mask = golden_mask(300) if closed else (1,) * 640
    with torch.device("meta"):
        cost = measure_cost(build_network("resnet9", channels=GENES.shape(mask)))
    wanted = golden(f"coevo/pruned generator, {name}")["value"]
    found = cost.macs_torchprofile, cost.macs, cost.params
    assert found == (wanted["A"], wanted["B"], wanted["params"])


class NumpysNumbers:
    """Those of numpy's global generator, as the released code draws them: places by twos."""

    def __init__(self, seed: int) -> None:
        self.numbers, self.places = np.random.RandomState(seed), list[int]()

    def random(self) -> float:
        return float(self.numbers.rand(1).item())

    def randrange(self, stop: int, /) -> int:
        self.places = self.places or self.numbers.randint(0, stop, 2).tolist()
        return self.places.pop(0)


def test_masks_are_selected_crossed_and_mutated_as_released() -> None:
    masks = [tuple((u((640,), 310 + k) > 0.5).int().tolist()) for k in range(4)]
    fitnesses, numbers = [1.0, 2.0, 3.0, 4.0], NumpysNumbers(3)
    wanted = golden("coevo/GA operators, numpy seed 3")["value"]
    selected = roulette(fitnesses, numbers)
    assert [sum(masks[selected]), fitnesses[selected]] == wanted["roulette"]
    one, other = [masks[roulette(fitnesses, numbers)] for _ in range(2)]
    pair = crossed(one, other, segment(640, numbers))
    assert [sum(mask) for mask in pair] == wanted["crossover"]
    parent = masks[roulette(fitnesses, numbers)]
    assert sum(flipped(parent, segment(640, numbers))) == wanted["mutation"]


def test_what_lies_between_two_places_is_crossed_or_flipped() -> None:
    assert crossed((0, 0, 0, 0), (1, 1, 1, 1), slice(1, 3)) == ((0, 1, 1, 0), (1, 0, 0, 1))
    assert flipped((0, 1, 1, 0), slice(1, 4)) == (0, 0, 0, 1)


def test_the_wheel_turns_in_proportion_to_fitness() -> None:
    numbers = random.Random(0)
    counts = np.bincount([roulette([1.0, 2.0, 5.0], numbers) for _ in range(4000)])
    assert np.allclose(counts / 4000, [1 / 8, 2 / 8, 5 / 8], atol=0.03)


def test_a_generation_begins_with_the_best_and_has_the_shares_of_the_released_code() -> None:
    """Masks of one value each, so that what became of the parents can be told."""
    masks = [(value,) * 40 for value in (0, 1)]
    population = [*masks] * 1000
    children = offspring(population, [1.0] * len(population), masks[1], random.Random(0))
    assert len(children) == len(population)
    assert children[0] == masks[1]
    again = offspring(population, [1.0] * len(population), masks[1], random.Random(0))
    assert children == again
    # of draws, 0.2 are selected (one child), 0.7 crossed (two) and 0.1 mutated (one); of those
    # crossed, half have two equal parents
    mixed = sum(0 < sum(child) < 40 for child in children) / len(children)
    assert mixed == pytest.approx((0.7 * 2 * 0.5 + 0.1) / 1.7 * 0.975, abs=0.05)


def test_a_mask_within_the_budget_stays_as_it_is() -> None:
    genes, mask = Genes((4, 8, 16, 16, 8, 4)), tuple([1, 0] * 20)
    numbers = random.Random(0)
    found = genes.within(mask, lambda parts: float(sum(parts)), least=19, most=20, numbers=numbers)
    assert found == mask


@pytest.mark.parametrize(("least", "most"), [(9, 10), (30, 31), (0, 12)])
def test_others_lose_and_gain_no_more_channels_than_they_must(least: int, most: int) -> None:
    genes, mask = Genes((4, 8, 16, 16, 8, 4)), tuple([1, 0] * 20)
    numbers = random.Random(1)

    def cost(parts: tuple[int, ...]) -> float:
        return float(sum(parts))

    found = genes.within(mask, cost, least=least, most=most, numbers=numbers)  # type: ignore[arg-type]  # fewer kinds
    assert max(least, most - 1) <= cost(genes.open(found)) <= most
    assert min(genes.open(found)) >= 1
    changes = {(old, new) for old, new in zip(mask, found, strict=True) if old != new}
    assert changes <= ({(1, 0)} if most < 20 else {(0, 1)}) | {(0, 1)}


def test_two_places_bound_a_segment() -> None:
    numbers = random.Random(0)
    parts = [segment(10, numbers) for _ in range(200)]
    assert all(0 <= part.start <= part.stop < 10 for part in parts)
    assert {part.start for part in parts} == set(range(10))
