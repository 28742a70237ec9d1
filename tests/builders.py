"""Small networks, tasks and methods for tests; deterministic, cheap, every option reachable."""

from __future__ import annotations

import functools
from typing import Any

import torch
from synthesis_builders import tiny_batch, tiny_method, tiny_task
from torch import Tensor, nn

from gancomp.config import read
from gancomp.engine.phases import Phase, Step
from gancomp.losses.perceptual import PerceptualFeatures, load_perceptual
from gancomp.methods.base import Components, Method
from gancomp.registry import METHODS, TASKS, resolve
from gancomp.settings import AdversarialSettings, NetworkSettings, OptimizerSettings
from gancomp.tasks.base import Task, new_network

SIZE = 32


SUPER_RESOLUTION = "super-resolution"
SYNTHESIS = "synthesis"
SCALE = 4


def small_generator(width: int = 4, role: str = "generator", **settings: Any) -> Any:
    chosen = {"arch": "mobile-resnet6", **settings}
    return new_network(NetworkSettings(width=width, **chosen), 0, role)


def small_upscaler(width: int = 4, role: str = "generator") -> Any:
    return small_generator(width, role, arch="srresnet", blocks=1, scale=SCALE, norm="batch")


def small_task(name: str = "unpaired", *, frozen: bool = False, **weights: Any) -> Task:
    if name == SYNTHESIS:
        return tiny_task(frozen=frozen)
    layers = weights.pop("d_layers", 1)
    discriminator = {"arch": "patchgan", "width": 4, "layers": layers}
    discriminator["norm"] = weights.pop("d_norm", "instance")
    make = small_generator
    if name == SUPER_RESOLUTION:
        discriminator = {"arch": "srgan-discriminator", "width": 2, "norm": "batch", "crop": SIZE}
        make, weights = small_upscaler, {"gan": "vanilla", "pool_size": 0, **weights}
    generator = weights.pop("generator", None) or make()
    own = {"whole": True} if weights.pop("whole", False) else {}
    task: Task = resolve(TASKS, "task", name)(
        generator,
        NetworkSettings(**discriminator),
        adversarial=AdversarialSettings(**weights),
        seed=0,
        frozen=frozen,
        **own,
    )
    return task


@functools.cache
def random_features(taps: tuple[str, ...]) -> PerceptualFeatures | None:
    """Frozen, so all tests can share it; drawing its 15 million weights takes a while."""
    return load_perceptual("random", None, taps=taps, say=print)


def small_method(
    name: str = "dcd", task: Task | None = None, *, perceptual: bool = True, **options: Any
) -> Method:
    kind = resolve(METHODS, "method", name)
    if SYNTHESIS in kind.tasks:
        made: Method = tiny_method(name, task=task, **options)
        return made
    enlarges = SUPER_RESOLUTION in kind.tasks
    if enlarges:
        options = {"content_tap": "relu1_2", **options}
    if name == "crd":
        options = {"patch_size": SIZE // 2, **options}
    task = task or small_task(*[SUPER_RESOLUTION] if enlarges else [], frozen=enlarges)
    chosen = read(kind.Options, options)
    taps = kind.perceptual_taps(chosen)
    make_student = small_upscaler if enlarges else small_generator
    features = random_features(taps) if perceptual and taps else None
    components = Components(
        task=task,
        student=make_student(2, "student") if kind.distills else None,
        perceptual=features,
        optimizer=OptimizerSettings(),
        seed=0,
    )
    method: Method = kind(components, chosen)
    return method


def random_batch(
    num_images: int = 2, size: int = SIZE, seed: int = 1, scale: int = 1
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sides = {"source": size // scale, "target": size}
    return {
        name: torch.rand((num_images, 3, side, side), generator=generator) * 2 - 1
        for name, side in sides.items()
    }


def batch_for(task: str, seed: int = 1) -> dict[str, Tensor]:
    """A batch of the shapes that the task works on."""
    if task == SYNTHESIS:
        return tiny_batch(seed=seed)
    return random_batch(seed=seed, scale=SCALE if task == SUPER_RESOLUTION else 1)


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
