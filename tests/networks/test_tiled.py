"""The convolution in tiles against torch's own, in value and gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.networks.tiled import ImageConv2d, is_channels_last, tiled

LAYOUTS = (torch.contiguous_format, torch.channels_last)
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
