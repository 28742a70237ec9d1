"""Equalized layers against their definition, to second order."""

import math

import pytest
import torch
from derivatives import assert_equal_to_second_order
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from gancomp.networks.base import initialize
from gancomp.networks.equalized import Bias, EqualConv, EqualLinear, EqualWeight, draw_normal
from gancomp.networks.resample import Blur


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("lr_mul", [1.0, 0.01])
def test_linear_layer_scales_weights_by_fan_in_and_learning_rate(
    lr_mul: float, activate: bool
) -> None:
    layer = EqualLinear(6, 4, lr_mul=lr_mul, activate=activate).double()

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = x @ (weight * (lr_mul / math.sqrt(6))).T + lr_mul * bias
        return F.leaky_relu(y, 0.2) * math.sqrt(2) if activate else y

    inputs = [random(3, 6), random(4, 6, seed=1) / lr_mul, random(4, seed=2) / lr_mul]
    assert_equal_to_second_order(ours, plain, inputs)


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution_scales_its_weight_adds_its_bias_and_activates(kernel: int) -> None:
    layer = EqualConv(3, 4, kernel, gain=0.5).double()

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional_call(layer, {"0.weight": weight, "1.bias": bias}, (x,))

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = F.conv2d(x, weight / math.sqrt(3 * kernel**2), padding=kernel // 2)
        return 0.5 * math.sqrt(2) * F.leaky_relu(y + bias.view(1, -1, 1, 1), 0.2)

    inputs = [random(2, 3, 5, 4), random(4, 3, kernel, kernel, seed=1), random(4, seed=2)]
    assert_equal_to_second_order(ours, plain, inputs)


def test_convolution_filters_first_if_asked_to_and_may_leave_out_what_follows() -> None:
    layer = EqualConv(2, 3, 1, before=Blur(1, stride=2), activate=False).double()
    assert set(layer.state_dict()) == {"0.kernel", "1.weight"}
    layer[0].reset()
    layer[1].draw_weights(torch.Generator().manual_seed(0))
    x = random(1, 2, 4, 4)
    expected = F.conv2d(layer[0](x), layer[1].weight / math.sqrt(2))
    assert torch.allclose(layer(x), expected, rtol=1e-12)


def test_weights_are_drawn_near_one_over_the_learning_rate() -> None:
    layer = EqualLinear(200, 200, lr_mul=0.01, initial_bias=1.0)
    layer.draw_weights(torch.Generator().manual_seed(0))
    assert float(layer.weight.detach().std()) == pytest.approx(100, rel=0.02)  # of 40,000 numbers
    assert layer.bias.unique().tolist() == [1.0]
    weight = EqualWeight(50, 50, 3)
    weight.draw_weights(torch.Generator().manual_seed(0))
    assert float(weight.weight.detach().std()) == pytest.approx(1, rel=0.02)
    assert float(weight.scaled(1.0).detach().std()) == pytest.approx(1 / math.sqrt(450), rel=0.02)
    bias = Bias(3)
    bias.draw_weights(torch.Generator())
    assert bias.bias.tolist() == [0, 0, 0]


def test_outputs_keep_unit_mean_square_whatever_the_width() -> None:
    layer = EqualLinear(512, 512, activate=True)
    layer.draw_weights(torch.Generator().manual_seed(1))
    output = layer(random(512, 512).float())
    # the mean square of a leaky ReLU's output is 0.52 of its input's, times 2
    assert float(output.detach().square().mean()) == pytest.approx(1.04, rel=0.03)


def test_numbers_drawn_are_those_of_the_generator_alone() -> None:
    first, second = torch.empty(5), torch.empty(5)
    torch.manual_seed(1)
    draw_normal(first, torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    draw_normal(second, torch.Generator().manual_seed(3))
    assert torch.equal(first, second)


def test_equalized_layers_are_drawn_by_themselves_not_by_the_common_initialization() -> None:
    layer = EqualLinear(2, 2)
    layer.draw_weights(torch.Generator().manual_seed(0))
    before = layer.weight.clone()
    initialize(layer, torch.Generator().manual_seed(1))
    assert torch.equal(layer.weight, before)
