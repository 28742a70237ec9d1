from __future__ import annotations

import pytest
import torch

from gancomp.losses.pixel import pixel_loss


def test_equal_images_are_at_distance_zero() -> None:
    images = torch.rand(2, 3, 4, 4)
    assert pixel_loss(images, images) == 0


def test_black_and_white_are_255_levels_apart() -> None:
    black, white = torch.full((1, 3, 2, 2), -1.0), torch.full((1, 3, 2, 2), 1.0)
    assert pixel_loss(black, white).item() == pytest.approx(255**2)


def test_the_weights_for_other_ranges_are_those_the_docstring_says() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    in_unit_range = 65.025 * ((a - b) ** 2).mean()
    ours = 1e-3 * pixel_loss(2 * a - 1, 2 * b - 1)
    assert ours.item() == pytest.approx(in_unit_range.item(), rel=1e-12)
    in_our_range = 16.25625 * ((2 * a - 2 * b) ** 2).mean()
    assert ours.item() == pytest.approx(in_our_range.item(), rel=1e-12)


def test_bfloat16_is_averaged_in_float32() -> None:
    images = torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16)
    assert pixel_loss(images, images).dtype == torch.float32
