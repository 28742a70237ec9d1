"""Several inputs in one pass against as many passes: who is batched, and that nothing changes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from builders import random_batch, small_generator, small_method, small_task
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Progress, Step
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.networks import batching
from gancomp.networks.batching import (
    in_one_pass,
    is_better_in_one_pass,
    running_statistics,
    treats_images_alone,
)
from gancomp.tasks.base import Task

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TASKS: list[tuple[str, dict[str, Any]]] = [
    ("unpaired", {}),
    ("unpaired", {"lambda_identity": 0.0}),
    ("unpaired", {"gan": "hinge", "pool_size": 0}),
    ("unpaired", {"d_norm": "batch"}),
    ("unpaired", {"generator": "batch"}),
    ("paired", {}),
]


@pytest.fixture
def pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(batching, "pays_off", lambda device: True)


def note_batches(network: nn.Module) -> list[int]:
    """The number of images in each pass of `network`, filled as it runs."""
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    return sizes


def train_once(name: str, settings: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Losses and gradients of both phases, and the sizes of all passes by network."""
    settings = dict(settings)
    if "generator" in settings:
        settings["generator"] = small_generator(norm=settings["generator"])
    task = small_task(name, **settings).double().train()
    networks = task.networks()
    passes = {name: note_batches(item) for name, item in networks.items() if name[-4:] != "pool"}
    batch = {key: images.double() for key, images in random_batch(2).items()}
    student_fake = torch.flip(batch["target"], [2])
    step, found = Step(0, batch), dict[str, Tensor]()
    for phase in ("teacher", "discriminator"):
        task.zero_grad()
        losses = losses_of(task, phase, step, student_fake)
        torch.stack(list(losses.values())).sum().backward()
        found |= {f"{phase}/{name}": term.detach() for name, term in losses.items()}
        found |= {
            f"{phase}/{name}": parameter.grad.clone()
            for name, parameter in task.named_parameters()
            if parameter.grad is not None
        }
    return found, passes


def losses_of(task: Task, phase: str, step: Step, student_fake: Tensor) -> dict[str, Tensor]:
    if phase == "teacher":
        return task.generator_losses(step)
    return task.discriminator_losses(step, student_fake)


@pytest.mark.parametrize(("name", "settings"), TASKS)
def test_a_task_has_the_same_losses_and_gradients_in_one_pass(
    name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, alone = train_once(name, settings)
    monkeypatch.setattr(batching, "pays_off", lambda device: True)
    found, together = train_once(name, settings)
    assert list(found) == list(wanted)
    assert len(found) > 20
    for key, value in wanted.items():
        assert torch.allclose(found[key], value, rtol=1e-6, atol=1e-9), key
    assert {size for sizes in alone.values() for size in sizes} == {2}
    judged = 2 if settings.get("d_norm") == "batch" else 6  # real, teacher's and student's fakes
    assert max(together["discriminator"]) == judged
    if name == "unpaired":
        both = "generator" not in settings and settings.get("lambda_identity") != 0.0
        assert max(together["generator"]) == max(together["backward_generator"]) == 2 + 2 * both


def take_whole_step(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All losses and all gradients of a step of the engine's, which minimizes some terms early."""
    method = small_method("dcd", small_task(name), perceptual=False).double().train()
    gradients: dict[str, Tensor] = {}

    def keep(phase: Phase, *_: Any) -> None:
        for key, parameter in phase.module.named_parameters():
            if parameter.grad is not None:
                gradients[f"{phase.name}/{key}"] = parameter.grad.clone()

    for phase in method.phases():
        phase.optimizer.register_step_pre_hook(partial(keep, phase))
    losses = take_step(
        method,
        Step(0, {key: images.double() for key, images in random_batch(2).items()}),
        Progress(0, 0, 1),
        rate=1.0,
        precision="fp32",
        device=CPU,
        watch=FiniteWatch(late=False),
    )
    return losses, gradients


@pytest.mark.parametrize("name", ["unpaired", "paired"])
def test_a_whole_step_is_the_same_in_one_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (losses, gradients) = take_whole_step(name)
    monkeypatch.setattr(batching, "pays_off", lambda device: True)
    for found, wanted in zip(take_whole_step(name), (losses, gradients), strict=True):
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            assert torch.allclose(found[key], value, rtol=1e-6, atol=1e-9), key
    assert len(gradients) > 70


@pytest.mark.usefixtures("pays")
def test_batch_norm_is_batched_in_eval_mode_only() -> None:
    network = small_generator(norm="batch")
    assert not treats_images_alone(network.train())
    assert not is_better_in_one_pass(network, GPU)
    assert is_better_in_one_pass(network.eval(), GPU)
    sizes = note_batches(network)
    inputs = list(random_batch(2).values())
    in_one_pass(network, network, inputs)
    in_one_pass(network.train(), network, inputs)
    assert sizes == [4, 2, 2]


@pytest.mark.usefixtures("pays")
def test_outputs_come_in_the_order_and_number_of_the_inputs() -> None:
    layer = nn.Conv2d(3, 2, 3).double()
    inputs = [
        torch.rand(num, 3, 8, 8, generator=torch.Generator().manual_seed(num)).double()
        for num in (3, 1, 2)
    ]
    sizes = note_batches(layer)
    found = in_one_pass(layer, layer, inputs)
    assert sizes == [6]
    for output, given in zip(found, inputs, strict=True):
        assert torch.allclose(output, layer(given), atol=1e-12)


@pytest.mark.usefixtures("pays")
def test_inputs_of_different_shapes_pass_one_by_one() -> None:
    layer = nn.Conv2d(3, 2, 3)
    sizes = note_batches(layer)
    found = in_one_pass(layer, layer, [torch.rand(1, 3, 8, 8), torch.rand(2, 3, 6, 8)])
    assert [tuple(output.shape) for output in found] == [(1, 2, 6, 6), (2, 2, 4, 6)]
    assert sizes == [1, 2]


def test_a_gpu_is_given_one_pass_and_a_cpu_several() -> None:
    layer = nn.Conv2d(3, 2, 3)
    assert is_better_in_one_pass(layer, GPU)
    assert not is_better_in_one_pass(layer, CPU)
    sizes = note_batches(layer)
    in_one_pass(layer, layer, [torch.rand(1, 3, 8, 8), torch.rand(2, 3, 8, 8)])
    assert sizes == [1, 2]


def test_batch_norms_keep_their_statistics_within_the_block_and_their_mode_after_it() -> None:
    trained, resting = nn.BatchNorm2d(1), nn.BatchNorm2d(1).eval()
    network = nn.Sequential(trained, resting)
    with running_statistics(network):
        network(torch.full((2, 1, 2, 2), 5.0))
    assert trained.running_mean.item() == 0.0
    assert (trained.training, resting.training) == (True, False)
