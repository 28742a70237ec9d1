"""A teacher's step, unpaired, and that of OMGD's two, paired, against the released code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_values import EXACT, fill, golden, img
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.registry import build_network
from gancomp.settings import AdversarialSettings, NetworkSettings
from gancomp.tasks.base import Task
from gancomp.tasks.paired import PairedTask
from gancomp.tasks.unpaired import UnpairedTask

UNPAIRED = "step/unpaired teacher step (lsgan, ngf 4 mobile ResNet, ndf 8, 64x64, lr 2e-4)"
PAIRED = "step/paired teacher objective (hinge, L1 100, two teachers on one ordinary D)"


def task_of(kind: type, base: int, **adversarial: Any) -> Any:
    """Of a mobile ResNet of width 4, filled from `base`, and a PatchGAN of width 8."""
    generator = fill(build_network("mobile-resnet9", width=4), base)
    judge = NetworkSettings(arch="patchgan", width=8, layers=3)
    return kind(generator, judge, adversarial=AdversarialSettings(**adversarial), seed=0).double()


def step_of(batch_size: int, first: int) -> Step:
    shape = (batch_size, 3, 64, 64)
    return Step(0, {"source": img(shape, first), "target": img(shape, first + 1)})


def assert_gradient(terms: dict[str, Tensor], network: nn.Module, expected: Any) -> None:
    parameters = list(network.parameters())
    found = torch.autograd.grad(
        sum(terms.values(), torch.zeros(())), parameters, retain_graph=True, allow_unused=True
    )
    flat = torch.cat([item.flatten() for item in found if item is not None])
    assert flat.sum().item() == pytest.approx(expected["sum"], abs=EXACT * expected["abs_sum"])
    assert flat.abs().sum().item() == pytest.approx(expected["abs_sum"], rel=1e-8)
    assert flat.square().sum().item() == pytest.approx(expected["sq_sum"], rel=1e-8)


def test_the_unpaired_terms_and_gradients_are_those_of_the_released_code() -> None:
    entry, task, step = golden(UNPAIRED), task_of(UnpairedTask, 30000), step_of(1, 91)
    fill(task.backward_generator, 31000)
    fill(task.discriminator, 32000)
    fill(task.backward_discriminator, 33000)
    value, gradients = entry["value"], entry["grads"]
    terms, judged = task.generator_losses(step), task.discriminator_losses(step)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {
            "gan_forward": value["G_A"],
            "gan_backward": value["G_B"],
            "cycle_source": value["cycle_A"],
            "cycle_target": value["cycle_B"],
            "identity_target": value["idt_A"],
            "identity_source": value["idt_B"],
        },
        rel=EXACT,
    )
    both = {"D_A": ("real", "teacher_fake"), "D_B": ("real_source", "fake_source")}
    for judge, names in both.items():
        total = sum(judged[name].item() for name in names)
        assert total == pytest.approx(value[judge], rel=EXACT)
    assert_gradient(terms, task.generator, gradients["G_A"])
    assert_gradient(terms, task.backward_generator, gradients["G_B"])
    assert_gradient(judged, task.discriminator, gradients["D_A"])
    assert_gradient(judged, task.backward_discriminator, gradients["D_B"])


def test_two_paired_teachers_terms_and_gradients_are_those_of_the_released_code() -> None:
    entry = golden(PAIRED)
    value, gradients = entry["value"], entry["grads"]
    teachers: dict[str, Task] = {
        "w": task_of(PairedTask, 34000, gan="hinge"),
        "d": task_of(PairedTask, 35000, gan="hinge"),
    }
    judge = fill(teachers["w"].discriminator, 36000)
    teachers["d"].discriminator = judge  # one for both
    judged: dict[str, Tensor] = {}
    for name, task in teachers.items():
        step = step_of(2, 93)  # which keeps a teacher's translation
        terms = task.generator_losses(step)
        assert terms["gan"].item() == pytest.approx(value[f"gan_{name}"], rel=EXACT)
        assert terms["l1"].item() == pytest.approx(value[f"recon_{name}"], rel=EXACT)
        assert_gradient(terms, task.generator, gradients[f"G_{name}"])
        losses = task.discriminator_losses(step)
        assert losses["teacher_fake"].item() == pytest.approx(
            value[f"D_fake_{name}"] / 2, rel=EXACT
        )
        judged |= {f"{name}/{key}": term for key, term in losses.items()}
    assert judged["w/real"].item() == pytest.approx(value["D_real_w"] / 2, rel=EXACT)
    total = sum(term.item() for term in judged.values())
    assert total == pytest.approx(value["D_total"], rel=EXACT)
    assert_gradient(judged, judge, gradients["D"])
