"""The same steps on a CUDA device; skipped where there is none."""

from __future__ import annotations

import pytest
import torch
from builders import random_batch, small_method, small_task

from gancomp.config import OptimiserSettings, RunSettings, ScheduleSettings
from gancomp.engine.fit import Loop, run_step
from gancomp.engine.run import RunFolder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def first_losses(
    device: str, task: str, precision: str = "fp32", steps: int = 1
) -> dict[str, float]:
    method = small_method("dcd", small_task(task)).to(device)
    loop = Loop(
        method=method,
        run=RunFolder("unused"),
        settings=RunSettings(precision=precision),
        schedule=ScheduleSettings(),
        optimiser=OptimiserSettings(),
        device=torch.device(device),
        steps_per_epoch=10,
        batches=lambda step: iter(()),
        periodic=[],
        saved=lambda step: None,
        view=None,
    )
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
