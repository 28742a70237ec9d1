"""Wavelet KD's method: the released term in both directions, and a student with its own GAN."""

from __future__ import annotations

import pytest
import torch
from builders import random_step, small_method, small_task
from golden_values import golden, image_pair
from torch import Tensor

from gancomp.engine.phases import Step
from gancomp.methods.wavelet_kd import WaveletKd
from gancomp.tasks.base import Translation


def method_of(task: str = "unpaired", **options: object) -> WaveletKd:
    method = small_method("wavelet-kd", small_task(task), **options)
    assert isinstance(method, WaveletKd)
    return method


def stored(step: Step) -> Tensor:
    teacher, student = image_pair()
    for name in ("teacher", "backward"):
        step.shared[name] = Translation(teacher, {})
    return student


@pytest.mark.parametrize(("wavelet", "levels"), [("haar", 4), ("db3", 3)])
def test_both_directions_together_are_the_released_training_term(wavelet: str, levels: int) -> None:
    method = method_of(wavelet_distance="mse", wavelet=wavelet, wavelet_levels=levels)
    step = random_step()
    student = stored(step)
    terms = {}
    for direction in ("forward", "backward"):
        terms |= method.wavelet_terms(step, direction, Translation(student, {}))  # type: ignore[arg-type]
    assert list(terms) == ["wavelet_forward", "wavelet_backward"]
    entry = golden(
        "wkd/training term (MSE, weight 0.4, both directions given the same pair) "
        f"{wavelet} {levels} levels 64x64"
    )
    total = torch.stack(list(terms.values())).sum()
    assert total.item() == pytest.approx(entry["value"], rel=1e-6)  # filters in float32 there


def test_the_papers_distance_is_absolute() -> None:
    method, step = method_of("paired"), random_step()
    terms = method.wavelet_terms(step, "forward", Translation(stored(step), {}))
    entry = golden("wkd/L1 high-band loss haar 4 levels 64x64")
    assert list(terms) == ["wavelet"]
    assert terms["wavelet"].item() == pytest.approx(0.4 * entry["value"], rel=1e-6)


def test_the_student_has_a_gan_of_its_own_of_the_width_asked_for() -> None:
    method = method_of(student_d_width=2)
    assert (method.students_task.discriminator.width, method.task.discriminator.width) == (2, 4)
    assert method.students_task.generator is method.student
    names = [phase.name for phase in method.phases()]
    assert names == ["teacher", "discriminator", "student", "student_discriminator"]
    held = {id(parameter) for parameter in method.task.parameters()}
    assert not held & {id(parameter) for parameter in method.students_task.parameters()}
    judges = method.task.discriminator, method_of().students_task.discriminator
    first, second = (judge.state_dict()["model.0.weight"] for judge in judges)
    assert not torch.equal(first, second)


def test_the_students_terms_are_named_by_direction_and_part() -> None:
    step, method = random_step(), method_of()
    for phase in ("teacher", "discriminator", "student"):
        losses = method.losses(phase, step)
    assert {"gan_forward", "cycle_target", "wavelet_forward", "wavelet_backward"} <= set(losses)
    judged = method.losses("student_discriminator", step)
    assert set(judged) == {"real", "student_fake", "real_source", "fake_source"}
    without = method_of(lambda_wavelet=0.0).losses("student", random_step())
    assert not [name for name in without if name.startswith("wavelet")]
