"""Each technique's losses against literal formulas, and who learns from whom."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from builders import (
    SUPER_RESOLUTION,
    batch_for,
    phase_called,
    random_features,
    small_method,
    small_task,
    snapshot,
)
from loops import loop_of
from torch import Tensor, nn

from gancomp.engine.fit import run_step
from gancomp.engine.phases import Progress, Step
from gancomp.errors import ConfigError

TAP, SCALE = "relu1_2", 12.75
TECHNIQUES = ("gan2g", "gan2g-al", "g2g-al", "gan2gan", "no-kd")


def built(name: str, **options: Any) -> Any:
    """A method in float64 with a feature network of its own."""
    method = small_method(name, **options)
    method.perceptual = copy.deepcopy(random_features((TAP,)))
    return method.double().train()


def step_for(index: int = 0, seed: int = 1) -> Step:
    batch = batch_for(SUPER_RESOLUTION, seed)
    return Step(index, {key: value.double() for key, value in batch.items()})


def literal_content(method: Any, images: Tensor, targets: Tensor) -> Tensor:
    a, b = (method.perceptual(item)[TAP] / SCALE for item in (images, targets))
    return ((a - b) ** 2).sum() / a.numel()


def literal_kd(student: Tensor, teacher: Tensor) -> Tensor:
    a, b = (255 * (item + 1) / 2 for item in (student, teacher))
    return ((a - b) ** 2).sum() / a.numel()


def bce(logits: Tensor, label: int) -> Tensor:
    probability = torch.sigmoid(logits)
    return -torch.log(probability if label else 1 - probability).sum() / logits.numel()


def literal_student_loss(name: str, method: Any, step: Step) -> Tensor:
    student = method.network if name == "no-kd" else method.student
    fake, target = student(step.batch["source"]), step.batch["target"]
    loss = literal_content(method, fake, target)
    if name != "no-kd":
        teacher = method.task.generator(step.batch["source"])
        loss = loss + 1e-3 * literal_kd(fake, teacher)
    if name != "gan2g":
        loss = loss + 1e-3 * bce(method.task.discriminator(fake), 1)
    if name == "gan2gan":
        loss = loss + 1e-3 * bce(method.judges["teacher_discriminator"](fake), 1)
    return loss


def gradients(loss: Tensor, module: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters())))


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


# its rates must not fall while it is looked at
endless = partial(loop_of, epochs=1000, decay_epochs=0)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_the_students_loss_equals_the_literal_one_in_value_and_gradient(name: str) -> None:
    method, step = built(name), step_for()
    student = phase_called(method, "student").module
    ours = total(method.losses("student", step))
    wanted = literal_student_loss(name, method, step)
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-12)
    found, expected = gradients(ours, student), gradients(wanted, student)
    assert sum(float(item.abs().sum()) for item in expected) > 0
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["gan2g-al", "g2g-al", "gan2gan", "no-kd"])
def test_the_discriminators_losses_equal_the_literal_ones_in_value_and_gradient(name: str) -> None:
    method, step = built(name), step_for()
    source, target = step.batch["source"], step.batch["target"]
    student = phase_called(method, "student").module
    with torch.no_grad():
        fake, teacher = student(source), method.task.generator(source)
    for phase in method.phases()[1:]:
        real = teacher if phase.name == "teacher_discriminator" else target
        ours = total(method.losses(phase.name, step))
        wanted = bce(phase.module(real), 1) + bce(phase.module(fake), 0)
        assert ours.item() == pytest.approx(wanted.item(), rel=1e-12)
        found, expected = gradients(ours, phase.module), gradients(wanted, phase.module)
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", ["pixel", "content"])
def test_the_teachers_other_objectives_are_pixels_or_maps_alone(objective: str) -> None:
    task = small_task(SUPER_RESOLUTION)
    method = small_method("srgan", task, objective=objective)
    method.perceptual = copy.deepcopy(random_features((TAP,)))
    method, step = method.double(), step_for()
    losses = method.losses("teacher", step)
    fake, target = task.generator(step.batch["source"]), step.batch["target"]
    literal = literal_kd if objective == "pixel" else lambda *both: literal_content(method, *both)
    assert list(losses) == [objective]
    assert losses[objective].item() == pytest.approx(literal(fake, target).item(), rel=1e-12)
    assert [phase.name for phase in method.phases()] == ["teacher"]
    assert list(method.networks()) == ["generator"]


def test_kd_by_features_compares_the_teachers_maps() -> None:
    method, step = built("gan2g", kd_loss="vgg", kd_weight=0.25), step_for()
    source = step.batch["source"]
    wanted = 0.25 * literal_content(method, method.student(source), method.task.generator(source))
    assert method.losses("student", step)["kd"].item() == pytest.approx(wanted.item(), rel=1e-12)


def test_an_identical_student_has_no_distance_to_its_teacher() -> None:
    method, step = built("gan2g"), step_for()
    method.student = copy.deepcopy(method.task.generator).eval()
    assert method.losses("student", step)["kd"].item() == 0


def test_the_second_discriminator_of_gan2gan_acts_on_the_student() -> None:
    method, step = built("gan2gan"), step_for()
    term = method.losses("student", step)["kd_adversarial"]
    assert sum(float(item.abs().sum()) for item in gradients(term, method.student)) > 0


def test_gan2gan_without_that_weight_is_the_release_which_is_gan2g_al() -> None:
    one, two = built("gan2gan", kd_adv_weight=0.0), built("gan2g-al")
    losses = [method.losses("student", step_for()) for method in (one, two)]
    assert list(losses[0]) == list(losses[1])
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


def test_no_gradient_reaches_the_teacher_or_the_features() -> None:
    method = built("gan2gan")
    total(method.losses("student", step_for())).backward()
    for frozen in (method.task.generator, method.perceptual):
        assert all(item.grad is None for item in frozen.parameters())


@pytest.mark.parametrize("name", ["gan2g", "gan2g-al", "g2g-al", "gan2gan"])
def test_teacher_and_its_statistics_are_the_same_bits_after_steps(name: str) -> None:
    method = small_method(name)
    loop, before = endless(method), snapshot({"teacher": method.task.generator})
    assert any(key.endswith("running_mean") for key in before)
    for index in range(4):
        loop.method.train()
        run_step(loop, index, batch_for(SUPER_RESOLUTION, index))
    after = snapshot({"teacher": method.task.generator})
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_student_and_discriminators_see_each_other_as_they_were_before_the_step() -> None:
    method, batch = small_method("gan2gan"), batch_for(SUPER_RESOLUTION)
    method.train()
    twin = copy.deepcopy(method)
    logged = run_step(endless(method), 0, batch)
    for phase in twin.phases():
        for name, term in twin.losses(phase.name, Step(0, batch)).items():
            assert torch.equal(logged[f"{phase.name}/{name}"], term), name


def test_sequential_learning_begins_the_adversary_at_its_step() -> None:
    method = small_method("gan2gan", al_start_step=2)
    loop = endless(method)
    for index in range(4):
        before = snapshot(dict(method.judges.items()))
        logged = run_step(loop, index, batch_for(SUPER_RESOLUTION, index))
        after = snapshot(dict(method.judges.items()))
        moved = any(not torch.equal(after[key], value) for key, value in before.items())
        assert moved == (index >= 2)
        assert ("student/adversarial" in logged) == (index >= 2)
        assert ("student/kd_adversarial" in logged) == (index >= 2)
        assert "student/kd" in logged


def test_a_weight_of_zero_leaves_the_term_out() -> None:
    method = small_method("gan2gan", kd_weight=0.0, adv_weight=0.0, kd_adv_weight=0.0)
    assert list(method.losses("student", Step(0, batch_for(SUPER_RESOLUTION)))) == ["content"]


def test_the_rate_falls_to_a_tenth_and_a_restored_optimizer_knows() -> None:
    method = small_method("gan2g", rate_drop_step=2)
    loop, (phase,), seen = endless(method), method.phases(), []
    for index in range(4):
        run_step(loop, index, batch_for(SUPER_RESOLUTION))
        seen.append(phase.optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([2e-4, 2e-4, 2e-5, 2e-5])
    fresh = small_method("gan2g", rate_drop_step=2)
    fresh.phases()[0].optimizer.load_state_dict(phase.optimizer.state_dict())
    run_step(endless(fresh), 4, batch_for(SUPER_RESOLUTION))
    assert fresh.phases()[0].optimizer.param_groups[0]["lr"] == pytest.approx(2e-5)


@pytest.mark.parametrize(
    ("objective", "typed", "falls"),
    [("gan", None, 100_000), ("content", None, 100_000), ("pixel", None, None), ("pixel", 7, 7)],
)
def test_srresnet_keeps_its_rate_to_the_end_unless_told_otherwise(
    objective: str, typed: int | None, falls: int | None
) -> None:
    """As in the code that Lee and Park build on, whose million steps have one rate."""
    options = {} if typed is None else {"rate_drop_step": typed}
    (phase, *_) = small_method("srgan", objective=objective, **options).phases()
    steps = (0, 6, 7, 99_999, 100_000, 999_999)
    found = [phase.slowed(Progress(step, 0, 1)) for step in steps]
    assert found == [0.1 if falls is not None and step >= falls else 1.0 for step in steps]


def test_a_later_discriminator_counts_its_own_steps_until_its_rate_falls() -> None:
    method = small_method("gan2gan", al_start_step=1, rate_drop_step=2)
    loop, phases = loop_of(method), method.phases()
    seen: list[list[float]] = []
    for index in range(4):
        run_step(loop, index, batch_for(SUPER_RESOLUTION, index))
        seen.append([phase.optimizer.param_groups[0]["lr"] for phase in phases])
    assert seen[2] == pytest.approx([2e-5, 2e-4, 2e-4])
    assert seen[3] == pytest.approx([2e-5, 2e-5, 2e-5])


@pytest.mark.parametrize("name", TECHNIQUES)
def test_without_features_there_is_no_content_loss_and_that_is_said(name: str) -> None:
    with pytest.raises(ConfigError, match="`perceptual` none: .* content loss"):
        small_method(name, perceptual=False)


def test_a_teacher_that_would_be_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="`freeze_teacher=False`: `method` gan2g learns"):
        small_method("gan2g", small_task(SUPER_RESOLUTION))
