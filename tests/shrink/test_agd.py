"""AGD's search: draws and costs of the released code, one supernet, and what is derived from it."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from builders import random_batch, random_features, small_generator, small_upscaler, snapshot
from golden_values import assert_golden, assert_value_and_gradient, g, golden, u
from shrink_builders import clocked, kept_in, setup_of, train
from torch import Tensor

from gancomp.engine.phases import HELD_OUT, Progress, Step
from gancomp.errors import ConfigError
from gancomp.metrics.cost import measure_cost
from gancomp.networks.agd import OPERATIONS
from gancomp.networks.base import TappedNetwork, construct
from gancomp.settings import NetworkSettings
from gancomp.shrink.agd import Agd, CellSearch
from gancomp.shrink.budget import Meter, built_on_meta, costs
from gancomp.shrink.cell_choice import Beliefs, within
from gancomp.shrink.cell_space import CellSpace, Shape, expected_cost
from gancomp.shrink.cell_supernet import CellSupernet, hard_gumbel_softmax
from gancomp.shrink.cell_training import Adaption
from gancomp.shrink.search_options import AgdSearchOptions

MIXED = Shape((0, 1, 2, 3, 3, 2, 1, 0, 2), (8, 16, 24, 16, 16, 24, 24, 32, 32, 16, 16, 24, 8, 8))
ODD = Shape((3, 2, 3, 2, 0, 1, 2, 3, 2), (5, 11, 20, 21, 21, 13, 32, 9, 9, 8, 30, 31, 15, 7))


def space_of(width: int = 8, size: Any = 16, options: Any = None, budget: str = "50%") -> CellSpace:
    meter = Meter(Agd(AgdSearchOptions()).read("", budget), options or AgdSearchOptions(), 256, "")
    return CellSpace(width, 3, 3, size=size, cost_of=meter.of_counts)


def numbers_of(space: CellSpace, seed: int) -> Beliefs:
    draw = random.Random(seed)

    def probabilities(count: int) -> list[float]:
        logits = torch.tensor([draw.gauss(0, 1) for _ in range(count)], dtype=torch.float64)
        values: list[float] = F.log_softmax(logits, -1).tolist()
        return values

    return Beliefs(
        [probabilities(len(OPERATIONS)) for _ in range(9)],
        [probabilities(len(each)) for each in space.widths],
    )


def test_widths_are_the_released_ones_and_equal_ones_are_one_choice() -> None:
    wanted = golden("agd/make_divisible widths")["value"]
    space = space_of(64)
    for full, widths in zip(space.full, space.widths, strict=True):
        assert widths == wanted[str(full)]
    assert space_of(8).widths[:3] == [[8], [8, 16], [16, 24, 32]]


@pytest.mark.parametrize("shape", [MIXED, ODD])
def test_the_costs_of_the_layers_add_up_to_those_of_the_network(shape: Shape) -> None:
    space = space_of(size=(16, 24))
    network = built_on_meta(space.settings(shape))
    assert space.costs(shape) == costs(network, (16, 24))
    assert space.cost(shape) == measure_cost(network, (1, 3, 16, 24)).macs


def test_a_draw_is_the_released_one_in_value_and_gradient() -> None:
    logits = (0.5 * g((3, 5), 7)).requires_grad_()
    drawn = hard_gumbel_softmax(F.log_softmax(logits, -1), u((3, 5), 11))
    entry = golden("agd/hard Gumbel-softmax")
    assert_golden(drawn, entry["value"])
    (gradient,) = torch.autograd.grad((drawn * g((3, 5), 13)).sum(), logits)
    assert_golden(gradient, entry["grad"])


def test_the_expected_cost_is_the_released_one_in_value_and_gradients() -> None:
    """By torchprofile's rule, by which thop, too, counts transposed convolutions."""
    name = "agd/flops of the supernet"
    space = space_of(64, 256, AgdSearchOptions(budget_rule="torchprofile"))
    alpha, ratio, ratio_sh = (
        (0.5 * g(shape, k)).requires_grad_()
        for shape, k in (((9, 4), 21), ((9, 5), 22), ((5, 5), 23))
    )
    inner = [hard_gumbel_softmax(F.log_softmax(ratio[k], -1), u((5,), 100 + k)) for k in range(9)]
    outer = [
        hard_gumbel_softmax(F.log_softmax(ratio_sh[k], -1), u((5,), 200 + k)) for k in range(5)
    ]
    hard = [*outer[:3], *inner, *outer[3:]]
    widths = [each[int(k.argmax())] for each, k in zip(space.widths, hard, strict=True)]
    scores = [k[int(k.argmax())] for k in hard]
    ones = [alpha.new_ones(())] * 14
    of_operations = expected_cost(space, F.softmax(alpha, -1), space.full, ones)
    of_widths = expected_cost(space, torch.full_like(alpha, 0.25), widths, scores)
    assert_golden(of_operations, golden(name)["of_operations"])
    assert_golden(of_widths, golden(name)["of_widths"])
    cost = 0.25 * of_operations + 0.75 * of_widths
    assert_value_and_gradient(cost, name, alpha)
    assert_value_and_gradient(cost, name, ratio, key="grad_ratio")
    assert_value_and_gradient(cost, name, ratio_sh, key="grad_ratio_sh")


def small_supernet(**options: Any) -> CellSupernet:
    return construct(lambda: CellSupernet(space_of(), **options))


def one_hot(shape: Shape) -> Tensor:
    return F.one_hot(torch.tensor(shape.operations), len(OPERATIONS)).float()


@torch.no_grad()
def test_a_sub_network_is_the_exported_one_bit_for_bit() -> None:
    supernet, images = small_supernet().eval(), random_batch(2, 16)["source"]
    for shape in (MIXED, ODD, supernet.space.narrowest, supernet.space.widest):
        supernet.shape = shape
        exported = supernet.exported(shape).eval()
        assert exported.settings()["operations"] == shape.named
        assert torch.equal(supernet(images), exported(images))
        mixed = supernet.mixed(images, one_hot(shape), shape.widths, [torch.ones(())] * 14)
        assert torch.allclose(mixed, exported(images), atol=1e-5)


def test_released_cells_are_wider_inside_than_what_is_derived() -> None:
    images, shape = random_batch(1, 16)["source"], MIXED
    derived, released = small_supernet(), small_supernet(released=True)
    released.load_state_dict(derived.state_dict())
    ones = [torch.ones(())] * 14
    for operation, name in enumerate(OPERATIONS):
        weights = one_hot(Shape((operation,) * 9, shape.widths))
        one, other = (net.mixed(images, weights, [8, 16, *[24] * 10, 16, 8], ones)
                      for net in (derived, released))  # fmt: skip
        assert torch.equal(one, other) == (name in ("skip", "conv3x3"))


@pytest.mark.parametrize(
    ("arch", "budget", "rule"),
    [
        ("resnet9", "50%", "true"),
        ("resnet9", "4.34G", "torchprofile"),
        ("mobile-resnet9", "50%", "true"),
        ("mobile-resnet9", "2.4G", "true"),
        ("mobile-resnet9", "0.5M", "true"),
    ],
)
def test_the_budget_is_reached_to_within_a_hundredth(arch: str, budget: str, rule: Any) -> None:
    """Whatever is believed; at 256 pixels, nothing is trained."""
    options = AgdSearchOptions(budget_rule=rule)
    meter = Meter(Agd(options).read("", budget), options, 256, "cpu")
    space = CellSpace(64, 3, 3, size=256, cost_of=meter.of_counts)
    limit = meter.limit(built_on_meta(NetworkSettings(arch, 64)))
    for seed in range(4):
        shape, cost = within(space, numbers_of(space, seed), limit)
        assert 0.99 * limit <= cost <= limit
    assert meter.of_settings(space.settings(shape)) == cost


def test_what_fits_is_derived_as_it_is() -> None:
    space = space_of(64, 256)
    beliefs = numbers_of(space, 0)
    derived = beliefs.derived(space)
    assert within(space, beliefs, space.cost(derived) * 1.001) == (derived, space.cost(derived))
    assert within(space, beliefs, 1e15)[0] == space.widest


def test_the_weight_of_the_cost_follows_what_would_be_derived() -> None:
    adaption = Adaption(1.0, 8.0, 3, len(MIXED.numbers))
    weights = []
    for cost in (9.0, 5.0, 2.0):
        adaption.follow(MIXED, cost, least=3 / 8)
        weights.append(float(adaption.weight))
    assert weights == [2.0, 2.0, 1.0]
    assert adaption.derived.tolist() == [list(MIXED.numbers)] * 3


def cell_search(steps: int = 4, budget: str = "0.002G", **options: Any) -> CellSearch:
    features, folder = options.pop("features", random_features), options.pop("folder", None)
    shrinker = Agd(AgdSearchOptions(start_width=8, arch_lr=0.3, **options))
    setup = setup_of(shrinker, budget, teacher=small_generator(4), steps=steps, folder=folder)
    return shrinker.begin(replace(setup, features=features))


@pytest.fixture(scope="module")
def trained() -> tuple[CellSearch, list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Two steps of weights alone, two in turns; the terms of each, and the state before it."""
    search = cell_search()
    terms, states = [], [snapshot(search.method.networks())]
    for index in range(4):
        terms += train(search.method, 1, first=index)
        states.append(snapshot(search.method.networks()))
    return search, terms, states


def test_weights_train_alone_at_first_and_then_in_turns_with_the_architecture(trained: Any) -> None:
    _, terms, states = trained
    first = {"student/widest", "student/narrowest", "student/random_1", "student/random_2"}
    passes = ("sampled", "widest", "narrowest")
    then = {f"{phase}/{name}" for phase in ("student", "architecture") for name in passes}
    assert [set(each) for each in terms] == [first] * 2 + [then | {"architecture/cost"}] * 2
    assert all(bool(torch.isfinite(value)) for each in terms for value in each.values())
    in_turns = {"student", "architecture", "adaption"}
    wanted = [{"student", "adaption"}, {"student"}, in_turns, in_turns]  # the limit comes first
    for before, after, names in zip(states, states[1:], wanted, strict=False):
        moved = {key.partition(".")[0] for key in after if not torch.equal(after[key], before[key])}
        assert moved == names


def test_what_was_derived_is_scored_and_the_student_is_within_the_budget(
    trained: Any, tmp_path: Path
) -> None:
    search, *_ = trained
    scored: list[TappedNetwork] = []

    def judge(network: TappedNetwork) -> float:
        scored.append(network)
        return float(len(scored))

    candidates = kept_in(tmp_path)
    shrunk = search.choose(judge, candidates)
    assert shrunk.weights is None
    assert shrunk.student.arch == "agd"
    cost = search.meter.of(built_on_meta(shrunk.student))
    assert search.method.adaption.limit == search.most
    assert 0.9 * search.most < cost <= search.most  # 16 pixels: a channel is much
    assert tuple(shrunk.found["shape"]) in candidates.seen
    derived = search.method.derived()
    assert len(derived) == 2
    assert {shape.numbers for shape in derived} <= candidates.seen.keys()
    for item in candidates.seen.values():
        shape = Shape.of(item.shape)
        assert item.measures["operations"] == shape.named
        assert item.measures["macs"] == search.space.costs(shape)["macs"]


@pytest.mark.parametrize("budget", ["1M", "1s"])
def test_a_widest_network_that_leaves_much_of_the_budget_names_the_way_out(
    budget: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocked(monkeypatch, lambda call: 1)
    told: list[str] = []
    search = cell_search(steps=1, budget=budget, features=lambda taps: None)
    request = replace(search.setup.request, say=told.append)
    search.setup = replace(search.setup, request=request)
    search.choose(lambda network: 0.0, kept_in(tmp_path))
    assert re.search(r"that is the widest, \d+% of the budget; a larger `start_width`", told[-1])


def test_a_time_is_met_by_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocked(monkeypatch, lambda call: 1)
    search = cell_search(steps=1, budget="50ms", features=lambda taps: None)
    space = search.space
    assert space.cost(space.narrowest) < search.limit() < space.cost(space.widest)
    shrunk = search.choose(lambda network: 0.0, kept_in(tmp_path))
    assert 45e3 < shrunk.found["params"] <= 50e3
    assert shrunk.found["measured_ms"] == pytest.approx(shrunk.found["params"] / 1e3, abs=1e-3)


def test_a_narrowest_network_that_meets_a_time_only_once_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocked(monkeypatch, lambda call: 1 + call % 2)
    space = cell_search().space
    narrowest = built_on_meta(space.settings(space.narrowest)).parameters()
    budget = f"{1.5 * sum(value.numel() for value in narrowest) / 1e3}ms"
    with pytest.raises(ConfigError, match=r"narrowest widths take .* ms .*; give more"):
        cell_search(steps=1, budget=budget, features=lambda taps: None)


def test_training_that_goes_on_measures_nothing_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a budget that was met would be refused by chance, after all that was trained."""
    clocked(monkeypatch, lambda call: 1)
    first = cell_search(budget="50ms", features=lambda taps: None, folder=tmp_path)
    train(first.method, 1)
    clocked(monkeypatch, lambda call: 1e3)
    again = cell_search(budget="50ms", features=lambda taps: None, folder=tmp_path)
    for name, network in again.method.networks().items():
        network.load_state_dict(first.method.networks()[name].state_dict())
    train(again.method, 1, first=1)
    assert torch.equal(again.method.adaption.limit, first.method.adaption.limit)
    assert again.method.adaption.limit > 0


def test_the_architecture_learns_on_images_of_its_own() -> None:
    search = cell_search(pretrain_share=0.0)
    batch = random_batch(1, 16) | {
        f"{HELD_OUT}{name}": images for name, images in random_batch(1, 16, seed=5).items()
    }

    @torch.no_grad()
    def terms(phase: str, changed: str | None) -> list[float]:
        other = {changed: -batch[changed]} if changed else {}
        found = search.method.own_losses(phase, Step(0, batch | other))
        return [float(value) for value in found.values()]

    for phase, own, other in (
        ("architecture", f"{HELD_OUT}source", "source"),
        ("student", "source", f"{HELD_OUT}source"),
    ):
        plain = terms(phase, None)
        assert terms(phase, other) == plain
        assert terms(phase, own) != plain


def test_the_rate_falls_in_each_half_of_the_training() -> None:
    method = cell_search(steps=20).method
    rates = [method._slowed(Progress(step, 0, 1)) for step in range(20)]
    assert rates[:3] == rates[10:13] == [1.0] * 3
    assert rates[3:10] == rates[13:] == sorted(rates[3:10], reverse=True)
    assert 0 < rates[9] < 0.2


def test_without_features_the_images_are_compared() -> None:
    search = cell_search(steps=1, pretrain_share=0.0, features=lambda taps: None)
    assert search.method.weights.lambda_base == 1.0
    assert "architecture/sampled" in train(search.method, 1)[0]


@pytest.mark.parametrize(
    ("budget", "teacher", "message"),
    [
        ("1k", None, "1x1 convolutions of the narrowest widths take .* parameters; give more"),
        ("50%", small_upscaler, "finds generators that translate images, not srresnet"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(
    budget: str, teacher: Any, message: str
) -> None:
    shrinker = Agd(AgdSearchOptions(start_width=8))
    setup = setup_of(shrinker, budget, teacher=teacher() if teacher else small_generator(4))
    with pytest.raises(ConfigError, match=message):
        shrinker.begin(setup)


def test_nothing_is_found_without_images() -> None:
    with pytest.raises(ConfigError, match="give `dataset`"):
        Agd(AgdSearchOptions()).shrink(cell_search(steps=1).setup.request)
