"""The fixed filters against inserted zeros and loops over taps, to second order."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from derivatives import assert_equal_to_second_order
from stylegan2_reference import filtered, insert_zeros, kernel_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

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


class Convolutions(TorchDispatchMode):
    """How many convolutions of either direction run, and those that differentiate one."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += "convolution" in func.name()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layer", [Blur(2), Blur(1, stride=2), Upsample()])
def test_each_derivative_of_a_filter_is_one_more_filter_however_many_channels_there_are(
    layer: FixedFilter,
) -> None:
    # differentiated twice, torch's own takes as many convolutions as there are channels
    features = maps().float().requires_grad_()
    with Convolutions() as convolutions:
        outputs = layer(features)
        weights = torch.ones_like(outputs).requires_grad_()
        (first,) = torch.autograd.grad(outputs, features, weights, create_graph=True)
        first.square().sum().backward()
    assert convolutions.count == 3
    assert weights.grad is not None
    assert first.shape == features.shape


@pytest.mark.parametrize("layer", [Blur(2), Upsample()])
def test_nothing_but_the_kernel_is_kept_for_a_filter_s_gradient(layer: FixedFilter) -> None:
    kept: list[tuple[int, ...]] = []

    def pack(saved: Tensor) -> Tensor:
        kept.append(tuple(saved.shape))
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        layer(maps().float().requires_grad_())
    assert kept == [(4, 4)]


@pytest.mark.parametrize("layer", [Blur(2), Upsample()])
def test_gradients_of_filters_keep_channels_last_order_and_half_precision(
    layer: FixedFilter,
) -> None:
    features = maps().bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
    layer(features).sum().backward()
    assert features.grad is not None
    assert features.grad.dtype == torch.bfloat16
    assert features.grad.is_contiguous(memory_format=torch.channels_last)


def test_a_filter_keeps_the_type_of_its_features_in_gradients_taken_under_autocast() -> None:
    features = maps().float().requires_grad_()
    exact = maps().float().requires_grad_()
    (wanted,) = torch.autograd.grad(Blur(2)(exact).square().sum(), exact, create_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = Blur(2)(features)
        (found,) = torch.autograd.grad(outputs.square().sum(), features, create_graph=True)
    torch.testing.assert_close(found, wanted)


def test_a_compiled_filter_has_the_same_gradient() -> None:
    layer, compiled, features = Blur(2), Blur(2), maps().float()
    compiled.compile(backend="aot_eager", fullgraph=True)
    gradients = []
    for network in (layer, compiled):
        image = features.clone().requires_grad_()
        network(image).square().sum().backward()
        gradients.append(image.grad)
    torch.testing.assert_close(*gradients)
