"""Modulated convolution against its grouped form and a loop over images, to second order."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from derivatives import assert_equal_to_second_order, to_second_order
from stylegan2_reference import (
    filtered,
    insert_zeros,
    kernel_of,
    modulated_by_sample,
    modulated_in_groups,
    one_by_one,
    rectified,
    spread_out,
)
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gancomp.networks.modulated import ModulatedConv2d, StyledConv, ToRGB
from gancomp.networks.resample import FixedFilter

IN, OUT, STYLE = 3, 4, 5
CASES = [(3, False, True), (3, True, True), (1, False, False), (3, False, False), (1, False, True)]
Reference = Callable[..., Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def drawn(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(5)
    layer.double()
    for parameter in layer.parameters():
        parameter.data.normal_(generator=generator)
    for module in layer.modules():
        if isinstance(module, FixedFilter):
            module.reset()
    return layer


def conv(kernel: int, upsample: bool, demodulate: bool) -> ModulatedConv2d:
    layer = ModulatedConv2d(IN, OUT, kernel, STYLE, upsample=upsample, demodulate=demodulate)
    drawn(layer)
    return layer


@pytest.mark.parametrize("reference", [modulated_in_groups, modulated_by_sample])
@pytest.mark.parametrize(("kernel", "upsample", "demodulate"), CASES)
def test_scaling_activations_equals_weights_for_every_image(
    reference: Reference, kernel: int, upsample: bool, demodulate: bool
) -> None:
    layer = conv(kernel, upsample, demodulate)
    names = ("weight", "modulation.weight", "modulation.bias")

    def ours(features: Tensor, style: Tensor, *weights: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, weights, strict=True)), (features, style))

    def theirs(
        features: Tensor, style: Tensor, weight: Tensor, affine: Tensor, bias: Tensor
    ) -> Tensor:
        factors = style @ affine.T / math.sqrt(STYLE) + bias
        return reference(features, weight[0], factors, demodulate=demodulate, upsample=upsample)

    inputs = [
        random(2, IN, 4, 5),
        random(2, STYLE, seed=1),
        random(1, OUT, IN, kernel, kernel, seed=2),
        random(IN, STYLE, seed=3),
        random(IN, seed=4),
    ]
    assert_equal_to_second_order(ours, theirs, inputs)


def test_second_gradients_of_a_modulated_convolution_agree_with_finite_differences() -> None:
    layer = conv(3, True, True)
    inputs = (random(2, IN, 2, 2).requires_grad_(), random(2, STYLE, seed=1).requires_grad_())
    assert torch.autograd.gradgradcheck(layer, inputs)


def test_references_agree_with_sums_over_single_values() -> None:
    x, weight = random(2, IN, 4, 4), random(OUT, IN, 3, 3, seed=1)
    assert torch.allclose(one_by_one(x, weight, 2, 1), F.conv2d(x, weight, stride=2, padding=1))
    large = spread_out(x, weight)
    assert torch.allclose(large, F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
    assert large.shape == (2, OUT, 9, 9)


def test_demodulated_outputs_do_not_change_with_the_length_of_the_factors() -> None:
    layer = conv(3, False, True)
    features, style = random(2, IN, 4, 4), random(2, STYLE, seed=1)
    before = layer(features, style)
    with torch.no_grad():
        layer.modulation.weight *= 100
        layer.modulation.bias *= 100
    assert torch.allclose(layer(features, style), before, rtol=1e-6)  # but for the epsilon


@pytest.mark.parametrize("upsample", [False, True])
def test_styled_convolution_adds_noise_then_bias_then_activates(upsample: bool) -> None:
    layer = StyledConv(IN, OUT, STYLE, upsample=upsample)
    drawn(layer)
    side = 8 if upsample else 4
    names = ("noise.weight", "activate.bias")

    def ours(features: Tensor, style: Tensor, noise: Tensor, *weights: Tensor) -> Tensor:
        values = dict(zip(names, weights, strict=True))
        return functional_call(layer, values, (features, style, noise))

    def theirs(
        features: Tensor, style: Tensor, noise: Tensor, strength: Tensor, bias: Tensor
    ) -> Tensor:
        maps = layer.conv(features, style) + noise * strength
        return rectified(maps + bias.view(1, -1, 1, 1))

    inputs = [
        random(2, IN, 4, 4),
        random(2, STYLE, seed=1),
        random(2, 1, side, side, seed=2),
        random(1, seed=3),
        random(OUT, seed=4),
    ]
    assert_equal_to_second_order(ours, theirs, inputs)


def test_noise_of_one_map_is_the_same_for_every_image() -> None:
    layer = drawn(StyledConv(IN, OUT, STYLE))
    features, style, noise = random(2, IN, 4, 4), random(2, STYLE), random(1, 1, 4, 4)
    expected = layer(features, style, noise.expand(2, -1, -1, -1))
    assert torch.equal(layer(features, style, noise), expected)


def test_to_rgb_adds_to_the_enlarged_image() -> None:
    layer = ToRGB(IN, STYLE)
    drawn(layer)
    features, style, image = random(2, IN, 8, 8), random(2, STYLE), random(2, 3, 4, 4, seed=1)
    larger = filtered(insert_zeros(image), kernel_of(4.0, image), 2, 1)
    expected = layer.conv(features, style) + layer.bias + larger
    assert torch.allclose(layer(features, style, image), expected, rtol=1e-12)
    assert torch.allclose(layer(features, style), expected - larger, rtol=1e-9, atol=1e-12)


def test_enlarging_the_image_is_not_rounded_by_autocast() -> None:
    layer = ToRGB(IN, STYLE)
    drawn(layer).float()
    torch.nn.init.zeros_(layer.conv.weight)
    torch.nn.init.zeros_(layer.bias)
    features, style = random(1, IN, 8, 8).float(), random(1, STYLE).float()
    image = random(1, 3, 4, 4, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(features, style, image)
    assert torch.equal(found, layer(features, style, image))


@pytest.mark.parametrize("make", [lambda: conv(3, False, True), lambda: conv(1, False, False)])
def test_memory_order_changes_nothing_but_the_order(make: Callable[[], ModulatedConv2d]) -> None:
    layer = make()
    features, style = random(2, IN, 4, 6), random(2, STYLE)
    turned = copy.deepcopy(layer).to(memory_format=torch.channels_last)
    plain = to_second_order(layer, [features, style])
    other = to_second_order(
        lambda x, s: turned(x.contiguous(memory_format=torch.channels_last), s), [features, style]
    )
    for a, b in zip(plain, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_channels_last_reaches_weights_of_five_dimensions_and_back() -> None:
    layer = conv(3, True, True)
    before = layer.weight.clone()
    layer.to(memory_format=torch.channels_last)
    assert layer.weight.shape == before.shape
    assert layer.weight[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer.weight, before)
    layer.to(memory_format=torch.contiguous_format)
    assert layer.weight.is_contiguous()


def test_factors_stay_in_float32_under_autocast() -> None:
    layer = conv(3, False, True).float()
    features, style = random(2, IN, 4, 4).float(), random(2, STYLE).float()
    exact = layer.factors(style)
    with torch.autocast("cpu", torch.bfloat16):
        inward, outward = layer.factors(style)
        output = layer(features, style)
    assert torch.equal(inward, exact[0])
    assert torch.equal(outward, exact[1])
    assert output.dtype == torch.bfloat16
