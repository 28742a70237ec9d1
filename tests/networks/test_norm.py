"""The layout-keeping InstanceNorm and the convolutions before it, beside torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gancomp.networks.norm import (
    CONV_BEFORE,
    TRANSPOSED_CONV_BEFORE,
    ConvBeforeNorm2d,
    InstanceNorm2d,
    ReLUAfterNorm,
    TransposedConvBeforeNorm2d,
    instance_norm,
)

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def features(layout: torch.memory_format, num: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(num, 5, 6, 7, generator=generator) * 4 + 2
    return values.contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gradient_layout", LAYOUTS)
@pytest.mark.parametrize("num", [1, 3])
def test_value_and_gradient_are_those_of_torch(
    layout: torch.memory_format, gradient_layout: torch.memory_format, num: int
) -> None:
    ours = features(layout, num).double().requires_grad_()
    theirs = features(torch.contiguous_format, num).double().requires_grad_()
    weights = torch.randn(num, 5, 6, 7, dtype=torch.double)
    expected = F.instance_norm(theirs)
    (expected * weights).sum().backward()
    # a gradient in another layout than the map's: torch's own is wrong there for a single image
    weights = weights.contiguous(memory_format=gradient_layout)
    found = instance_norm(ours)
    (found * weights).sum().backward()
    assert torch.allclose(found, expected, atol=1e-12)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


@pytest.mark.parametrize("num", [1, 2])
def test_the_layout_is_kept(num: int) -> None:
    found = InstanceNorm2d(5)(features(torch.channels_last, num))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert not F.instance_norm(features(torch.channels_last, num)).is_contiguous(
        memory_format=torch.channels_last
    ), "torch keeps the layout by now: this module is no longer needed"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_statistics_of_bf16_maps_are_computed_in_float32(layout: torch.memory_format) -> None:
    # mean / std of 200: in bf16 arithmetic the variance would be lost altogether
    maps = (features(layout) + 800).bfloat16()
    found = instance_norm(maps)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, F.instance_norm(maps.float()).bfloat16())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_single_position_has_no_variance(layout: torch.memory_format) -> None:
    with pytest.raises(ValueError, match="more than 1 position"):
        instance_norm(torch.zeros(1, 3, 1, 1).contiguous(memory_format=layout))


def test_second_derivatives_exist_in_channels_last() -> None:
    maps = torch.randn(2, 3, 3, 2, dtype=torch.double).contiguous(memory_format=torch.channels_last)
    weights, gradients = torch.randn(2, 3, 3, 2, dtype=torch.double), []
    for norm in (instance_norm, F.instance_norm):
        (gradient,) = torch.autograd.grad(
            (norm(maps.requires_grad_()) * weights).sum(), maps, create_graph=True
        )
        gradients.append(gradient)
    assert torch.allclose(*gradients, atol=1e-12)
    assert torch.autograd.gradgradcheck(instance_norm, (maps,))


@pytest.mark.parametrize("num", [1, 2])
def test_a_norm_and_its_relu_keep_no_map_but_the_norm_s_output(num: int) -> None:
    norm, relu = InstanceNorm2d(5), ReLUAfterNorm()
    given = features(torch.channels_last, num).requires_grad_()
    kept: set[int] = set()

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape == given.shape:
            kept.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        normed = norm(given)
        found = relu(normed)
    assert kept == {normed.data_ptr()}
    assert torch.equal(found, F.relu(normed))
    contiguous = features(torch.contiguous_format, num)
    assert torch.equal(relu(contiguous), F.relu(contiguous))
    (gradient,) = torch.autograd.grad(found, normed, torch.ones_like(found))
    assert torch.equal(gradient, (normed > 0).float())


PAIRS: list[tuple[type[nn.Module], type[nn.Module], dict[str, Any]]] = [
    (ConvBeforeNorm2d, nn.Conv2d, {"stride": 2, "padding": 1}),
    (ConvBeforeNorm2d, nn.Conv2d, {"groups": 5}),
    (ConvBeforeNorm2d, nn.Conv2d, {"bias": False}),
    (
        TransposedConvBeforeNorm2d,
        nn.ConvTranspose2d,
        {"stride": 2, "padding": 1, "output_padding": 1},
    ),
    (TransposedConvBeforeNorm2d, nn.ConvTranspose2d, {"bias": False, "groups": 5}),
]


def pair_of(
    ours: type[nn.Module], theirs: type[nn.Module], settings: dict[str, Any]
) -> list[nn.Module]:
    """Both layers, with equal weights."""
    layers = [kind(5, 10, 3, **settings).double() for kind in (ours, theirs)]
    layers[1].load_state_dict(layers[0].state_dict())
    return layers


@pytest.mark.parametrize(("ours", "theirs", "settings"), PAIRS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_convolution_before_a_norm_is_torch_s_own_but_for_the_gradient_of_its_bias(
    ours: type[nn.Module],
    theirs: type[nn.Module],
    settings: dict[str, Any],
    layout: torch.memory_format,
) -> None:
    layer, plain = pair_of(ours, theirs, settings)
    maps, outputs = [features(layout).double().requires_grad_() for _ in range(2)], []
    for item, given in zip((layer, plain), maps, strict=True):
        output = item(given)
        (output * torch.arange(output.numel()).view_as(output).sin()).sum().backward()
        outputs.append(output)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.allclose(maps[0].grad, maps[1].grad, atol=1e-12)
    assert torch.allclose(layer.weight.grad, plain.weight.grad, atol=1e-12)
    assert list(layer.state_dict()) == list(plain.state_dict())
    if settings.get("bias", True):
        assert layer.bias.grad is None
        assert layer.bias.requires_grad, "optimizers and checkpoints have it as before"
        assert plain.bias.grad.abs().sum() > 0.1


@pytest.mark.parametrize(("ours", "theirs", "settings"), PAIRS[:2] + PAIRS[3:4])
def test_the_bias_before_an_instance_norm_has_a_true_gradient_of_0(
    ours: type[nn.Module], theirs: type[nn.Module], settings: dict[str, Any]
) -> None:
    layer, plain = pair_of(ours, theirs, settings)
    for item in (layer, plain):
        normed = instance_norm(item(features(torch.contiguous_format).double()))
        weights = torch.arange(normed.numel()).view_as(normed).sin()
        (normed * weights).sum().backward()
    assert plain.bias.grad.abs().max() <= 1e-12
    assert layer.bias.grad is None
    assert layer.weight.grad.abs().max() > 0.01
    assert torch.allclose(layer.weight.grad, plain.weight.grad, atol=1e-12)


def test_before_a_batch_norm_whose_statistics_notice_a_bias_torch_s_own_layers_stand() -> None:
    assert (CONV_BEFORE["batch"], TRANSPOSED_CONV_BEFORE["batch"]) == (
        nn.Conv2d,
        nn.ConvTranspose2d,
    )
    assert (CONV_BEFORE["instance"], TRANSPOSED_CONV_BEFORE["instance"]) == (
        ConvBeforeNorm2d,
        TransposedConvBeforeNorm2d,
    )
