"""GCC's search: the released networks, the penalty, the threshold and what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from builders import random_step, small_generator
from golden_values import golden
from shrink_builders import evenly, kept_in, setup_of, share_reached, unscored
from torch import nn

from gancomp.errors import ConfigError
from gancomp.metrics.cost import measure_cost
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings
from gancomp.shrink.budget import built_on_meta, costs
from gancomp.shrink.gcc import FACTORS, RELEASED, Gcc, SparseSearch, penalized, penalty
from gancomp.shrink.ranked import Channels, cut_to, filled_up, kept_above
from gancomp.shrink.search_options import GccOptions


@pytest.mark.parametrize(("letter", "macs"), [("A", 2_383_638_528), ("B", 2_691_059_712)])
def test_the_released_widths_cost_what_the_released_networks_do(letter: str, macs: int) -> None:
    entry = golden(f"gcc/h2z widths {letter}")
    stem, down1, down2, *rest = entry["inputs"]
    channels = (stem, down1, down2, *rest[0:-3:2], *rest[-2:])
    assert RELEASED[macs] == channels
    with torch.device("meta"):
        cost = measure_cost(build_network("mobile-resnet9", channels=channels))
    wanted = entry["value"]
    found = cost.macs_torchprofile, cost.macs, cost.params
    assert found == (wanted["A"], wanted["B"], wanted["params"])
    assert cost.macs_torchprofile == macs


def begun(
    arch: str = "mobile-resnet6", budget: str = "50%", width: int = 4, **options: Any
) -> SparseSearch:
    settings = NetworkSettings(arch, width, norm=options.pop("norm", None))
    shrinker = Gcc(GccOptions(**options))
    return shrinker.begin(setup_of(shrinker, budget, settings=settings, size=32, steps=1))


@pytest.mark.parametrize(("letter", "budget"), [("A", "2.4G"), ("B", "2.7G")])
def test_the_released_shapes_are_taken_when_asked_for(
    letter: str, budget: str, tmp_path: Path
) -> None:
    search = begun("mobile-resnet9", budget, released_shape=True, budget_rule="torchprofile")
    search.meter.size = 256
    shrunk = search.choose(unscored, kept_in(tmp_path))
    params = golden(f"gcc/h2z widths {letter}")["value"]["params"]
    assert sum(p.numel() for p in built_on_meta(shrunk.student).parameters()) == params
    assert shrunk.weights is None


def test_the_released_shapes_are_of_one_network_only() -> None:
    with pytest.raises(ConfigError, match="has widths for mobile-resnet9 of 2.4G and 2.7G"):
        begun(budget="2.4G", released_shape=True)


def test_the_penalty_is_the_released_one_in_value_and_gradient() -> None:
    """By hand: 0.001 times the filters, times 2, 1000 and 2 at the ends."""
    network = small_generator(2)
    value = penalty(list(penalized(network)))
    value.backward()  # type: ignore[no-untyped-call]  # torch's lack
    ends = {"model.1": "stem", "model.4": "down1", "model.16": "up1", "model.19": "up2"}
    wanted = 0.0
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        factor = 0.001 * FACTORS.get(ends.get(name, ""), 1.0)
        if module.groups > 1 or name == "model.23":
            assert module.weight.grad is None
            continue
        wanted += factor * float(module.weight.detach().abs().sum())
        assert torch.equal(module.weight.grad, torch.sign(module.weight) * torch.tensor(factor))
    assert float(value.detach()) == pytest.approx(wanted, rel=1e-5)


def test_scales_of_norms_are_penalized_where_there_are_any() -> None:
    network = small_generator(2, norm="batch")
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    found = list(penalized(network))
    assert [id(values) for values, _ in found] != []
    assert {id(values) for values, _ in found} == {id(norm.weight) for norm in norms}
    assert {weight for _, weight in found} == {0.01}


def test_the_training_minimizes_the_penalty_beside_the_task() -> None:
    search = begun()
    losses = search.method.losses("teacher", random_step())
    assert "sparse" in losses
    assert "cycle_source" in losses
    assert "sparse" not in search.method.losses("discriminator", random_step())


def test_channels_along_the_residual_path_share_the_mean_of_their_scores() -> None:
    network = small_generator(2)
    channels = Channels(network)
    names = [[maker.name for maker in makers] for makers in channels.makers]
    assert names[0] == ["model.1"]
    assert names[2][0] == "model.7"
    assert len(names[2]) == 7  # the second convolution of each of six blocks
    each = torch.stack([maker.scores() for maker in channels.makers[2]])
    assert torch.allclose(channels.scores()[2], each.double().mean(0))
    assert torch.allclose(channels.scores("first")[2], each[0].double())


def test_bisection_finds_the_lowest_threshold_that_meets_the_limit() -> None:
    numbers = torch.Generator().manual_seed(0)
    scores = [torch.rand(n, generator=numbers, dtype=torch.float64) for n in (9, 5, 12)]
    floors = [1, 2, 1]

    def cost(widths: list[int]) -> float:
        return 3.0 * widths[0] * widths[1] + widths[1] * widths[2]

    for limit in (10.0, 60.0, 120.0):
        cut = cut_to(scores, floors, cost=cost, limit=limit)
        assert cut is not None
        meeting = [
            threshold
            for threshold in torch.cat(scores).tolist()
            if cost(kept_above(scores, floors, threshold)) <= limit
        ]
        assert cut.threshold == min(meeting)
        fuller = filled_up(cut, scores, cost=cost, limit=limit)
        assert cut.cost <= fuller.cost <= limit
        assert all(a >= b for a, b in zip(fuller.widths, cut.widths, strict=True))
    assert cut_to(scores, floors, cost=cost, limit=1.0) is None
    whole = cut_to(scores, floors, cost=cost, limit=1e9)
    assert whole is not None
    assert whole.widths == [9, 5, 12]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "width", "budget", "rule"),
    [("mobile-resnet9", 48, "2.4G", "torchprofile"), ("resnet9", 64, "10G", "true")],
)
def test_the_budget_is_reached_to_within_a_hundredth(
    arch: str, width: int, budget: str, rule: Any
) -> None:
    """Scores drawn at random; nothing is trained."""
    shrinker = Gcc(GccOptions(budget_rule=rule))
    assert 0.99 <= share_reached(shrinker, arch, width, budget, draw=evenly) <= 1


def test_the_shape_is_kept_and_the_weights_are_not(tmp_path: Path) -> None:
    search = begun(norm="batch", width=6)
    candidates = kept_in(tmp_path)
    shrunk = search.choose(unscored, candidates)
    assert shrunk.weights is None
    teacher = costs(built_on_meta(search.setup.request.teacher), 32)
    assert 0.4 * teacher["macs"] < shrunk.found["macs"] <= 0.5 * teacher["macs"]
    assert (
        shrunk.student.channels == tuple(shrunk.found["shape"])
        or list(shrunk.student.channels) == shrunk.found["shape"]
    )
    assert len(candidates.seen) > 2


def test_a_budget_below_one_channel_each_says_what_that_takes() -> None:
    with pytest.raises(ConfigError, match="with one channel in every layer takes"):
        begun(budget="0.01%")
