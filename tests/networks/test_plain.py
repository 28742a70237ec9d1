"""The copy out of torch's own layers: the same images, gradients and state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gancomp.networks.base import TappedNetwork
from gancomp.networks.layers import (
    ConvBeforeNorm2d,
    ImageConv2d,
    InstanceNorm2d,
    ReflectionPad2d,
    ReLUAfterNorm,
    TransposedConvBeforeNorm2d,
)
from gancomp.networks.plain import (
    plain_copy,
    use_torch_biases,
    use_torch_heads,
    use_torch_norms,
    use_torch_paddings,
)
from gancomp.registry import build_network

OURS = (
    *(ImageConv2d, InstanceNorm2d, ReLUAfterNorm, ReflectionPad2d),
    *(ConvBeforeNorm2d, TransposedConvBeforeNorm2d),
)
ARCHS = ("mobile-resnet6", "resnet6", "unet128", "patchgan")
REPLACED: list[tuple[Callable[[nn.Module], None], tuple[type[nn.Module], ...]]] = [
    (use_torch_norms, (InstanceNorm2d, ReLUAfterNorm)),
    (use_torch_paddings, (ReflectionPad2d,)),
    (use_torch_heads, (ImageConv2d,)),
    (use_torch_biases, (ConvBeforeNorm2d, TransposedConvBeforeNorm2d)),
]


def network_of(arch: str) -> TappedNetwork:
    return build_network(arch, width=2, norm="instance").double()


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, 128, 128, generator=generator, dtype=torch.double) * 2 - 1


def own_layers(network: nn.Module) -> set[type[nn.Module]]:
    return {type(layer) for layer in network.modules() if isinstance(layer, OURS)}


def test_the_networks_have_all_of_our_layers_to_replace() -> None:
    assert set.union(*(own_layers(network_of(arch)) for arch in ARCHS)) == set(OURS)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_plain_copy_has_torch_s_own_layers_and_the_same_images(arch: str) -> None:
    network = network_of(arch).eval().to(memory_format=torch.channels_last)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    layers = own_layers(network)
    plain = plain_copy(network)
    assert own_layers(plain) == set()
    assert own_layers(network) == layers, "the network itself stays as it is"
    assert not plain.training
    assert plain_copy(network.train()).training
    assert list(plain.state_dict()) == list(before)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.is_contiguous()
    assert torch.allclose(plain(images()), network.eval()(images()), atol=1e-12)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_weights_of_both_have_the_same_gradients(arch: str) -> None:
    network = network_of(arch).eval()
    plain = plain_copy(network)
    for item in (network, plain):
        item(images()).square().sum().backward()
    for (name, ours), theirs in zip(network.named_parameters(), plain.parameters(), strict=True):
        assert theirs.grad is not None
        if ours.grad is None:  # a bias that a norm takes off again
            assert name.endswith("bias")
            assert theirs.grad.norm() <= 1e-9 * (1 + theirs.norm())
        else:
            # what a norm of few positions multiplies is rounding
            assert torch.allclose(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize(("use", "replaced"), REPLACED)
def test_each_kind_of_layer_can_be_replaced_alone(
    use: Callable[[nn.Module], None], replaced: tuple[type[nn.Module], ...]
) -> None:
    for arch in ARCHS:
        network = network_of(arch).eval()
        wanted, layers = network(images()), own_layers(network)
        use(network)
        assert own_layers(network) == layers - set(replaced)
        assert torch.allclose(network(images()), wanted, atol=1e-12)
