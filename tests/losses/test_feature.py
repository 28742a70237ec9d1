"""Equations 4 to 6 of DCD against themselves, written out with loops over every index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gancomp.losses.feature import (
    discriminator_concept_loss,
    feature_loss,
    gram_matrix,
    style_loss,
)

SHAPES = [(2, 3, 2, 3), (2, 2, 3, 1), (2, 1, 2, 2)]
Nested = dict[str, dict[str, Tensor]]


def random_maps(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def nested_maps(maps: list[Tensor]) -> Nested:
    """Two generator taps: one with two discriminator taps, one with one."""
    return {"stem": {"d1": maps[0], "d4": maps[1]}, "block9": {"d1": maps[2]}}


def literal_feature_loss(teacher_maps: list[Tensor], student_maps: list[Tensor]) -> Tensor:
    """sum_j 1/(H_j W_j C_j) |Phi_j(T) - Phi_j(S)|_1, averaged over the batch."""
    total = torch.zeros((), dtype=torch.float64)
    for teacher, student in zip(teacher_maps, student_maps, strict=True):
        num_images, channels, height, width = teacher.shape
        for n in range(num_images):
            for c in range(channels):
                for h in range(height):
                    for w in range(width):
                        distance = (teacher[n, c, h, w].item() - student[n, c, h, w]).abs()
                        total = total + distance / (height * width * channels) / num_images
    return total


def literal_gram(features: Tensor, n: int, c: int, d: int) -> Tensor:
    _, channels, height, width = features.shape
    total = torch.zeros((), dtype=torch.float64)
    for h in range(height):
        for w in range(width):
            total = total + features[n, c, h, w] * features[n, d, h, w]
    return total / (channels * height * width)


def literal_style_loss(teacher_maps: list[Tensor], student_maps: list[Tensor]) -> Tensor:
    """sum_j |Gram(Phi_j(T)) - Gram(Phi_j(S))|_1, averaged over the batch."""
    total = torch.zeros((), dtype=torch.float64)
    for teacher, student in zip(teacher_maps, student_maps, strict=True):
        num_images, channels = teacher.shape[:2]
        for n in range(num_images):
            for c in range(channels):
                for d in range(channels):
                    difference = literal_gram(teacher, n, c, d).item() - literal_gram(
                        student, n, c, d
                    )
                    total = total + difference.abs() / num_images
    return total


def literal_mean_style_loss(teacher_maps: list[Tensor], student_maps: list[Tensor]) -> Tensor:
    """As the release: each tap's Gram difference also divided by its C*C entries."""
    return torch.stack(
        [
            literal_style_loss([teacher], [student]) / teacher.shape[1] ** 2
            for teacher, student in zip(teacher_maps, student_maps, strict=True)
        ]
    ).sum()


def literal_concept_loss(teacher_maps: list[Tensor], student_maps: list[Tensor]) -> Tensor:
    """sum_k sum_i l(D_k(f(T_i)), D_k(f(S_i))) with l = L1 averaged over elements."""
    teacher, student = nested_maps(teacher_maps), nested_maps(student_maps)
    total = torch.zeros((), dtype=torch.float64)
    for tap, teacher_features in teacher.items():
        for name, features in teacher_features.items():
            for t, s in zip(features.flatten(), student[tap][name].flatten(), strict=True):
                total = total + (t.item() - s).abs() / features.numel()
    return total


def concept_loss(teacher_maps: list[Tensor], student_maps: list[Tensor]) -> Tensor:
    return discriminator_concept_loss(nested_maps(teacher_maps), nested_maps(student_maps))


def style_loss_by_sum(teacher_maps: list[Tensor], student_maps: list[Tensor]) -> Tensor:
    return style_loss(teacher_maps, student_maps, reduction="sum")


Loss = Callable[[list[Tensor], list[Tensor]], Tensor]
EQUATIONS: dict[str, tuple[Loss, Loss]] = {
    "4 feature": (feature_loss, literal_feature_loss),
    "5 style, to the letter": (style_loss_by_sum, literal_style_loss),
    "5 style, as released": (style_loss, literal_mean_style_loss),
    "6 concept": (concept_loss, literal_concept_loss),
}
each_loss = pytest.mark.parametrize("loss", [pair[0] for pair in EQUATIONS.values()], ids=EQUATIONS)


@pytest.mark.parametrize(("loss", "literal"), EQUATIONS.values(), ids=EQUATIONS)
def test_loss_and_its_gradient_equal_the_equation_written_as_loops(
    loss: Loss, literal: Loss
) -> None:
    teacher = random_maps(0)
    student = [features.requires_grad_() for features in random_maps(1)]
    value, expected = loss(teacher, student), literal(teacher, student)
    gradients = torch.autograd.grad(value, student)
    expected_gradients = torch.autograd.grad(expected, student)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert value.item() > 0.1
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert expected_gradient.abs().max() > 0
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-12)


@each_loss
def test_equal_maps_give_exactly_zero(loss: Loss) -> None:
    maps = random_maps(0)
    assert loss(maps, [features.clone() for features in maps]).item() == 0


@pytest.mark.parametrize("loss", [feature_loss, style_loss, style_loss_by_sum])
def test_gradient_reaches_the_student_and_never_the_teacher(loss: Loss) -> None:
    teacher = [features.requires_grad_() for features in random_maps(0)]
    student = [features.requires_grad_() for features in random_maps(1)]
    loss(teacher, student).backward()
    assert all(features.grad is None for features in teacher)
    assert all(features.grad is not None and features.grad.abs().sum() > 0 for features in student)


def test_the_concept_loss_hands_gradient_to_both_sides_for_the_ablation_that_trains_both() -> None:
    teacher = [features.requires_grad_() for features in random_maps(0)]
    student = [features.requires_grad_() for features in random_maps(1)]
    concept_loss(teacher, student).backward()
    assert all(features.grad.abs().sum() > 0 for features in [*teacher, *student])


@each_loss
def test_swapping_teacher_and_student_leaves_the_value(loss: Loss) -> None:
    first, second = random_maps(0), random_maps(1)
    assert loss(first, second).item() == pytest.approx(loss(second, first).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "power"),
    [
        ("4 feature", 1),
        ("5 style, to the letter", 2),
        ("5 style, as released", 2),
        ("6 concept", 1),
    ],
)
def test_maps_three_times_as_large_scale_the_loss_by_its_degree(name: str, power: int) -> None:
    loss = EQUATIONS[name][0]
    teacher, student = random_maps(0), random_maps(1)
    scaled = loss([3 * features for features in teacher], [3 * features for features in student])
    assert scaled.item() == pytest.approx(3**power * loss(teacher, student).item(), rel=1e-9)


@each_loss
def test_a_batch_of_one_image_twice_costs_the_same_as_the_image(loss: Loss) -> None:
    teacher, student = random_maps(0), random_maps(1)
    single = loss([t[:1] for t in teacher], [s[:1] for s in student])
    twice = loss([t[[0, 0]] for t in teacher], [s[[0, 0]] for s in student])
    assert twice.item() == pytest.approx(single.item(), rel=1e-12)


@each_loss
def test_half_precision_maps_are_compared_in_float32(loss: Loss) -> None:
    teacher = [features.to(torch.bfloat16) for features in random_maps(0)]
    student = [features.to(torch.bfloat16) for features in random_maps(1)]
    value = loss(teacher, student)
    exact = loss([t.double() for t in teacher], [s.double() for s in student])
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


def test_gram_matrix_of_two_channels_is_what_it_is_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # C=2, H=1, W=2
    expected = torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4
    torch.testing.assert_close(gram_matrix(features), expected, rtol=0, atol=0)


def test_feature_style_and_concept_losses_are_what_they_are_by_hand() -> None:
    teacher = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    student = torch.tensor([[[[1.0, 0.0]], [[3.0, 0.0]]]])  # Gram [[1, 3], [3, 9]] / 4
    assert feature_loss([teacher, teacher], [student, teacher]).item() == 1.5  # (2 + 4) / 4
    assert style_loss([teacher], [student], reduction="sum").item() == 9  # (4 + 8 + 8 + 16) / 4
    assert style_loss([teacher], [student]).item() == 2.25
    taps = {"stem": {"d4": teacher, "d2": student}, "block3": {"d4": teacher}}
    other = {"stem": {"d4": student, "d2": student}, "block3": {"d4": student}}
    assert discriminator_concept_loss(taps, other).item() == 3


def test_gram_matrix_stays_float32_and_exact_inside_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    features = 1 + torch.rand(1, 4, 64, 64, generator=generator) / 100
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gram = gram_matrix(features)
        assert (features.flatten(2) @ features.flatten(2).mT).dtype == torch.bfloat16
    assert gram.dtype == torch.float32
    # float32 sums over 4096 products: 1e-5 is generous, bfloat16 would be off by 1e-2
    torch.testing.assert_close(gram, gram_matrix(features.double()).float(), rtol=1e-5, atol=0)


def test_gram_matrix_of_a_flat_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        gram_matrix(torch.zeros(3, 4))


@pytest.mark.parametrize("loss", [feature_loss, style_loss])
def test_no_taps_missing_taps_and_other_shapes_are_refused(loss: Loss) -> None:
    maps = random_maps(0)
    with pytest.raises(ValueError, match="0 taps and the student 0"):
        loss([], [])
    with pytest.raises(ValueError, match="3 taps and the student 2"):
        loss(maps, maps[:2])
    with pytest.raises(ValueError, match=r"tap 1: .*\(2, 2, 3, 1\).*\(2, 1, 2, 2\)"):
        loss(maps, [maps[0], maps[2], maps[2]])


def test_an_unknown_style_reduction_is_refused() -> None:
    unknown: Any = "none"
    with pytest.raises(ValueError, match=r"'none'.*mean or sum"):
        style_loss(random_maps(0), random_maps(1), reduction=unknown)


def test_concept_loss_names_the_generator_taps_that_differ() -> None:
    maps = nested_maps(random_maps(0))
    with pytest.raises(ValueError, match=r"generator taps.*'block9', 'stem'.*\['stem'\]"):
        discriminator_concept_loss(maps, {"stem": maps["stem"]})
    with pytest.raises(ValueError, match="generator taps differ or are empty"):
        discriminator_concept_loss({}, {})


def test_concept_loss_names_the_discriminator_taps_that_differ() -> None:
    maps = nested_maps(random_maps(0))
    fewer = {**maps, "stem": {"d4": maps["stem"]["d4"]}}
    with pytest.raises(ValueError, match=r"discriminator taps of stem.*'d1', 'd4'.*\['d4'\]"):
        discriminator_concept_loss(maps, fewer)
    empty: Nested = {**maps, "block9": {}}
    with pytest.raises(ValueError, match="discriminator taps of block9 differ or are empty"):
        discriminator_concept_loss(empty, empty)


def test_concept_loss_names_the_pair_of_taps_whose_shapes_differ() -> None:
    maps = nested_maps(random_maps(0))
    other = {**maps, "block9": {"d1": torch.zeros(2, 1, 2, 3, dtype=torch.float64)}}
    with pytest.raises(ValueError, match=r"block9 -> d1: .*\(2, 1, 2, 2\).*\(2, 1, 2, 3\)"):
        discriminator_concept_loss(maps, other)
