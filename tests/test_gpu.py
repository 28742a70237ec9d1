"""The same steps on a CUDA device; skipped where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import random_batch, small_method, small_task
from loops import loop_of

from gancomp.engine.fit import load_networks, run_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def first_losses(
    device: str, task: str, precision: str = "fp32", steps: int = 1
) -> dict[str, float]:
    method = small_method("dcd", small_task(task)).to(device)
    loop = loop_of(method, device, precision=precision)
    for index in range(steps):
        losses = run_step(loop, index, random_batch(seed=index))
    return {name: term.item() for name, term in losses.items()}


@pytest.mark.parametrize("task", ["unpaired", "paired"])
def test_the_first_step_has_the_same_losses_as_on_the_cpu(task: str) -> None:
    # convolutions may use TF32 (10 bits of mantissa), hence three digits
    assert first_losses("cuda", task) == pytest.approx(
        first_losses("cpu", task), rel=5e-3, abs=5e-3
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_twenty_steps_stay_finite(precision: str) -> None:
    losses = first_losses("cuda", "unpaired", precision, steps=20)
    assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())


def test_a_run_resumed_on_the_gpu_shows_its_pooled_images_there() -> None:
    method = small_method("dcd", small_task("unpaired", pool_size=2)).to("cuda")
    for index in range(4):
        run_step(loop_of(method, "cuda"), index, random_batch(seed=index))
    states = {name: network.state_dict() for name, network in method.networks().items()}
    fresh = small_method("dcd", small_task("unpaired", pool_size=2)).to("cuda")
    load_networks(fresh.networks(), move_to_cpu(states))
    for index in range(4, 8):
        run_step(loop_of(fresh, "cuda"), index, random_batch(seed=index))


def move_to_cpu(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: move_to_cpu(value) for key, value in state.items()}
    return state.cpu()
