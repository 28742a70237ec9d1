"""Tiny generators from noise, their discriminators and the methods that train them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from loops import loop_of
from torch import Tensor, nn

from gancomp.config import merge, read
from gancomp.engine.fit import run_step
from gancomp.engine.phases import optimizers
from gancomp.methods.base import Components
from gancomp.planning.plan import Plan, make_plan
from gancomp.registry import METHODS, resolve
from gancomp.settings import (
    AdversarialSettings,
    Json,
    NetworkSettings,
    OptimizerSettings,
    Overrides,
)
from gancomp.tasks.base import new_network
from gancomp.tasks.synthesis import SynthesisTask

SIZES = {"stylegan2": 16, "biggan": 32}
BATCH = 4
NUM_CLASSES = 2
GENERATOR: dict[str, dict[str, Any]] = {
    "stylegan2": {"style_channels": 8, "mapping_layers": 1, "const_channels": 8},
    "biggan": {"num_classes": NUM_CLASSES},
}
STYLES = GENERATOR["stylegan2"]
LAZY = {"r1_every": 2, "path_every": 3}
RULES: dict[str, dict[str, Any]] = {
    "stylegan2": {"ema_beta": 0.9},
    "biggan": {"ema_beta": 0.9, "r1_gamma": 0.0, "path_weight": 0.0, "style_mixing": 0.0},
}
KINDS = {"stylegan2": "vanilla", "biggan": "hinge"}
ADAM = OptimizerSettings(lr=2e-3, beta1=0.0, beta2=0.99)


def tiny_generator(arch: str = "stylegan2", width: int = 8, role: str = "generator") -> Any:
    settings = NetworkSettings(arch, width, resolution=SIZES[arch], **GENERATOR[arch])
    return new_network(settings, 0, role)


def tiny_task(arch: str = "stylegan2", *, frozen: bool = False, width: int = 8) -> SynthesisTask:
    classes = {"num_classes": NUM_CLASSES} if arch == "biggan" else {}
    return SynthesisTask(
        tiny_generator(arch, width),
        NetworkSettings(f"{arch}-discriminator", width, resolution=SIZES[arch], **classes),
        adversarial=AdversarialSettings(gan=KINDS[arch], pool_size=0),
        seed=0,
        frozen=frozen,
    )


def tiny_method(
    name: str = "dgl",
    arch: str = "stylegan2",
    *,
    task: SynthesisTask | None = None,
    student_width: int = 4,
    optimizer: OptimizerSettings = ADAM,
    **options: Any,
) -> Any:
    kind = resolve(METHODS, "method", name)
    components = Components(
        task=task or tiny_task(arch, frozen=kind.distills),
        student=tiny_generator(arch, student_width, "student") if kind.distills else None,
        perceptual=None,
        optimizer=optimizer,
        seed=0,
    )
    return kind(components, read(kind.Options, RULES[arch] | options)).train()


def tiny_batch(arch: str = "stylegan2", seed: int = 1, count: int = BATCH) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    size = SIZES[arch]
    batch = {"image": torch.rand(count, 3, size, size, generator=generator) * 2 - 1}
    if arch == "biggan":
        batch["label"] = torch.arange(count) % NUM_CLASSES
    return batch


def take_steps(
    method: Any, count: int, arch: str = "stylegan2", *, size: int = BATCH
) -> list[dict[str, Tensor]]:
    loop = loop_of(method)
    return [run_step(loop, index, tiny_batch(arch, index, size)) for index in range(count)]


def state_of(module: nn.Module) -> dict[str, Any]:
    return {
        key: value.clone() if isinstance(value, Tensor) else value
        for key, value in module.state_dict().items()
    }


def whole_state(method: Any) -> dict[str, Any]:
    """Everything of a pair that training changes."""
    states: dict[str, Any] = {
        name: state_of(method.networks()[name])
        for name in ("generator", "discriminator", "average", "standing")
    }
    states["optimizers"] = [item.state_dict() for item in optimizers(method.phases()).values()]
    return states


def typed(photos: Path, **sections: Any) -> Json:
    """The settings of a tiny run on images in a folder, with others in their sections."""
    values: Json = {
        "data": {"dataset": str(photos), "task": "synthesis", "size": 16, "batch_size": 4},
        "teacher": {"network": {"width": 8, **STYLES}},
        "discriminator": {"width": 8},
        "method": {"options": dict(LAZY)},
        "schedule": {"max_steps": 3},
        "run": {"workers": 0, "device": "cpu", "log_every": 1},
    }
    return merge(values, sections)


def planned(command: str, values: Json, **given: Any) -> Plan:
    return make_plan(command, Overrides(settings=values, **given), pytest.fail)
