"""Bands against pytorch_wavelets' numbers, and Wavelet KD's loss against the released one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_values import assert_golden, assert_value_and_gradient, golden, image_pair, img
from torch import Tensor

from gancomp.losses.wavelet import DB3, TRANSFORMS, db3_transform, haar_transform, wavelet_loss

FLOAT32_FILTERS = 1e-6  # the released transform rounds them


def odd_pair() -> tuple[Tensor, Tensor]:
    shape = (2, 3, 50, 37)
    teacher = img(shape, 11)
    return teacher, (0.7 * teacher + 0.3 * img(shape, 12)).requires_grad_()


PAIRS = {"64x64": image_pair, "50x37": odd_pair}
KINDS = [("haar", 4, "64x64"), ("haar", 4, "50x37"), ("db3", 3, "64x64")]
each_kind = pytest.mark.parametrize(("wavelet", "levels", "size"), KINDS)


def literal_level(images: Tensor) -> tuple[Tensor, Tensor]:
    """One level, square by square."""
    a, b = images[:, :, ::2, ::2], images[:, :, ::2, 1::2]
    c, d = images[:, :, 1::2, ::2], images[:, :, 1::2, 1::2]
    high = [a + b - c - d, a - b + c - d, a - b - c + d]
    return (a + b + c + d) / 2, torch.stack(high, 2) / 2


@each_kind
def test_bands_are_those_of_the_released_transform(wavelet: Any, levels: int, size: str) -> None:
    entry = golden(f"wkd/DWT {wavelet} {levels} levels, {size}")["value"]
    low, bands = TRANSFORMS[wavelet](PAIRS[size]()[0], levels)
    assert list(low.shape) == entry["low_shape"]
    assert_golden(low, entry["low"], rel=FLOAT32_FILTERS)
    assert len(bands) == len(entry["high"]) == levels
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


@each_kind
def test_loss_and_gradient_are_those_of_the_paper_and_of_the_released_code(
    wavelet: Any, levels: int, size: str
) -> None:
    teacher, student = PAIRS[size]()
    value = wavelet_loss(teacher, student, levels=levels, wavelet=wavelet)
    name = f"wkd/L1 high-band loss {wavelet} {levels} levels {size}"
    assert_value_and_gradient(value, name, student, rel=FLOAT32_FILTERS)
    value = wavelet_loss(teacher, student, levels=levels, wavelet=wavelet, distance="mse")
    value = 2 * 0.4 * value
    name = (
        "wkd/training term (MSE, weight 0.4, both directions given the same pair) "
        f"{wavelet} {levels} levels {size}"
    )
    assert_value_and_gradient(value, name, student, rel=FLOAT32_FILTERS)


def test_db3_is_orthogonal_and_takes_nothing_from_a_parabola() -> None:
    taps = torch.tensor(DB3, dtype=torch.float64)
    for shift in (0, 2, 4):
        overlap = (taps[shift:] * taps[: len(taps) - shift]).sum().item()
        assert overlap == pytest.approx(float(shift == 0), abs=1e-12)
    side = torch.arange(24, dtype=torch.float64)
    parabola = (side.view(-1, 1) ** 2 - 3 * side).view(1, 1, 24, 24)
    inner = db3_transform(parabola, 1)[1][0][..., 3:-3, 3:-3]  # where no zeros reach
    assert inner.abs().max().item() < 1e-9


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
    with pytest.raises(ValueError, match="0 levels"):
        db3_transform(images, 0)
    with pytest.raises(ValueError, match="'db2'.*haar or db3"):
        wavelet_loss(images, images, wavelet="db2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'huber'.*l1 or mse"):
        wavelet_loss(images, images, distance="huber")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\) and student \(1, 3, 8, 4\)"):
        wavelet_loss(images, images[..., :4])
