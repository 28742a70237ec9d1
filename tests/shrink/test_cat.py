"""CAT's pruning: the released shape, what stays, and budgets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import small_generator
from golden_values import fill, g, golden
from shrink_builders import evenly, share_reached
from torch import nn

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.cat import Cat
from gancomp.shrink.ranked import Channels
from gancomp.shrink.search_options import CatOptions

RELEASED = "cat/shrink then init_net (trainer.start)"


def pruned(network: TappedNetwork, budget: str, size: int = 32, **options: Any) -> Shrunk:
    shrinker = Cat(CatOptions(**options))
    settings = NetworkSettings(network.arch, **network.settings())
    read = shrinker.read("", budget)
    request = ShrinkRequest(
        settings,
        settings,
        read,
        f"`budget` {budget}",
        size,
        open_teacher=lambda: network,
        say=lambda text: None,
    )
    return shrinker.shrink(request)


def cats_own() -> TappedNetwork:
    """The golden teacher: hashed weights, scales of the norms |g|."""
    network = fill(build_network("inception-resnet9", width=12), 300)
    norms = [module for module in network.modules() if isinstance(module, nn.InstanceNorm2d)]
    with torch.no_grad():
        for index, norm in enumerate(norms):
            norm.weight.copy_(g((norm.num_features,), 9000 + index).abs())
    return network


def test_the_threshold_cuts_to_the_released_shape() -> None:
    """CAT's own count of MACs adds one per element of a norm; so do the limits here."""
    wanted = golden(RELEASED)["value"]
    network = cats_own()
    channels = Channels(network)
    scores = channels.scores("first")
    shrinker = Cat(CatOptions(min_channels=4))
    shape = [wanted["stem"], *wanted["down"], *wanted["up"]]
    for dense, depthwise in zip(wanted["res"], wanted["dw"], strict=True):
        shape += [*dense, *depthwise]
    floors = shrinker.floors(network)
    above = [
        max(floor, int((values > 0.9252927303314209).sum()))
        for values, floor in zip(scores, floors, strict=True)
    ]
    assert above == shape
    built = channels.widths.built(shape)
    assert sum(p.numel() for p in built.parameters()) == wanted["params"]


@torch.no_grad()
@pytest.mark.parametrize("arch", ["resnet6", "mobile-resnet6"])
def test_what_stays_keeps_its_weights(arch: str) -> None:
    teacher = small_generator(6, arch=arch, norm="batch").eval()
    numbers = torch.Generator().manual_seed(1)
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.1, 2, generator=numbers)
    shrunk = pruned(teacher, "50%", min_channels=1)
    student = build_network(shrunk.student.arch, **shrunk.student.arguments())
    assert shrunk.weights is not None
    student.load_state_dict(dict(shrunk.weights))
    for name, value in student.state_dict().items():
        assert torch.isin(value, teacher.state_dict()[name]).all(), name
    assert list(student.layer_widths["channels"]) == shrunk.found["shape"]
    assert pruned(teacher, "50%", min_channels=1, discard_weights=True).weights is None


@torch.no_grad()
def test_removing_channels_of_scale_zero_changes_nothing() -> None:
    teacher = cats_own().float().eval()
    gone = {"down_sampling.2": [0, 5], "blocks.0.res_ops.1.1.1": [0, 1, 2, 3, 4, 5, 6, 7]}
    for name, channels in gone.items():
        norm = teacher.get_submodule(name)
        norm.weight[channels] = 0
        norm.bias[channels] = 0
    channels = Channels(teacher)
    kept = [list(range(width)) for width in channels.widths.widths]
    kept[0] = [k for k in kept[0] if k not in (0, 5)]
    kept[5 + 1] = []
    from gancomp.shrink.ranked import of_channels

    state = of_channels(channels, kept)
    student = channels.widths.settings([len(each) for each in kept])
    network = build_network(student.arch, **student.arguments()).eval()
    network.load_state_dict(state)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.allclose(network(images), teacher(images), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "budget"), [("mobile-resnet9", "5G"), ("resnet9", "10G")])
def test_the_budget_is_reached_to_within_a_hundredth(arch: str, budget: str) -> None:
    """Scores drawn at random; the layers outside the blocks keep 16 channels."""
    shrinker = Cat(CatOptions())
    share = share_reached(shrinker, arch, 64, budget, draw=evenly, floors=shrinker.floors)
    assert 0.99 <= share <= 1


def test_what_cannot_be_pruned_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="with the least that each layer keeps"):
        pruned(small_generator(4), "1%")
    with pytest.raises(ConfigError, match="choose magnitude or width instead"):
        pruned(build_network("unet128", width=2), "50%", 128)
