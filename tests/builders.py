"""Small networks, tasks and methods for tests; deterministic, cheap, every option reachable."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.config import AdversarialSettings, NetworkSettings, OptimiserSettings, read
from gancomp.engine.phases import Phase, Step
from gancomp.losses.perceptual import PerceptualFeatures, load_perceptual
from gancomp.methods.base import Ingredients, Method
from gancomp.registry import METHODS, TASKS, resolve
from gancomp.tasks.base import Task, new_network

SIZE = 32


def small_generator(width: int = 4, role: str = "generator", **settings: Any) -> Any:
    return new_network(NetworkSettings(arch="mobile-resnet6", width=width, **settings), 0, role)


def small_task(name: str = "unpaired", *, frozen: bool = False, **weights: Any) -> Task:
    discriminator = {"width": 4, "layers": 1, "norm": weights.pop("d_norm", "instance")}
    generator = weights.pop("generator", None) or small_generator()
    task: Task = resolve(TASKS, "--task", name)(
        generator,
        NetworkSettings(arch="patchgan", **discriminator),
        adversarial=AdversarialSettings(**weights),
        seed=0,
        frozen=frozen,
    )
    return task


@functools.cache
def random_features(taps: tuple[str, ...]) -> PerceptualFeatures | None:
    """Frozen, so all tests can share it; drawing its 15 million weights takes a while."""
    return load_perceptual("random", None, taps=taps, announce=print)


def small_method(
    name: str = "dcd", task: Task | None = None, *, perceptual: bool = True, **options: Any
) -> Method:
    kind = resolve(METHODS, "--method", name)
    chosen = read(kind.Options, options)
    taps = kind.perceptual_taps(chosen)
    features = random_features(taps) if perceptual and taps else None
    ingredients = Ingredients(
        task=task or small_task(),
        student=small_generator(2, "student") if kind.distils else None,
        perceptual=features,
        optimiser=OptimiserSettings(),
        seed=0,
    )
    method: Method = kind(ingredients, chosen)
    return method


def random_batch(num_images: int = 2, size: int = SIZE, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_images, 3, size, size)
    return {name: torch.rand(shape, generator=generator) * 2 - 1 for name in ("source", "target")}


def random_step(index: int = 0, **batch: Any) -> Step:
    return Step(index, random_batch(**batch))


def snapshot(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
        if isinstance(value, Tensor)
    }


def phase_called(method: Method, name: str) -> Phase:
    (phase,) = [phase for phase in method.phases() if phase.name == name]
    return phase
