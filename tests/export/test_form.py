"""The exported form: another way to write the same generator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gancomp.export.form import TiledConv2d, example_inputs, exported_form
from gancomp.export.parity import reference
from gancomp.networks.base import TappedNetwork
from gancomp.networks.layers import InstanceNorm2d
from gancomp.networks.spectral import SpectralNorm
from gancomp.registry import build_network, generators

SETTINGS: dict[str, dict[str, Any]] = {
    "srresnet": {"blocks": 1},
    "stylegan2": {
        "resolution": 16,
        "style_channels": 8,
        "const_channels": 8,
        "mapping_layers": 2,
    },
    "biggan": {"resolution": 32, "num_classes": 3},
}


def made(arch: str) -> TappedNetwork:
    network = build_network(arch, width=4, **SETTINGS.get(arch, {})).eval()
    with torch.no_grad():
        for weights in network.parameters():  # no scale or bias is 0 or 1, as in a fresh network
            weights += 0.1 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    return network


@pytest.mark.parametrize("arch", generators())
def test_the_form_gives_the_images_of_the_network_which_stays_as_it_is(arch: str) -> None:
    network = made(arch)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    form = exported_form(network)
    side = max(32, form.size_multiple)
    inputs = example_inputs(form, network, (side, 2 * side), 2)
    with torch.no_grad():
        wanted, images = reference(network, inputs), form.module(*inputs)
    assert len(inputs) == len(form.inputs)
    torch.testing.assert_close(images, wanted, rtol=1e-4, atol=1e-4)  # other orders of sums
    assert wanted.std() > 0.01
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_norms_are_torchs_dead_biases_are_gone_and_the_heads_kernel_is_a_constant() -> None:
    form = exported_form(made("mobile-resnet6")).module
    kinds = [type(module) for module in form.modules()]
    assert InstanceNorm2d not in kinds
    assert kinds.count(TiledConv2d) == 1
    convolutions = [item for item in form.modules() if isinstance(item, nn.Conv2d)]
    assert len(convolutions) == 3 + 6 * 4
    assert all(item.bias is None for item in convolutions)


def test_spectral_norms_are_folded_into_the_weights() -> None:
    form = exported_form(made("biggan")).module
    assert not any(isinstance(module, SpectralNorm) for module in form.modules())
    assert not any(name.endswith(("u0", "sv0")) for name in form.state_dict())
