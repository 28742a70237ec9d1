"""Images from noise follow from seed and number; batches and what they are put together in."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gancomp.errors import ConfigError, GancompError
from gancomp.inference import sampling
from gancomp.inference.sampling import (
    Recipe,
    check_seed,
    check_truncation,
    fitting_batch,
    grid,
    joined,
    sampled,
    spread_classes,
)
from gancomp.networks.base import initialize
from gancomp.networks.synthesis import Latents, SynthesisGenerator
from gancomp.registry import build_network
from gancomp.seeding import derive_generator

SMALL = {
    "stylegan2": {"width": 8, "resolution": 16, "style_channels": 8, "const_channels": 8},
    "biggan": {"width": 2, "resolution": 32, "num_classes": 5},
}


def small(arch: str) -> Any:
    network = build_network(arch, **SMALL[arch])
    initialize(network, derive_generator(0, "test"))
    assert isinstance(network, SynthesisGenerator)
    return network.eval()


def images_of(network: SynthesisGenerator, count: int, batch_size: int, **recipe: Any) -> Tensor:
    recipe = {"seed": 3} | recipe
    return torch.cat(list(sampled(network, count, Recipe(**recipe), batch_size=batch_size)))


@pytest.mark.parametrize("arch", SMALL)
def test_neither_the_batch_size_nor_the_count_changes_an_image(arch: str) -> None:
    network = small(arch)
    many = images_of(network, 7, 3)
    size = network.resolution
    assert many.shape == (7, 3, size, size)
    # one pass of 2 and one of 3 images add up their sums in other orders
    for count, batch_size in ((7, 7), (7, 1), (4, 2)):
        found = images_of(network, count, batch_size)
        torch.testing.assert_close(found, many[:count], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", SMALL)
def test_seed_and_number_decide_an_image_and_the_global_generator_nothing(arch: str) -> None:
    network = small(arch)
    state = torch.get_rng_state()
    first = images_of(network, 4, 4)
    torch.manual_seed(99)
    again = images_of(network, 4, 4)
    torch.set_rng_state(state)
    assert torch.equal(first, again)
    everything = torch.cat([first, images_of(network, 4, 4, seed=4)])
    assert len({image.numpy().tobytes() for image in everything}) == 8


def test_the_noise_within_the_network_is_random_too() -> None:
    network = small("stylegan2")
    one, other = (Recipe(0).latents(network, number) for number in (0, 1))
    assert len(one.noise) == len(network.noise_shapes(1))
    for a, b in zip(one.noise, other.noise, strict=True):
        assert not torch.equal(a, b)


def test_classes_are_taken_in_turns_else_drawn() -> None:
    network = small("biggan")
    parts = [Recipe(0, classes=(4, 1)).latents(network, number) for number in range(5)]
    labels = joined(parts).classes
    assert labels is not None
    assert labels.tolist() == [4, 1, 4, 1, 4]
    drawn = [Recipe(0).latents(network, number).classes for number in range(40)]
    assert {int(label) for label in drawn if label is not None} == {0, 1, 2, 3, 4}


def test_truncation_reaches_either_kind_of_network() -> None:
    threshold = torch.cat([Recipe(0, 0.4).latents(small("biggan"), n).z for n in range(9)])
    assert 0.3 < threshold.abs().max() <= 0.4
    assert Recipe(0, 0.4).latents(small("stylegan2"), 0).truncation == 0.4
    plain = images_of(small("stylegan2"), 4, 4)
    assert not torch.equal(plain, images_of(small("stylegan2"), 4, 4, truncation=0.4))


def test_joined_latents_are_those_of_each_image_alone() -> None:
    network = small("stylegan2")
    parts = [Recipe(7).latents(network, number) for number in range(3)]
    whole = joined(parts)
    assert len(whole) == 3
    assert whole.classes is None
    for index, part in enumerate(parts):
        assert torch.equal(whole.z[index], part.z[0])
        for maps, own in zip(whole.noise, part.noise, strict=True):
            assert torch.equal(maps[index], own[0])


def test_no_more_than_two_batches_are_ever_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    lock = threading.Lock()
    original = Recipe.latents

    def counting(self: Recipe, network: SynthesisGenerator, number: int) -> Latents:
        with lock:
            drawn.append(number)
        return original(self, network, number)

    monkeypatch.setattr(Recipe, "latents", counting)
    stream: Any = sampled(small("biggan"), 1000, Recipe(0), batch_size=2)
    next(stream)
    next(stream)
    stream.close()
    assert sorted(drawn) == list(range(6))


def test_too_little_memory_and_damaged_weights_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = small("biggan")

    def starve(*arguments: object) -> Tensor:
        raise RuntimeError("CUDA out of memory\nmore")

    monkeypatch.setattr(sampling, "finite", starve)
    with pytest.raises(ConfigError, match=r"`batch_size` 3: .*\(CUDA out of memory\).*smaller"):
        images_of(network, 3, 3)
    monkeypatch.undo()
    with torch.no_grad():
        network.shared.weight.fill_(torch.nan)
    with pytest.raises(GancompError, match="not finite"):
        images_of(network, 3, 3)


@pytest.mark.parametrize("truncation", [0.0, -1.0, 2.1, float("nan")])
def test_senseless_truncations_and_seeds_are_refused(truncation: float) -> None:
    with pytest.raises(ConfigError, match="truncation"):
        check_truncation(truncation)
    for fine in (None, 0.1, 1.0, 2.0):
        check_truncation(fine)
    for seed in (-1, 2**63):
        with pytest.raises(ConfigError, match=f"`seed` {seed}"):
            check_seed(seed)


def test_large_images_come_in_small_batches() -> None:
    assert [fitting_batch(size) for size in (16, 256, 512, 1024, 4096)] == [64, 64, 16, 4, 1]


def test_classes_of_a_grid_are_spread() -> None:
    assert spread_classes(small("biggan"), 4) == (0, 1, 2, 3)
    assert spread_classes(small("biggan"), 10) == (0, 0, 1, 1, 2, 2, 3, 3, 4, 4)
    assert spread_classes(small("stylegan2"), 4) == ()


def test_a_grid_is_filled_row_by_row_and_white_where_images_are_missing() -> None:
    images = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
    pixels = np.asarray(grid(images, 2))
    assert pixels.shape == (4, 6, 3)
    assert (pixels[0, 0, 0], pixels[0, 3, 0], pixels[2, 0, 0], pixels[3, 5, 0]) == (10, 20, 30, 255)
