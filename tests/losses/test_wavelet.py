"""Haar bands against pytorch_wavelets' numbers, and Wavelet KD's loss against the released one."""

from __future__ import annotations

import pytest
import torch
from golden_values import assert_golden, assert_value_and_gradient, golden, image_pair, img
from torch import Tensor

from gancomp.losses.wavelet import haar_transform, wavelet_loss

FLOAT32_FILTERS = 1e-6  # the released transform rounds them


def odd_pair() -> tuple[Tensor, Tensor]:
    shape = (2, 3, 50, 37)
    teacher = img(shape, 11)
    return teacher, (0.7 * teacher + 0.3 * img(shape, 12)).requires_grad_()


PAIRS = {"64x64": image_pair, "50x37": odd_pair}
each_size = pytest.mark.parametrize("size", PAIRS)


def literal_level(images: Tensor) -> tuple[Tensor, Tensor]:
    """One level, square by square."""
    a, b = images[:, :, ::2, ::2], images[:, :, ::2, 1::2]
    c, d = images[:, :, 1::2, ::2], images[:, :, 1::2, 1::2]
    high = [a + b - c - d, a - b + c - d, a - b - c + d]
    return (a + b + c + d) / 2, torch.stack(high, 2) / 2


@each_size
def test_bands_are_those_of_the_released_transform(size: str) -> None:
    entry = golden(f"wkd/DWT haar 4 levels, {size}")["value"]
    low, bands = haar_transform(PAIRS[size]()[0])
    assert list(low.shape) == entry["low_shape"]
    assert_golden(low, entry["low"], rel=FLOAT32_FILTERS)
    assert len(bands) == len(entry["high"]) == 4
    for band, expected in zip(bands, entry["high"], strict=True):
        assert list(band.shape) == expected["shape"]
        for k, name in enumerate(("LH_or_0", "HL_or_1", "HH_or_2")):
            assert_golden(band[:, :, k], expected[name], rel=FLOAT32_FILTERS)


def test_a_ramps_bands_are_those_of_the_released_transform_and_of_the_plain_form() -> None:
    ramp = (torch.arange(16, dtype=torch.float64) ** 1.3).view(1, 1, 4, 4)
    low, (high,) = haar_transform(ramp, 1)
    entry = golden("wkd/Haar on a 4x4 ramp x[i]=i^1.3 (row-major)")["value"]
    assert_golden(low, entry["low"], rel=FLOAT32_FILTERS)
    for k in range(3):
        assert_golden(high[:, :, k], entry[f"h{k}"], rel=FLOAT32_FILTERS)
    names = ("low", "h0_rows", "h1_cols", "h2_diag")
    identity = golden("wkd/Haar identity")["value"]
    first = [low[0, 0, 0, 0], *high[0, 0, :, 0, 0]]
    for value, name in zip(first, names, strict=True):
        assert_golden(value, identity[name], rel=FLOAT32_FILTERS)
    for value, expected in zip((low, high), literal_level(ramp), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


@each_size
def test_loss_and_gradient_are_those_of_the_paper_and_of_the_released_code(size: str) -> None:
    teacher, student = PAIRS[size]()
    value = wavelet_loss(teacher, student)
    name = f"wkd/L1 high-band loss haar 4 levels {size}"
    assert_value_and_gradient(value, name, student, rel=FLOAT32_FILTERS)
    value = 2 * 0.4 * wavelet_loss(teacher, student, distance="mse")
    name = (
        "wkd/training term (MSE, weight 0.4, both directions given the same pair) "
        f"haar 4 levels {size}"
    )
    assert_value_and_gradient(value, name, student, rel=FLOAT32_FILTERS)


def test_squares_keep_their_sum() -> None:
    images = img((1, 2, 16, 8), 3)
    low, bands = haar_transform(images, 3)
    energy = low.square().sum() + sum(band.square().sum() for band in bands)
    assert energy.item() == pytest.approx(images.square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("distance", ["l1", "mse"])
def test_offsets_do_not_count_factors_do(distance: str) -> None:
    teacher = img((1, 3, 16, 16), 3)
    assert wavelet_loss(teacher, teacher, distance=distance).item() == 0  # type: ignore[arg-type]
    assert wavelet_loss(teacher, teacher + 0.3, distance=distance).item() < 1e-15  # type: ignore[arg-type]
    single, double = (
        wavelet_loss(teacher, teacher * factor, distance=distance).item()  # type: ignore[arg-type]
        for factor in (2, 3)
    )
    assert double / single == pytest.approx(2 if distance == "l1" else 4, rel=1e-9)


def test_gradient_reaches_the_student_only() -> None:
    teacher, student = (img((1, 3, 16, 16), k).requires_grad_() for k in (3, 4))
    wavelet_loss(teacher, student).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_what_makes_no_sense_is_refused() -> None:
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="0 levels"):
        haar_transform(images, 0)
    with pytest.raises(ValueError, match="'huber'.*l1 or mse"):
        wavelet_loss(images, images, distance="huber")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\) and student \(1, 3, 8, 4\)"):
        wavelet_loss(images, images[..., :4])
