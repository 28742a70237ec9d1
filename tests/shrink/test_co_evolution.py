"""Co-Evolution's search: the released fitness, what candidates are, and how it goes on."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import random_batch, small_generator, small_task, snapshot
from golden_values import assert_golden, fill, golden, img
from shrink_builders import KilledError, golden_mask, kept_in, setup_of, train, unscored
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings
from gancomp.shrink.base import ShrinkRequest
from gancomp.shrink.budget import Clock, built_on_meta, costs
from gancomp.shrink.co_evolution import CoEvolution, CoEvolutionSearch, Population
from gancomp.shrink.genes import Mask
from gancomp.shrink.resemblance import Side, fitness_of, verdict
from gancomp.shrink.search_options import CoEvolutionOptions

FLOAT32 = 1e-4  # the released code computes in it


def population_of(
    name: str, whole: TappedNetwork, budget: str = "100%", size: int = 32, **options: Any
) -> Population:
    shrinker = CoEvolution(CoEvolutionOptions(**options))
    settings = NetworkSettings(whole.arch, **whole.settings())
    request = ShrinkRequest(settings, settings, shrinker.read("", budget), "", size, "cpu")
    return Population(name, whole, request, shrinker.options)


@pytest.fixture(scope="module")
def released() -> dict[str, Any]:
    """The networks that the released code was given: both generators and the targets' judge."""
    judge = fill(build_network("patchgan", width=64, norm="instance"), 13000).eval()
    whole = fill(build_network("resnet9"), 10000).eval()
    with torch.no_grad():
        image = whole(img((1, 3, 32, 32), 201))
        values = {"image": image, "verdict": verdict(judge(image))}
    forward = population_of("forward", whole.float())
    backward = population_of("backward", fill(build_network("resnet9"), 11000).float().eval())
    images = [img((1, 3, 32, 32), k).float() for k in (201, 202)]
    judge = judge.float()
    side = Side(images, forward.whole, lambda source, fake: judge(fake))
    return {"side": side, "forward": forward, "backward": backward, **values}


def test_a_discriminator_s_verdict_is_one_number_for_an_image(released: Any) -> None:
    wanted = golden("coevo/D output is one number per image")["value"]
    assert list(released["verdict"].shape) == wanted["shape"]
    assert_golden(released["verdict"], wanted["value"])
    assert_golden(released["image"], wanted["generator_out"])


@pytest.mark.parametrize(
    ("entry", "cycle", "as_released"),
    [
        ("fitness generation 0 A2B", False, False),
        ("fitness later generation A2B AS RELEASED (0 tuning epochs)", True, True),
        ("fitness later generation A2B with len(cfg_mask)=24 (what was meant)", True, False),
    ],
)
def test_the_fitness_is_the_released_one(
    entry: str, cycle: bool, as_released: bool, released: Any
) -> None:
    mask = golden_mask(300)
    candidate = released["forward"].network(mask, as_released=as_released)
    back = released["backward"].network(golden_mask(301), as_released=as_released)
    loss = released["side"].loss(candidate, back if cycle else None)
    closed = released["forward"].genes.closed(mask)
    found = fitness_of(loss, closed, CoEvolutionOptions().prune_weight)
    assert found == pytest.approx(golden(f"coevo/{entry}")["value"], rel=FLOAT32)


@torch.no_grad()
@pytest.mark.parametrize("arch", ["resnet6", "mobile-resnet6"])
def test_a_candidate_computes_what_its_teacher_does_with_closed_channels_zero(arch: str) -> None:
    """The released code keeps them, with weights of 0 on both sides of each."""
    whole = small_generator(4, arch=arch).eval()
    population = population_of("forward", whole)
    mask: Mask = tuple([1, 1, 0, 1] * 10)
    candidate = population.network(mask)
    kept, masked = population.genes.kept(mask), build_network(arch, width=4).eval()
    masked.load_state_dict(whole.state_dict())
    for channels, makers in zip(kept, population.channels.makers, strict=True):
        for maker in makers:
            layer: Any = masked.get_submodule(maker.name)
            along = 1 if isinstance(layer, torch.nn.ConvTranspose2d) else 0
            gone = torch.ones(layer.weight.shape[along], dtype=torch.bool)
            gone[channels] = False
            layer.weight.transpose(0, along)[gone] = 0
            layer.bias[gone] = 0
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.allclose(candidate(images), masked(images), atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "budget", "rule"),
    [("mobile-resnet9", "2.4G", "torchprofile"), ("resnet9", "13.4G", "true")],
)
def test_masks_use_the_budget_to_within_a_hundredth(arch: str, budget: str, rule: Any) -> None:
    whole = built_on_meta(NetworkSettings(arch, 64))
    population = population_of("forward", whole, budget, 256, budget_rule=rule)
    masks = [population.within(golden_mask(k), k) for k in range(8)]
    found = [population.cost(population.genes.open(mask)) / population.limit for mask in masks]
    assert 0.99 <= min(found) <= max(found) <= 1
    shape = population.genes.shape(masks[0])
    built = population.channels.widths.built(shape)
    assert population.measures(masks[0]).items() >= costs(built, 256).items()
    assert population.meter.of(built) == found[0] * population.limit


STEPS = 2  # for each candidate
TEACHER = small_generator(3)


def tune(method: Any, start: int, pause: Any) -> None:
    pause()
    train(method, STEPS, start)


def held_out() -> tuple[list[Tensor], list[Tensor]]:
    batch = random_batch(2, 16, seed=99)
    return list(batch["source"].split(1)), list(batch["target"].split(1))


def searched(
    budget: str = "60%",
    teacher: TappedNetwork | None = None,
    *,
    arch: str | None = None,
    tune: Any = tune,
    paired: bool = False,
    folder: Path | None = None,
    **options: Any,
) -> CoEvolutionSearch:
    small = {"population": 3, "generations": 1, "slack": 0.2}
    shrinker, whole = CoEvolution(CoEvolutionOptions(**small | options)), teacher or TEACHER
    setup = setup_of(shrinker, budget, teacher=whole, student_arch=arch, steps=STEPS, folder=folder)
    if paired:
        setup = replace(
            setup,
            teacher_task=lambda **own: small_task("paired", frozen=True, generator=whole, **own),
            fresh_task=lambda generator: small_task("paired", generator=generator),
        )
    return shrinker.begin(replace(setup, paired=paired, train=tune, held_out=held_out))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A search, with what each tuning had and moved, and what it did to the teacher."""
    tuned = []

    def looks(method: Any, start: int, pause: Any) -> None:
        both = method.task.generator, method.task.backward_generator
        before = [network.model[1].weight.detach().clone() for network in both]
        tune(method, start, pause)
        moved = [
            not torch.equal(old, network.model[1].weight)
            for old, network in zip(before, both, strict=True)
        ]
        tuned.append((start, moved))

    search, file = searched(tune=looks), tmp_path_factory.mktemp("search") / "search.jsonl"
    before = snapshot(search.task.networks())
    candidates = kept_in(file.parent)
    shrunk = search.choose(unscored, candidates)
    after = snapshot(search.task.networks())
    kept = all(torch.equal(after[name], value) for name, value in before.items())
    return {"search": search, "shrunk": shrunk, "candidates": candidates, "tuned": tuned} | {
        "file": file,
        "teacher_kept": kept,
    }


def test_every_candidate_is_written_down_and_within_the_budget(whole: dict[str, Any]) -> None:
    population = whole["search"].populations[0]
    lines = [json.loads(line) for line in whole["file"].read_text().splitlines()]
    first = [line for line in lines if " 0." in line["name"]]
    assert sorted(line["name"].split()[0] for line in first) == ["backward"] * 3 + ["forward"] * 3
    assert len(lines) > len(first) + 2
    for line in lines:
        assert line["measures"]["cost"] <= population.limit
        mask = tuple(map(int, line["measures"]["mask"]))
        assert line["shape"] == population.genes.shape(mask)
        assert {"macs", "params", "bytes", "closed"} <= line["measures"].keys()
        assert line["compared"] is (line not in first and line["name"].startswith("forward"))
    assert {item.name.split(".")[0] for item in whole["candidates"].front()} == {"forward 1"}


def test_the_student_is_the_fittest_of_the_last_generation_with_the_teacher_s_weights(
    whole: dict[str, Any],
) -> None:
    search, shrunk = whole["search"], whole["shrunk"]
    student = search.populations[0]
    assert shrunk.found["fitness"] == max(student.fitnesses)
    assert shrunk.found["shape"] == student.genes.shape(student.best)
    network = build_network(shrunk.student.arch, **shrunk.student.arguments())
    network.load_state_dict(dict(shrunk.weights))
    kept = student.genes.kept(student.best)[0]
    assert torch.equal(network.model[1].weight, search.task.generator.model[1].weight[kept])
    other = shrunk.others["backward"]
    assert list(other.student.channels) == shrunk.found["backward"]["shape"]
    build_network(other.student.arch, **other.student.arguments()).load_state_dict(other.weights)


def test_the_pair_is_tuned_together_from_the_second_generation_on(whole: dict[str, Any]) -> None:
    """On the same images for all; the trained networks stay as they are."""
    later = [name for name, *_ in whole["candidates"].seen if " 0." not in name]
    assert whole["tuned"] == [(0, [True, True])] * len(later)
    assert whole["teacher_kept"]


def test_a_search_that_was_killed_ends_as_the_undisturbed_one(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    """Once between two candidates, in the midst of a line, and once while one was tuned."""
    lines = whole["file"].read_text().splitlines(keepends=True)
    file = tmp_path / "search.jsonl"
    file.write_text("".join(lines[:-2]) + lines[-2][:40])
    calls = itertools.count(1)

    def dies(method: Any, start: int, pause: Any) -> None:
        tune(method, start, pause)
        if next(calls) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        searched(tune=dies).choose(unscored, kept_in(tmp_path))
    assert file.read_text() == "".join(lines[:-1])
    again = searched().choose(unscored, kept_in(tmp_path))
    assert again.found == whole["shrunk"].found
    assert file.read_text() == "".join(lines)


@pytest.mark.parametrize("paired", [True, False])
def test_a_budget_of_time_is_met_twice_and_measured_once_for_all_sittings(
    paired: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes by the channels and is 2 % off, up or down."""
    measured: dict[str, list[float]] = {}

    def by_width(clock: Clock, network: TappedNetwork) -> float:
        exact = sum(widths := network.layer_widths["channels"]) / 10
        times = measured.setdefault("_".join(map(str, widths)), [])
        number = sum(map(len, measured.values()))
        times.append(exact * (1 + 0.02 * math.sin(number)))
        clock._medians.append(10.0 + number)
        return times[-1]

    monkeypatch.setattr(Clock, "ms", by_width)
    search = searched("6ms", paired=paired, folder=tmp_path, population=2, slack=0.5)
    wanted = search.choose(unscored, kept_in(tmp_path)).found
    files = [tmp_path / "search.jsonl", tmp_path / "times.jsonl"]
    kept = [file.read_text() for file in files]
    for line in map(json.loads, kept[0].splitlines()):
        times = measured["_".join(map(str, line["shape"]))]
        assert len(times) == 2
        assert max(times) == line["measures"]["cost"] <= 6
    assert wanted["measured_ms"] == round(max(measured["_".join(map(str, wanted["shape"]))]), 3)
    measured.clear()
    again = searched("6ms", paired=paired, folder=tmp_path, population=2, slack=0.5)
    assert again.choose(unscored, kept_in(tmp_path)).found == wanted
    assert measured == {}
    assert [file.read_text() for file in files] == kept


def test_pairs_have_one_population_and_no_cycle(tmp_path: Path) -> None:
    search, file = searched(paired=True, population=2), tmp_path / "search.jsonl"
    shrunk = search.choose(unscored, kept_in(tmp_path))
    assert {json.loads(line)["name"].split()[0] for line in file.open()} == {"forward"}
    assert "backward" not in shrunk.found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "0.01%"}, "with one channel in every layer takes"),
        ({"arch": "resnet6"}, "prunes the teacher, mobile-resnet6; remove `student_arch` resnet6"),
        ({"teacher": small_generator(2, arch="unet128")}, "prunes resnet9, .*, not unet128"),
        (
            {"teacher": small_generator(2, channels=(2, 4, 8, *[5] * 6, 4, 2))},
            "blocks are as wide inside as outside, not 2_4_8_5",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        searched(**options)


def test_a_teacher_that_is_not_trained_is_refused() -> None:
    shrinker = CoEvolution(CoEvolutionOptions())
    with pytest.raises(ConfigError, match="prunes a trained teacher; give `teacher` RUN"):
        shrinker.begin(setup_of(shrinker, "50%", settings=NetworkSettings("mobile-resnet6", 4)))
