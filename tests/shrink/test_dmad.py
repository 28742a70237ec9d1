"""DMAD's search: masks that close until the budget is met, and what is extracted then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from builders import random_batch, small_generator, small_task

from gancomp.engine.phases import Progress, Step
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings, OptimizerSettings
from gancomp.shrink.base import SearchSetup, ShrinkRequest
from gancomp.shrink.budget import Meter, built_on_meta
from gancomp.shrink.candidates import Candidates
from gancomp.shrink.dmad import Dmad, MaskSearch
from gancomp.shrink.masked import MaskedChannels
from gancomp.shrink.ranked import Channels, cut_to, filled_up
from gancomp.shrink.search_options import DmadSearchOptions


def unscored(network: TappedNetwork) -> float:
    raise AssertionError("nothing is scored by images")


def begun(budget: str = "50%", steps: int = 4, arch: str = "mobile-resnet6") -> MaskSearch:
    teacher = small_generator(4)
    settings = NetworkSettings(teacher.arch, **teacher.settings())
    shrinker = Dmad(DmadSearchOptions())
    request = ShrinkRequest(
        settings,
        settings.changed(arch=arch),
        shrinker.read("", budget),
        f"`budget` {budget}",
        16,
        "cpu",
        open_teacher=lambda: teacher,
        say=lambda text: None,
    )
    setup = SearchSetup(
        request,
        teacher_task=lambda whole: small_task(frozen=True, whole=whole, generator=teacher),
        fresh_task=lambda generator: small_task(generator=generator),
        optimizer=OptimizerSettings(),
        seed=0,
        paired=False,
        steps=steps,
    )
    return shrinker.begin(setup)


@torch.no_grad()
@pytest.mark.parametrize(("arch", "norm"), [("mobile-resnet6", "instance"), ("resnet6", "batch")])
def test_what_is_extracted_computes_what_the_settled_masks_leave(arch: str, norm: str) -> None:
    network = small_generator(4, arch=arch, norm=norm)
    masked = MaskedChannels(network, 0)
    kept = [list(range(0, width, 2)) for width in masked.channels.widths.widths]
    masked.settle(kept)
    settings = masked.channels.widths.settings([len(each) for each in kept])
    student = build_network(settings.arch, **settings.arguments()).eval()
    student.load_state_dict(masked.extracted(kept))
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.allclose(student(images), network.eval()(images), atol=1e-5)


def test_there_is_a_mask_behind_every_norm_and_the_residual_path_is_tied() -> None:
    masked = MaskedChannels(small_generator(2), 0)
    assert [len(masks) for masks in masked.masks] == [1, 1, 7, 1, 1, 1, 1, 1, 1, 1, 1]
    masked.sparsity(costly_weight=200.0, shared_weight=5.0).backward()  # type: ignore[no-untyped-call]  # torch's lack
    assert all(mask.weights.grad is not None for mask in masked.all())


@pytest.fixture(scope="module")
def trained() -> MaskSearch:
    search = begun()
    for index in range(4):
        take_step(
            search.method,
            Step(index, random_batch(1, 16, seed=index)),
            Progress(index, 0, 1),
            rate=1.0,
            precision="fp32",
            device=torch.device("cpu"),
            watch=FiniteWatch(late=False),
        )
    return search


def test_masks_close_until_what_is_open_is_within_the_budget(
    trained: MaskSearch, tmp_path: Path
) -> None:
    assert bool(trained.method.is_settled)
    candidates = Candidates(tmp_path / "search.jsonl", say=lambda text: None)
    shrunk = trained.choose(unscored, candidates)
    assert trained.meter.of(built_on_meta(shrunk.student)) <= trained.limit
    student = build_network(shrunk.student.arch, **shrunk.student.arguments()).eval()
    student.load_state_dict(dict(shrunk.weights or {}))
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        masked = trained.masked.network.eval()(images)
        assert torch.allclose(student(images), masked, atol=1e-5)
    assert len(candidates.seen) == 1


def test_settled_channels_stay_whatever_the_optimizer_does(trained: MaskSearch) -> None:
    for mask in trained.masked.all():
        assert bool(mask.settled.all())
        assert set(mask.weights.detach().unique().tolist()) <= {-1.0, 1.0}


def test_without_enough_training_the_best_are_taken(tmp_path: Path) -> None:
    search = begun()
    shrunk = search.choose(unscored, Candidates(tmp_path / "search.jsonl", say=lambda text: None))
    assert shrunk.found["settled"] is False
    assert search.meter.of(built_on_meta(shrunk.student)) <= search.limit


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "budget"), [("mobile-resnet9", "2.5G"), ("resnet9", "4G")])
def test_the_budget_is_reached_to_within_a_hundredth(arch: str, budget: str) -> None:
    """Mask weights as they are drawn; nothing is trained."""
    network = built_on_meta(NetworkSettings(arch, 32 if arch.startswith("mobile") else 64))
    channels, numbers = Channels(network), torch.Generator().manual_seed(0)
    scores = [
        torch.randn(n, generator=numbers, dtype=torch.float64) * 0.2 for n in channels.widths.widths
    ]
    options: Any = DmadSearchOptions()
    meter = Meter(Dmad(options).read("", budget), options, 256, "cpu")

    def cost(widths: list[int]) -> float:
        return meter.of_widths(channels.widths.built, widths)

    limit = meter.budget.most
    cut = cut_to(scores, [1] * len(scores), cost=cost, limit=limit)
    assert cut is not None
    cut = filled_up(cut, scores, cost=cost, limit=limit)
    assert 0.99 * limit <= cut.cost <= limit


def test_what_cannot_be_masked_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="with one channel in every layer takes"):
        begun("0.01%")
    with pytest.raises(ConfigError, match="masks resnet9, resnet6"):
        begun(arch="unet128")
