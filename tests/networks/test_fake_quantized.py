"""Rounding as in 8 bits: exact values, straight gradients, nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gancomp.networks.fake_quantized import FakeQuantization, rounded_input, rounded_weight
from gancomp.registry import build_network


def test_weights_keep_each_channels_largest_value_and_round_to_127ths_of_it() -> None:
    weight = torch.tensor([[[[1.27, 0.014]]], [[[-12.7, 0.06]]], [[[0.0, 0.0]]]])
    wanted = torch.tensor([[[[1.27, 0.01]]], [[[-12.7, 0.1]]], [[[0.0, 0.0]]]])
    torch.testing.assert_close(rounded_weight(weight, 0), wanted)
    torch.testing.assert_close(rounded_weight(weight.transpose(0, 1), 1), wanted.transpose(0, 1))


@pytest.mark.parametrize(("least", "most"), [(-1.0, 1.55), (0.5, 2.55), (0.0, 0.0)])
def test_inputs_keep_0_and_have_256_levels(least: float, most: float) -> None:
    values = torch.linspace(least, most, 1001)
    found = rounded_input(values)
    step = (max(most, 0) - min(least, 0)) / 255
    assert found.unique().numel() <= 256
    assert float((found - values).abs().max()) <= step * 0.501
    assert float(rounded_input(torch.cat([values, torch.zeros(1)]))[-1]) == 0


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    values = torch.linspace(-1, 1, 7).requires_grad_()
    rounded_input(values).sum().backward()
    assert torch.equal(values.grad, torch.ones(7))
    weight = torch.randn(2, 3, 1, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rounded_weight(weight, 0).sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


@pytest.mark.parametrize(
    ("arch", "size", "layers"),
    [("mobile-resnet6", 16, 30), ("unet128", 128, 14), ("srresnet", 8, 7)],
)
def test_a_network_rounds_in_training_only_and_is_itself_again(
    arch: str, size: int, layers: int
) -> None:
    network = build_network(arch, width=2, **({"blocks": 1} if arch == "srresnet" else {}))
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    images = torch.rand((2, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2 - 1
    keys = list(network.state_dict())
    plain, evaluated = network.train()(images), network.eval()(images)
    rounding = FakeQuantization(network)
    rounding.switch(on=True)
    rounding.switch(on=True)
    assert len(rounding.layers) == layers
    assert torch.equal(network(images), evaluated)
    rounded = network.train()(images)
    assert 0 < float((rounded - plain).detach().abs().mean()) < 0.1
    rounded.sum().backward()
    assert all(layer.weight.grad is not None for layer in rounding.layers)
    assert all(isinstance(layer.weight, nn.Parameter) for layer in rounding.layers)
    assert list(network.state_dict()) == keys
    rounding.switch(on=False)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in rounding.layers)
