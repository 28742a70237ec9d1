"""SRResNet and SRGAN's discriminator: exact sizes, shapes, ranges, initial weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gancomp.errors import ConfigError
from gancomp.metrics.cost import measure_cost
from gancomp.networks.base import initialize
from gancomp.registry import build_network


@pytest.mark.parametrize(
    ("arch", "settings", "params", "macs", "printed"),
    [
        ("srresnet", {"width": 64, "blocks": 16}, 1_550_659, 1_277_669_376, "1.278"),
        ("srresnet", {"width": 32, "blocks": 8}, 248_227, 272_553_984, "0.273"),
        ("srresnet", {"width": 64, "blocks": 32}, 2_737_475, 1_957_146_624, "1.957"),
        ("srgan-discriminator", {}, 23_565_505, 884_147_200, "0.884"),
    ],
)
def test_sizes_are_those_of_the_released_networks_and_macs_the_true_ones(
    arch: str, settings: dict[str, int], params: int, macs: int, printed: str
) -> None:
    size = 24 if arch == "srresnet" else 96
    with torch.device("meta"):
        cost = measure_cost(build_network(arch, **settings), (1, 3, size, size))
    assert (cost.params, cost.macs) == (params, macs)
    assert f"{cost.macs / 1e9:.3f}" == printed


@pytest.mark.parametrize("scale", [2, 4])
def test_the_output_is_scale_times_larger_and_within_the_range(scale: int) -> None:
    network = build_network("srresnet", width=4, blocks=1, scale=scale).eval()
    images = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    output = network(images)
    assert output.shape == (2, 3, 5 * scale, 7 * scale)
    assert output.abs().max() <= 1
    assert network.scale == scale


def test_prelu_has_a_slope_per_channel_that_begins_at_zero_and_batch_norm_is_keras() -> None:
    network = build_network("srresnet", width=4, blocks=2)
    slopes = [item.weight for item in network.modules() if isinstance(item, nn.PReLU)]
    assert len(slopes) == 1 + 2 + 2
    assert all(slope.shape == (4,) and not slope.any() for slope in slopes)
    norms = [item for item in network.modules() if isinstance(item, nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == [0.2] * 4 + [0.01]
    assert {norm.eps for norm in norms} == {1e-3}
    judge = build_network("srgan-discriminator", width=2)
    norms = [item for item in judge.modules() if isinstance(item, nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == [0.2] * 7
    assert {norm.eps for norm in norms} == {1e-3}


def test_initial_weights_are_glorots_and_start_over() -> None:
    network = build_network("srgan-discriminator", width=4, crop=32)
    for item in network.modules():
        if isinstance(item, nn.BatchNorm2d):
            item.running_mean.fill_(3.0)
            item.weight.data.fill_(7.0)
    initialize(network, torch.Generator().manual_seed(3))
    for item in network.modules():
        if isinstance(item, nn.Conv2d | nn.Linear):
            kernel = item.weight[0, 0].numel() if isinstance(item, nn.Conv2d) else 1
            limit = (6 / (kernel * (item.weight.shape[0] + item.weight.shape[1]))) ** 0.5
            assert item.weight.abs().max() <= limit
            assert item.weight.abs().max() > 0.8 * limit
            assert not item.bias.any()
        if isinstance(item, nn.BatchNorm2d):
            assert bool((item.weight == 1).all())
            assert not item.running_mean.any()


def test_the_long_skip_adds_the_first_activation_to_the_trunk() -> None:
    network = build_network("srresnet", width=4, blocks=2).eval()
    images = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    _, taps = network.forward_with_taps(images, ("head", "blocks.1", "trunk"))
    wanted = taps["head"] + network.trunk(taps["blocks.1"])
    assert torch.equal(taps["trunk"], wanted)
    assert torch.equal(taps["head"], network.head((images + 1) / 2))


def test_the_discriminator_gives_one_logit_a_crop_and_takes_one_size_only() -> None:
    judge = build_network("srgan-discriminator", width=2, crop=32).eval()
    assert judge(torch.zeros(3, 3, 32, 32)).shape == (3, 1)
    with pytest.raises(ValueError, match="takes 32x32 crops only"):
        judge(torch.zeros(3, 3, 48, 48))


@pytest.mark.parametrize(
    ("arch", "settings", "message"),
    [
        ("srresnet", {"scale": 3}, "`scale` 3: .* 2 or 4"),
        ("srresnet", {"scale": True}, "`scale` True"),
        ("srresnet", {"blocks": 0}, "`blocks` 0: must be"),
        ("srresnet", {"width": 0}, "`width` 0: must be"),
        ("srresnet", {"norm": "instance"}, "`norm` instance: srresnet has batch norm only"),
        ("srgan-discriminator", {"crop": 40}, "`size` 40: .* multiple of 16"),
        ("srgan-discriminator", {"norm": "instance"}, "`norm` instance"),
    ],
)
def test_what_cannot_be_built_is_refused(arch: str, settings: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network(arch, **settings)
