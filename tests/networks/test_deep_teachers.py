"""OMGD's deep teachers: their costs, and what the released code makes of an image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_values import assert_golden, fill, golden, img

from gancomp.errors import ConfigError
from gancomp.metrics.cost import measure_cost
from gancomp.networks.deep_teachers import deep_resnet9, deep_unet256

# factory, width, params, macs (true), macs with transposed convolutions by output (torchprofile)
COSTS = [
    (deep_resnet9, 16, 2_547_123, 17_783_558_144, 18_236_542_976),
    (deep_resnet9, 12, 1_436_583, 10_069_016_832, 10_323_820_800),
    (deep_resnet9, 24, 5_715_723, 39_749_944_320, 40_769_160_192),
    (deep_unet256, 16, 44_171_939, 17_531_650_048, 18_344_034_304 + 32_107_520),
    (deep_unet256, 12, 24_856_251, 9_868_631_040, 10_339_752_960 + 24_080_640),
    (deep_unet256, 24, 99_348_723, 39_417_901_056, 41_189_142_528 + 48_161_280),
]


@pytest.mark.parametrize(("factory", "width", "params", "macs", "torchprofile"), COSTS)
def test_costs_equal_those_of_the_released_networks_exactly(
    factory: Any, width: int, params: int, macs: int, torchprofile: int
) -> None:
    with torch.device("meta"):
        cost = measure_cost(factory(width))
    # in the third number, each output of a norm with weights counts once
    assert (cost.params, cost.macs, cost.macs_torchprofile) == (params, macs, torchprofile)


def test_the_deep_resnets_image_is_that_of_the_released_code() -> None:
    entry = golden("net/mobile_deepest_resnet ngf 4 instance eval forward")
    network = deep_resnet9(4)
    assert len(network.state_dict()) == entry["n_tensors"]
    assert sum(p.numel() for p in network.parameters()) == entry["params"]
    network = fill(network, 20000).eval()
    with torch.no_grad():
        assert_golden(network(img((2, 3, 32, 32), 9)), entry["value"])


def test_the_deep_unets_image_is_that_of_the_released_code_in_both_modes() -> None:
    entry = golden("net/unet_deepest_256 ngf 2 batch eval forward")
    network = deep_unet256(2)
    assert len(network.state_dict()) == entry["n_tensors"]
    assert sum(p.numel() for p in network.parameters()) == entry["params"]
    network = fill(network, 20000)
    images = img((2, 3, 256, 256), 9)
    with torch.no_grad():
        assert_golden(network.eval()(images), entry["value"])
        assert_golden(network.train()(images), entry["train_mode"])


@pytest.mark.parametrize(("factory", "size"), [(deep_resnet9, 32), (deep_unet256, 256)])
def test_taps_have_the_channels_that_are_declared(factory: Any, size: int) -> None:
    network = factory(2)
    images = torch.zeros(1, 3, size, size)
    _, maps = network.eval().forward_with_taps(images, network.default_taps)
    assert len(maps) == 4
    assert {tap: features.shape[1] for tap, features in maps.items()} == network.tap_channels
    with torch.no_grad():
        assert sorted(name for name, _ in network.walk(images)) == sorted(network.tap_names())


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_every_parameter_of_the_deep_resnet_takes_part(norm: str) -> None:
    network = deep_resnet9(2, norm=norm)
    network(img((2, 3, 32, 32), 3).float()).square().sum().backward()
    used = {name for name, p in network.named_parameters() if p.grad is not None}
    unused = {name for name, _ in network.named_parameters()} - used
    assert all(name.endswith("bias") for name in unused)  # of convolutions before InstanceNorm


def test_settings_rebuild_the_network() -> None:
    for network, factory in ((deep_resnet9(3), deep_resnet9), (deep_unet256(3), deep_unet256)):
        again = factory(**network.settings())
        assert list(again.state_dict()) == list(network.state_dict())
    with pytest.raises(ConfigError, match="`width` 0"):
        deep_resnet9(0)
