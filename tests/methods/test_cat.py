"""CAT's method: kernel alignment of whole batches or of parts, beside the student's own GAN."""

from __future__ import annotations

import re

import pytest
import torch
from builders import random_step, small_method, small_task
from golden_values import g

from gancomp.config import read
from gancomp.losses.maps import kernel_alignment
from gancomp.methods.cat import Cat
from gancomp.methods.cat_options import CatOptions
from gancomp.settings import Settings
from gancomp.tasks.base import Translation


def method_of(task: str = "unpaired", **options: object) -> Cat:
    method = small_method("cat", small_task(task), **options)
    assert isinstance(method, Cat)
    return method


@pytest.mark.parametrize("parts", [1, 2])
def test_the_alignment_is_summed_over_taps_and_parts(parts: int) -> None:
    method = method_of(ka_parts=parts, lambda_distill=0.5)
    step = random_step(num_images=4)
    for phase in ("teacher", "discriminator"):
        method.losses(phase, step)
    pairs = [(g((4, 6, 8, 8), 30 + k), g((4, 3, 8, 8), 40 + k)) for k in range(4)]
    names = method.matched.of_teacher, method.matched.of_student
    maps = [dict(zip(names[k], (p[k].float() for p in pairs), strict=True)) for k in range(2)]
    fakes = step.batch["target"], step.batch["source"].clone().requires_grad_()
    step.shared["teacher"] = Translation(fakes[0], maps[0])
    step.shared["student"] = Translation(fakes[1], maps[1])
    losses = method.losses("student", step)
    assert set(losses) == {"gan", "recon", "distill"}
    wanted = -sum(
        kernel_alignment(t, s).item()
        for pair in pairs
        for t, s in zip(*(item.tensor_split(parts) for item in pair), strict=True)
    )
    assert losses["distill"].item() == pytest.approx(0.5 * wanted, rel=1e-5)
    assert losses["recon"].item() == pytest.approx(
        5 * (fakes[0] - fakes[1]).abs().mean().item(), rel=1e-5
    )


def test_pairs_are_reconstructed_from_the_true_image() -> None:
    method, step = method_of("paired", lambda_recon=1.0), random_step()
    for phase in ("teacher", "discriminator", "student_discriminator"):
        method.losses(phase, step)
    losses = method.losses("student", step)
    fake = step.shared["student"].fake
    assert losses["recon"].item() == pytest.approx(
        (fake - step.batch["target"]).abs().mean().item(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("batch_size", "options", "problem"),
    [
        (1, {}, "`batch_size` 1: .*use 2 or more"),
        (4, {"ka_parts": 4}, "`batch_size` 4: .*each of 4 parts; use 8 or more"),
        (2, {}, None),
        (1, {"lambda_distill": 0.0}, None),
    ],
)
def test_batches_too_small_to_relate_images_are_refused(
    batch_size: int, options: dict[str, float], problem: str | None
) -> None:
    settings = read(
        Settings,
        {
            "command": "distill",
            "data": {"dataset": "x", "task": "unpaired", "batch_size": batch_size},
            "teacher": {"network": {"arch": "resnet9"}},
            "student": None,
            "discriminator": {"arch": "patchgan"},
        }
        | {name: {} for name in ("adversarial", "optimizer", "schedule", "perceptual", "run")}
        | {"method": {"name": "cat", "preset": "cat"}},
    )
    problems = Cat.problems_of(settings, read(CatOptions, options))
    assert bool(problems) == (problem is not None)
    if problem is not None:
        assert re.match(problem, problems[0])


def test_the_students_discriminator_begins_with_the_teachers_weights_unless_it_is_told_not_to() -> (
    None
):
    for warm in (True, False):
        method = method_of(warm_discriminator=warm)
        own = method.own.network.state_dict()
        teacher = method.task.discriminator.state_dict()
        same = all(torch.equal(own[key], teacher[key]) for key in own)
        assert same == warm
