"""The folded Inception against pytorch-fid's own, with weights drawn from a seed."""

from __future__ import annotations

import pytest
import torch
import torchvision
from pytorch_fid import inception as pytorch_fid_inception
from torch import Tensor, nn

from gancomp.metrics.inception import (
    FIRST,
    HALVING,
    LEAST_SIZE,
    UNPADDED,
    FoldedConvolution,
    FoldedInception,
)


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """pytorch-fid's network, whose norms are as far from the identity as trained ones."""
    generator = torch.Generator().manual_seed(0)
    original = pytorch_fid_inception.load_state_dict_from_url
    pytorch_fid_inception.load_state_dict_from_url = lambda url, progress: drawn(generator)
    try:
        with torch.random.fork_rng():
            network: nn.Module = pytorch_fid_inception.InceptionV3()
    finally:
        pytorch_fid_inception.load_state_dict_from_url = original
    return network.eval()


STATE: dict[str, Tensor] = {}


def drawn(generator: torch.Generator) -> dict[str, Tensor]:
    """A state dict of pytorch-fid's shapes; activations keep their size through the layers."""
    network = torchvision.models.inception_v3(
        num_classes=1008, aux_logits=False, weights=None, init_weights=False
    )
    for name, block in PATCHES.items():
        setattr(network, name, block())
    for key, value in network.state_dict().items():
        if key.endswith("conv.weight"):
            deviation = (2 / value[0].numel()) ** 0.5
            value = torch.randn(value.shape, generator=generator) * deviation
        elif key.endswith(("bn.weight", "running_var")):
            value = torch.rand(value.shape, generator=generator) + 0.5
        elif key.endswith(("bn.bias", "running_mean")):
            value = torch.randn(value.shape, generator=generator) * 0.2
        STATE[key] = value
    return STATE


PATCHES = {
    "Mixed_5b": lambda: pytorch_fid_inception.FIDInceptionA(192, pool_features=32),
    "Mixed_5c": lambda: pytorch_fid_inception.FIDInceptionA(256, pool_features=64),
    "Mixed_5d": lambda: pytorch_fid_inception.FIDInceptionA(288, pool_features=64),
    "Mixed_6b": lambda: pytorch_fid_inception.FIDInceptionC(768, channels_7x7=128),
    "Mixed_6c": lambda: pytorch_fid_inception.FIDInceptionC(768, channels_7x7=160),
    "Mixed_6d": lambda: pytorch_fid_inception.FIDInceptionC(768, channels_7x7=160),
    "Mixed_6e": lambda: pytorch_fid_inception.FIDInceptionC(768, channels_7x7=192),
    "Mixed_7b": lambda: pytorch_fid_inception.FIDInceptionE_1(1280),
    "Mixed_7c": lambda: pytorch_fid_inception.FIDInceptionE_2(2048),
}


def test_features_are_those_of_pytorch_fids_network(reference: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    images_01 = torch.rand(1, 3, 40, 60, generator=generator)  # its own resize takes part
    with torch.no_grad():
        expected = reference(images_01)[0].flatten(1)
        found = FoldedInception(STATE)(images_01)
    assert found.shape == (1, 2048)
    # float32 rounding through 94 layers, relative to the largest feature
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


@pytest.mark.parametrize("name", [FIRST, "Mixed_6b.branch7x7_2", "Mixed_7a.branch3x3_2"])
def test_folding_is_convolution_norm_and_relu(reference: nn.Module, name: str) -> None:
    assert reference is not None
    unit = FoldedConvolution(STATE, name)
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, unit.conv.in_channels, 9, 8, generator=generator)
    weight = STATE[f"{name}.conv.weight"]
    padding = (0, 0) if name in UNPADDED else (weight.shape[2] // 2, weight.shape[3] // 2)
    scaled = 2 * features - 1 if name == FIRST else features
    plain = nn.functional.conv2d(
        scaled, weight, stride=2 if name in HALVING else 1, padding=padding
    )
    norm = (STATE[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    expected = nn.functional.batch_norm(plain, *norm, eps=1e-3).relu()
    torch.testing.assert_close(unit(features), expected, rtol=1e-4, atol=1e-4)


def test_a_maximum_before_a_relu_is_the_maximum_after_it(reference: nn.Module) -> None:
    assert reference is not None
    network, name = FoldedInception(STATE), "Conv2d_4a_3x3"
    features = torch.randn(1, 80, 9, 8, generator=torch.Generator().manual_seed(4))
    expected = nn.functional.max_pool2d(network.units[name](features), 3, 2)
    assert torch.equal(network._highest(features, name), expected)


def test_the_least_size_is_what_the_layers_need(reference: nn.Module) -> None:
    assert reference is not None
    network = FoldedInception(STATE)
    assert network.pooled(torch.zeros(1, 3, LEAST_SIZE, LEAST_SIZE)).shape == (1, 2048)
    with pytest.raises(RuntimeError):
        network.pooled(torch.zeros(1, 3, LEAST_SIZE - 1, LEAST_SIZE - 1))


def test_an_average_after_a_1x1_convolution_is_the_convolution_of_the_average(
    reference: nn.Module,
) -> None:
    assert reference is not None
    network, name = FoldedInception(STATE), "Mixed_5b/branch_pool"
    features = torch.randn(1, 192, 7, 6, generator=torch.Generator().manual_seed(3))
    averaged = nn.functional.avg_pool2d(features, 3, 1, 1, count_include_pad=False)
    expected = network.units[name](averaged)
    torch.testing.assert_close(network._average(features, name), expected, rtol=1e-4, atol=1e-5)


def test_it_is_frozen() -> None:
    assert not any(item.requires_grad for item in FoldedInception(STATE).parameters())
