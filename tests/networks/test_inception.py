"""CAT's generator: costs, parameter names and outputs of the released code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_values import assert_golden, fill, g, golden, img

from gancomp.errors import ConfigError
from gancomp.metrics.cost import measure_cost
from gancomp.networks.inception import InceptionBlock, inception_resnet9

BLOCK = "cat/inception block, 24 channels, reduction 6, kernels 1,3,5, affine IN"
WIDTHS = [(width, norm) for width in (64, 48, 32, 20) for norm in ("instance", "batch")]


@pytest.mark.parametrize(("width", "norm"), WIDTHS)
def test_costs_equal_those_of_the_released_network_exactly(width: int, norm: str) -> None:
    kind = "affine IN" if norm == "instance" else "BN"
    entry = golden(f"cat/generator ngf {width}, {kind}")["value"]
    with torch.device("meta"):
        cost = measure_cost(inception_resnet9(width, norm=norm))
    assert (cost.params, cost.macs) == (entry["params"], entry["B"])
    assert cost.macs_torchprofile == entry["A"] + entry["affine_elems"]


def test_the_teacher_has_the_published_number_of_parameters_and_cats_own_count() -> None:
    with torch.device("meta"):
        cost = measure_cost(inception_resnet9())
    assert cost.params == 8_154_255
    assert cost.macs_torchprofile == golden("cat/own profiler, teacher ngf 64 affine IN")["value"]


def test_a_block_is_that_of_the_released_code() -> None:
    entry = golden(BLOCK)["value"]
    block = fill(InceptionBlock(24), 100)
    assert [[k, list(v.shape)] for k, v in block.state_dict().items()] == entry["keys"]
    assert sum(p.numel() for p in block.parameters()) == entry["params"]
    inputs = g((2, 24, 9, 11), 12).requires_grad_()
    output = block(inputs)
    assert_golden(output, entry["out"])
    (gradient,) = torch.autograd.grad((output * g((2, 24, 9, 11), 13)).sum(), inputs)
    assert_golden(gradient, entry["grad_x"])


def test_the_image_is_that_of_the_released_code() -> None:
    entry = golden("cat/generator ngf 6 forward")
    network = inception_resnet9(6)
    assert len(network.state_dict()) == entry["n_tensors"]
    assert sum(p.numel() for p in network.parameters()) == entry["params"]
    assert_golden(fill(network, 300)(img((1, 3, 32, 32), 9)), entry["value"])


def test_a_pruned_student_has_the_released_ones_number_of_parameters() -> None:
    entry = golden("cat/shrink then init_net (trainer.start)")["value"]
    branches = [[*res, *dw] for res, dw in zip(entry["res"], entry["dw"], strict=True)]
    channels = [entry["stem"], *entry["down"], *entry["up"]]
    student = inception_resnet9(channels=channels, branches=branches)
    assert sum(p.numel() for p in student.parameters()) == entry["params"]
    again = inception_resnet9(**student.settings())
    assert list(again.state_dict()) == list(student.state_dict())
    assert student(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    assert set(student.tap_channels.values()) == {entry["down"][1]}


def test_a_block_that_lost_all_branches_passes_its_input_on() -> None:
    block = InceptionBlock(12, (0,) * 6)
    inputs = g((1, 12, 4, 4), 1)
    assert torch.equal(block(inputs), inputs)
    assert not list(block.parameters())


def test_scales_of_norms_start_at_one_and_taps_have_their_channels() -> None:
    network = inception_resnet9(3)
    state = network.state_dict()
    assert torch.equal(state["blocks.0.pw_bn.weight"], torch.ones(12))
    assert not state["blocks.0.pw_bn.bias"].any()
    _, maps = network.forward_with_taps(torch.zeros(1, 3, 16, 16), network.default_taps)
    assert {tap: m.shape[1] for tap, m in maps.items()} == network.tap_channels


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 1}, "`width` 1: blocks of 4 channels"),
        ({"channels": [1, 2]}, "channels: 2 widths given, 5 needed: stem"),
        ({"branches": [[1] * 6] * 8}, "need 6 widths for each of 9 blocks"),
        ({"branches": [[1] * 5] * 9}, "need 6 widths for each of 9 blocks"),
        ({"branches": [[-1] * 6] * 9}, "branches -1"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        inception_resnet9(**settings)
