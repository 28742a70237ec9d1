"""DMAD's search: masks that close until the budget is met, and what is extracted then."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from builders import small_generator
from shrink_builders import as_masks, kept_in, setup_of, share_reached, train, unscored

from gancomp.errors import ConfigError
from gancomp.registry import build_network
from gancomp.shrink.budget import built_on_meta
from gancomp.shrink.dmad import Dmad, MaskSearch
from gancomp.shrink.masked import MaskedChannels
from gancomp.shrink.search_options import DmadSearchOptions


def begun(budget: str = "50%", steps: int = 4, arch: str = "mobile-resnet6") -> MaskSearch:
    shrinker = Dmad(DmadSearchOptions())
    teacher = small_generator(4)
    return shrinker.begin(
        setup_of(shrinker, budget, teacher=teacher, student_arch=arch, steps=steps)
    )


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
    train(search.method, 4)
    return search


def test_masks_close_until_what_is_open_is_within_the_budget(
    trained: MaskSearch, tmp_path: Path
) -> None:
    assert bool(trained.method.is_settled)
    candidates = kept_in(tmp_path)
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
    shrunk = search.choose(unscored, kept_in(tmp_path))
    assert shrunk.found["settled"] is False
    assert search.meter.of(built_on_meta(shrunk.student)) <= search.limit


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "budget"), [("mobile-resnet9", "2.5G"), ("resnet9", "4G")])
def test_the_budget_is_reached_to_within_a_hundredth(arch: str, budget: str) -> None:
    """Mask weights as they are drawn; nothing is trained."""
    width = 32 if arch.startswith("mobile") else 64
    share = share_reached(Dmad(DmadSearchOptions()), arch, width, budget, draw=as_masks)
    assert 0.99 <= share <= 1


def test_what_cannot_be_masked_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="with one channel in every layer takes"):
        begun("0.01%")
    with pytest.raises(ConfigError, match="masks resnet9, resnet6"):
        begun(arch="unet128")
