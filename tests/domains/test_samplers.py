"""The pictures of synthesis that a run draws on its way: the same noise at every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gancomp.domains.choice import domain_of
from gancomp.engine.run import RunFolder
from gancomp.networks.base import initialize
from gancomp.networks.synthesis import Latents
from gancomp.registry import build_network
from gancomp.seeding import derive_generator

STYLEGAN2 = {"resolution": 16, "style_channels": 8, "const_channels": 8}
BIGGAN = {"resolution": 32, "num_classes": 40}


def small(arch: str, width: int, **settings: Any) -> Any:
    network = build_network(arch, width=width, **settings)
    initialize(network, derive_generator(0, "test", width))
    return network.train()


class Player(torch.nn.Module):
    """As much of a method as a sampler sees."""

    def __init__(self, **generators: Any) -> None:
        super().__init__()
        self.all = torch.nn.ModuleDict(generators)

    def generators(self) -> dict[str, Any]:
        return dict(self.all.items())


@pytest.fixture
def sampler(tmp_path: Path) -> Callable[..., Callable[[int], Any]]:
    """A function that draws what a method makes and returns the picture."""

    def make(method: Player, seed: int = 0) -> Callable[[int], Any]:
        folder = RunFolder(tmp_path)
        folder.samples.mkdir(exist_ok=True)
        settings: Any = SimpleNamespace(
            data=SimpleNamespace(task="synthesis"), run=SimpleNamespace(seed=seed)
        )
        files: Any = None
        given: Any = method
        draw = domain_of(settings.data.task).sampler(
            settings, files, given, folder, device=torch.device("cpu")
        )

        def picture(step: int) -> Any:
            draw(step)
            return np.asarray(Image.open(folder.samples / f"step_{step:08d}.png"))

        return picture

    return make


Sampler = Callable[..., Callable[[int], Any]]


def test_a_single_generator_fills_a_square_with_the_same_noise_every_time(
    sampler: Sampler,
) -> None:
    method = Player(teacher=small("stylegan2", 8, **STYLEGAN2))
    draw = sampler(method)
    first = draw(1)
    assert first.shape == (4 * 16, 4 * 16, 3)
    tiles = {first[y : y + 16, x : x + 16].tobytes() for y in (0, 16, 32, 48) for x in (0, 16)}
    assert len(tiles) == 8
    assert method.training
    state = torch.get_rng_state()
    assert np.array_equal(draw(2), first)
    assert np.array_equal(sampler(method)(3), first)  # as after a resume
    assert not np.array_equal(sampler(method, seed=1)(4), first)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.mul_(1.1)
    assert not np.array_equal(draw(5), first)


def test_teacher_and_student_stand_side_by_side_on_the_same_noise(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = (small("stylegan2", width, **STYLEGAN2) for width in (8, 4))
    given: list[Latents] = []
    for network in (teacher, student):
        network.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    picture = sampler(Player(teacher=teacher, student=student))(1)
    assert picture.shape == (8 * 16, 2 * 16, 3)
    one, other = given
    assert torch.equal(one.z, other.z)
    for a, b in zip(one.noise, other.noise, strict=True):
        assert torch.equal(a, b)
    assert (picture[:, :16] != picture[:, 16:]).any()


def test_classes_of_the_samples_are_spread(sampler: Sampler) -> None:
    network = small("biggan", 2, **BIGGAN)
    given: list[Latents] = []
    network.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    assert sampler(Player(teacher=network))(1).shape == (4 * 32, 4 * 32, 3)
    assert given[0].classes is not None
    assert given[0].classes.tolist() == [index * 40 // 16 for index in range(16)]
