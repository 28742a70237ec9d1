"""The fixed filters against inserted zeros and loops over taps, to second order."""

from collections.abc import Callable

import pytest
import torch
from derivatives import assert_equal_to_second_order
from stylegan2_reference import filtered, insert_zeros, kernel_of
from torch import Tensor

from gancomp.networks.resample import Blur, FixedFilter, Upsample, binomial_kernel


def maps(height: int = 6, width: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)


def ready(layer: FixedFilter) -> FixedFilter:
    layer.double().reset()  # an eighth of a power of two: exact in any type
    return layer


def blurred(before: int, gain: float = 1.0) -> Callable[[Tensor], Tensor]:
    return lambda x: filtered(x, kernel_of(gain, x), before, before)


def test_kernel_is_the_outer_product_of_1331_with_the_sum_asked_for() -> None:
    row = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
    assert torch.equal(binomial_kernel(), row[:, None] * row / 64)
    assert binomial_kernel(4.0).sum() == 4


@pytest.mark.parametrize(("padding", "gain"), [(1, 1.0), (2, 1.0), (1, 4.0)])
def test_blur_equals_a_loop_over_its_taps(padding: int, gain: float) -> None:
    layer = ready(Blur(padding, gain=gain))
    assert_equal_to_second_order(layer, blurred(padding, gain), [maps()])


def test_blur_of_stride_2_equals_every_second_value_of_the_whole_one() -> None:
    layer = ready(Blur(1, stride=2))
    assert_equal_to_second_order(layer, lambda x: blurred(1)(x)[:, :, ::2, ::2], [maps(6, 8)])
    assert layer(maps(6, 8)).shape == (2, 3, 3, 4)


def test_upsampling_equals_inserted_zeros_filtered_with_two_in_front_and_one_behind() -> None:
    layer = ready(Upsample())

    def explicit(x: Tensor) -> Tensor:
        return filtered(insert_zeros(x), kernel_of(4.0, x), 2, 1)

    assert_equal_to_second_order(layer, explicit, [maps()])
    assert layer(maps()).shape == (2, 3, 12, 10)


def test_upsampling_keeps_a_constant_away_from_the_border() -> None:
    image = ready(Upsample())(torch.ones(1, 1, 4, 4, dtype=torch.float64))
    assert torch.equal(image[0, 0, 1:-1, 1:-1], torch.ones(6, 6, dtype=torch.float64))


def test_blur_by_hand() -> None:
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 1, 1] = 64
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    assert torch.equal(Blur(2)(image)[0, 0], (row[:, None] * row))


def test_a_kernel_that_a_checkpoint_brings_is_used() -> None:
    layer = Blur(1)
    layer.load_state_dict({"kernel": torch.zeros(4, 4)})
    assert layer(torch.ones(1, 2, 5, 5)).abs().max() == 0


@pytest.mark.parametrize("layer", [Blur(1, gain=4.0), Blur(2), Blur(1, stride=2), Upsample()])
def test_filters_keep_channels_last_order_and_half_precision(layer: FixedFilter) -> None:
    features = torch.randn(2, 8, 6, 6).bfloat16().contiguous(memory_format=torch.channels_last)
    output = layer(features)
    assert output.dtype == torch.bfloat16
    assert output.is_contiguous(memory_format=torch.channels_last)
