"""Enlarging in tiles gives what the whole image gives, and no tile sees less than it must."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gancomp.networks import inference, tiling
from gancomp.networks.base import TappedNetwork, initialize
from gancomp.networks.inference import run_generator
from gancomp.networks.tiling import receptive_radius, upscale
from gancomp.registry import build_network
from gancomp.seeding import derive_generator


def enlarger(blocks: int = 1, scale: int = 4, width: int = 4) -> TappedNetwork:
    """As after some training: statistics, slopes and biases are not those it begins with."""
    network = build_network("srresnet", width=width, blocks=blocks, scale=scale).eval()
    generator = derive_generator(0, "test")
    initialize(network, generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(module, nn.PReLU | nn.Conv2d):
            for parameter in module.parameters():
                if parameter.ndim == 1:
                    nn.init.normal_(parameter, 0.1, 0.1, generator=generator)
    return network


def random_images(height: int, width: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


def whole(network: TappedNetwork, images: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = network(images)
    return result


@pytest.mark.parametrize(
    ("blocks", "scale", "radius"), [(16, 4, 40), (8, 4, 24), (1, 4, 10), (16, 2, 40), (1, 2, 10)]
)
def test_the_radius_is_the_sum_of_all_kernels_at_their_resolution(
    blocks: int, scale: int, radius: int
) -> None:
    assert receptive_radius(enlarger(blocks, scale, width=1)) == radius


@pytest.mark.parametrize("scale", [2, 4])
def test_an_output_pixel_sees_as_far_as_the_radius_and_no_further(scale: int) -> None:
    network = enlarger(scale=scale).double()
    radius, middle = receptive_radius(network), 14
    images = random_images(29, 29).double().requires_grad_()
    low, high = middle * scale, middle * scale + scale
    network(images)[:, :, low:high, low:high].sum().backward()
    assert images.grad is not None
    rows = images.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows.min() == middle - radius
    assert rows.max() == middle + radius


@pytest.mark.parametrize(
    ("tile", "size", "scale"),
    [(7, (29, 23), 4), (7, (29, 23), 2), (16, (23, 64), 4), (16, (64, 1), 4), (16, (40, 31), 2)],
)
def test_tiles_give_the_whole_image_s_output(tile: int, size: tuple[int, int], scale: int) -> None:
    network = enlarger(scale=scale)
    images = random_images(*size, count=2)
    expected = whole(network, images)
    found = upscale(network, images, tile=tile)
    assert found.shape == expected.shape == (2, 3, *(scale * n for n in images.shape[2:]))
    # the same sums, but in an order that depends on a tile's size
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_sixteen_blocks_in_tiles_give_the_whole_image_s_output() -> None:
    network = enlarger(blocks=16)
    images = random_images(98, 33)
    found = upscale(network, images, tile=16)
    torch.testing.assert_close(found, whole(network, images), rtol=0, atol=1e-5)


def test_without_the_surroundings_the_seams_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    network = enlarger()
    images = random_images(40, 31)
    monkeypatch.setattr(tiling, "receptive_radius", lambda network: 4)
    found = upscale(network, images, tile=16)
    assert (found - whole(network, images)).abs().max() > 1e-3


def test_no_pass_is_larger_than_a_tile_with_its_surroundings_and_small_images_pass_whole() -> None:
    network, seen = enlarger(), []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2:]))
    upscale(network, random_images(40, 64), tile=16)
    limit = 16 + 2 * receptive_radius(network)
    assert len(seen) == 3 * 4
    assert max(max(size) for size in seen) == limit
    seen.clear()
    upscale(network, random_images(limit, limit), tile=16)
    assert seen == [(limit, limit)]
    with pytest.raises(ValueError, match="tile 0"):
        upscale(network, random_images(8, 8), tile=0)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (37, 20)])
def test_inference_enlarges_images_of_any_size(size: tuple[int, int]) -> None:
    network = enlarger()
    images = random_images(*size)
    assert torch.equal(run_generator(network, images), whole(network, images))
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(inference.GancompError, match="not finite"):
        run_generator(network, images)


def test_a_network_for_one_size_sees_that_alone_and_gives_the_whole_images_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, seen = enlarger(), set()
    images = random_images(31, 52, count=2)
    wanted = whole(network, images)
    monkeypatch.setattr(type(network), "fixed_size", (24, 26))
    network.register_forward_pre_hook(lambda _, given: seen.add(tuple(given[0].shape[2:])))
    torch.testing.assert_close(run_generator(network, images), wanted, rtol=0, atol=1e-5)
    assert seen == {(24, 26)}
    run_generator(network, images[:, :, :20])  # smaller: a file would refuse it
    assert (20, 26) in seen
