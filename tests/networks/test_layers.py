"""Layers that keep layouts, keep nothing for gradients, or compute tiles, beside torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.layers import (
    CONV_BEFORE,
    TRANSPOSED_CONV_BEFORE,
    ConvBeforeNorm2d,
    ImageConv2d,
    InstanceNorm2d,
    ReflectionPad2d,
    ReLUAfterNorm,
    TransposedConvBeforeNorm2d,
    instance_norm,
    is_channels_last,
    tiled,
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


PADDINGS = [1, 3, (0, 1, 2, 3), (3, 0, 0, 2), (4, 4, 3, 3)]


def maps(layout: torch.memory_format) -> Tensor:
    values = torch.randn(2, 5, 4, 5, dtype=torch.double)
    return values.contiguous(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradients_are_those_of_torch(
    padding: int | tuple[int, int, int, int], layout: torch.memory_format
) -> None:
    given = maps(layout)
    layer = ReflectionPad2d(padding)
    found, wanted = layer(given), F.pad(given, layer.padding, mode="reflect")
    assert torch.equal(found, wanted)
    assert found.stride() == wanted.stride()
    weights = torch.randn_like(wanted)
    gradients = [torch.autograd.grad((item * weights).sum(), given)[0] for item in (found, wanted)]
    assert torch.allclose(*gradients, atol=1e-13)
    assert torch.autograd.gradgradcheck(layer, (given,))


def test_the_input_is_not_kept_for_the_gradient() -> None:
    kept: list[Tensor] = []
    given = maps(torch.channels_last)

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        ReflectionPad2d(1)(given)
        assert not kept
        F.pad(given, (1, 1, 1, 1), mode="reflect")
        assert kept, "torch keeps nothing either by now: ours is no longer needed"


# maps that a kernel of 7 leaves even in both directions, and odd in one or both
SIZES = [(12, 18), (12, 17), (11, 18), (11, 13), (7, 8), (7, 7)]


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.double)


def layers(kernel: int | tuple[int, int] = 7, *, bias: bool = True) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Ours and torch's, with equal weights."""
    ours, theirs = (kind(4, 3, kernel, bias=bias).double() for kind in (ImageConv2d, nn.Conv2d))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def run(layer: nn.Conv2d, maps: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The image, and the gradients of a weighted sum of it: input, weight and bias."""
    maps = maps.clone(memory_format=torch.preserve_format).requires_grad_()
    image = layer(maps)
    gradients = torch.autograd.grad(
        (image * random(*image.shape, seed=1)).sum(), [maps, *layer.parameters()]
    )
    return image, list(gradients)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("num", [1, 2])
def test_value_and_gradients_are_those_of_torch_s_convolution(
    size: tuple[int, int], layout: torch.memory_format, num: int
) -> None:
    ours, theirs = (layer.to(memory_format=layout) for layer in layers())
    maps = random(num, 4, *size).contiguous(memory_format=layout)
    (found, found_gradients), (wanted, wanted_gradients) = run(ours, maps), run(theirs, maps)
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-12)
    assert len(found_gradients) == 3
    for gradient, expected in zip(found_gradients, wanted_gradients, strict=True):
        assert torch.allclose(gradient, expected, atol=1e-11)


@pytest.mark.parametrize("kernel", [1, 3, (5, 2)])
def test_any_kernel_with_or_without_bias(kernel: int | tuple[int, int]) -> None:
    for bias in (True, False):
        ours, theirs = layers(kernel, bias=bias)
        for size in ((12, 10), (12, 11)):
            assert torch.allclose(ours(random(2, 4, *size)), theirs(random(2, 4, *size)))


def test_even_images_are_computed_in_tiles_and_odd_ones_pixel_by_pixel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    original = F.conv2d

    def noting(*args: Tensor, **options: int) -> Tensor:
        calls.append((tuple(args[1].shape), options.get("stride")))
        return original(*args, **options)  # type: ignore[no-any-return]  # torch's own, untyped

    monkeypatch.setattr(F, "conv2d", noting)
    layer = layers()[0]
    layer(random(1, 4, 12, 18))
    assert calls == [((12, 4, 8, 8), 2)]
    calls.clear()
    layer(random(1, 4, 12, 17))
    assert [shape for shape, _ in calls] == [(3, 4, 7, 7)]


def test_on_the_meta_device_the_costs_are_those_of_the_convolution() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    layer = ImageConv2d(4, 3, 7).to("meta")
    with FlopCounterMode(display=False) as counter:
        assert layer(torch.empty(1, 4, 12, 18, device="meta")).shape == (1, 3, 6, 12)
    assert counter.get_total_flops() == 2 * 6 * 12 * 3 * 4 * 7 * 7


def test_the_state_is_that_of_torch_s_convolution() -> None:
    ours, theirs = layers()
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tiled_kernel_keeps_the_layout_of_the_kernel(layout: torch.memory_format) -> None:
    weight = random(3, 4, 7, 7).contiguous(memory_format=layout)
    kernel, bias = tiled(weight, None)
    assert bias is None
    assert kernel.shape == (12, 4, 8, 8)
    assert is_channels_last(kernel) == is_channels_last(weight) == (layout == LAYOUTS[1])
    # each kernel stands four times, and the rest is zeros
    assert torch.allclose(kernel.sum((1, 2, 3)), weight.sum((1, 2, 3)).repeat_interleave(4))
    assert (kernel != 0).sum() == 4 * (weight != 0).sum()
