"""OMGD's image terms against the released code's numbers and against plain forms of themselves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from golden_values import assert_golden, assert_value_and_gradient, golden, image_pair, img, vgg
from torch import Tensor

from gancomp.losses.feature import feature_loss, gram_matrix, style_loss
from gancomp.losses.image import structural_similarity, total_variation

WINDOW = 1e-6  # the released window is rounded to float32, in its products and in its sum


def literal_similarity(images: Tensor, targets: Tensor) -> Tensor:
    """Equation 13 of Wang et al. with one 11 x 11 window for all that is averaged."""
    line = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (line[:, None] * line[None]) / line.sum() ** 2

    def smooth(values: Tensor) -> Tensor:
        channels = values.shape[1]
        return F.conv2d(values, window.expand(channels, 1, 11, 11), padding=5, groups=channels)

    x, y = smooth(images), smooth(targets)
    var_x, var_y = smooth(images**2) - x**2, smooth(targets**2) - y**2
    both = smooth(images * targets) - x * y
    c1, c2 = 0.0001, 0.0009
    return ((2 * x * y + c1) * (2 * both + c2) / (x**2 + y**2 + c1) / (var_x + var_y + c2)).mean()


def test_similarity_and_its_gradient_are_those_of_the_released_code() -> None:
    teacher, student = image_pair()
    value = structural_similarity(student, teacher)
    assert_value_and_gradient(value, "omgd/ssim (mean, images in [-1,1])", student, rel=WINDOW)
    assert_value_and_gradient(
        10 * (1 - value), "omgd/loss_G_SSIM = 10*(1-SSIM)", student, rel=WINDOW
    )
    shape = (2, 3, 40, 48)
    teacher = img(shape, 11)
    student = (0.6 * teacher + 0.4 * img(shape, 12)).requires_grad_()
    value = structural_similarity(student, teacher)
    assert_value_and_gradient(value, "omgd/ssim batch 2, 40x48", student, rel=WINDOW)


def test_the_window_is_the_released_one() -> None:
    window = golden("omgd/ssim window")["value"]
    line = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    line = line / line.sum()
    assert_golden(line * line[5], window["row5"], rel=WINDOW)
    assert_golden(line[5] ** 2, window["centre"], rel=WINDOW)
    assert_golden(line[0] ** 2, window["corner"], rel=WINDOW)


def test_similarity_equals_the_plain_form_with_a_square_window() -> None:
    images, targets = img((2, 2, 13, 17), 5), img((2, 2, 13, 17), 6)
    value, expected = (f(images, targets) for f in (structural_similarity, literal_similarity))
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)


def knowledge(teacher: Tensor, student: Tensor) -> dict[str, Tensor]:
    """OMGD's terms of one teacher, by the released weights."""
    maps = vgg()(teacher), vgg()(student)
    return {
        "SSIM": 10 * (1 - structural_similarity(student, teacher)),
        "style": 1e4 * style_loss(*[list(m.values()) for m in maps]),
        "feature": 10 * feature_loss(*[[m["relu2_2"]] for m in maps]),
        "tv": 1e-5 * total_variation(student),
    }


def test_the_unpaired_objective_and_its_terms_are_those_of_the_released_code() -> None:
    teacher, student = image_pair()
    terms = knowledge(teacher, student)
    for name, term in terms.items():
        rel = WINDOW if name == "SSIM" else 1e-9
        assert_golden(term, golden(f"omgd/cycle objective/loss_G_{name}")["value"], rel=rel)
        if name != "SSIM":
            assert_value_and_gradient(term, f"omgd/{name} alone (weighted)", student)
    total = torch.stack(list(terms.values())).sum()
    assert_golden(total, golden("omgd/cycle objective/loss_G_student")["value"], rel=WINDOW)
    name = "omgd/cycle objective/gradient of the total"
    assert_value_and_gradient(total, name, student, rel=WINDOW)


def test_the_paired_objective_sums_over_two_teachers_as_the_released_code_does() -> None:
    shape = (2, 3, 64, 64)
    wide, deep = img(shape, 51), img(shape, 52)
    student = (0.5 * wide + 0.3 * deep + 0.1 * img(shape, 53)).requires_grad_()
    last = knowledge(deep, student)
    entry = golden("omgd/paired two-teacher total")
    for name, term in last.items():
        assert_golden(term, entry[f"loss_{name}_last"], rel=WINDOW)
    total = torch.stack([*knowledge(wide, student).values(), *last.values()]).sum()
    assert_value_and_gradient(total, "omgd/paired two-teacher total", student, rel=WINDOW)


@pytest.mark.parametrize("tap", ["relu1_2", "relu2_2", "relu3_3", "relu4_3"])
def test_vgg_maps_and_gram_matrices_are_those_of_the_released_code(tap: str) -> None:
    features = vgg()(image_pair()[0])[tap]
    assert_golden(features, golden(f"vgg/{tap} of T")["value"])
    assert_golden(gram_matrix(features), golden(f"vgg/gram {tap} of T")["value"])


def test_equal_images_have_similarity_one_and_no_gradient() -> None:
    images = img((1, 3, 16, 16), 3)
    student = images.clone().requires_grad_()
    value = structural_similarity(student, images)
    assert value.item() == pytest.approx(1, abs=1e-12)
    assert torch.autograd.grad(value, student)[0].abs().max() < 1e-12


def test_similarity_gives_a_gradient_to_the_student_only() -> None:
    images, targets = (img((1, 3, 16, 16), k).requires_grad_() for k in (3, 4))
    structural_similarity(images, targets).backward()
    assert images.grad is not None
    assert targets.grad is None


def test_variation_is_the_sum_of_steps_by_hand_and_zero_for_one_color() -> None:
    images = torch.tensor([[[[0.0, 1.0], [3.0, 3.0]]]])
    assert total_variation(images).item() == 3 + 2 + 1 + 0
    assert total_variation(torch.cat([images, images])).item() == 12
    assert total_variation(torch.full((1, 3, 4, 4), 0.3)).item() == 0


def test_images_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\) and targets \(1, 3, 8, 9\)"):
        structural_similarity(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
