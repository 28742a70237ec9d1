from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gancomp.data.transforms import augment, resize, to_tensor, to_uint8


def coordinates(width: int, height: int) -> Image.Image:
    """Red is the column, green the row."""
    row, column = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([column, row, 0 * row], axis=-1).astype(np.uint8))


def test_tensor_of_black_and_white_spans_minus_one_to_one() -> None:
    image = Image.fromarray(np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8))
    tensor = to_tensor(image)
    assert tensor.dtype == torch.float32
    assert tensor.shape == (3, 1, 2)
    assert tensor[:, 0, 0].tolist() == [-1.0] * 3
    assert tensor[:, 0, 1].tolist() == [1.0] * 3


def test_uint8_is_clipped_and_truncated_as_the_papers_do() -> None:
    values = torch.tensor([-3.0, -1.0, 0.0, 0.999, 1.0, 1.5]).view(1, 1, 1, 6)
    assert to_uint8(values).ravel().tolist() == [0, 0, 127, 254, 255, 255]


def test_uint8_equals_the_released_numpy_formula_on_random_images() -> None:
    images = torch.rand(2, 3, 8, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    released = (np.transpose(images.numpy(), (0, 2, 3, 1)) + 1) / 2.0 * 255.0
    result = to_uint8(images)
    assert result.shape == (2, 8, 5, 3)
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, np.clip(released, 0, 255).astype(np.uint8))


def test_real_image_comes_back_at_most_one_level_darker() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    back = to_uint8(to_tensor(Image.fromarray(np.stack([levels] * 3, -1)))[None])[0, :, :, 0]
    assert set((levels.astype(int) - back).ravel().tolist()) <= {0, 1}


@pytest.mark.parametrize(("images", "reason"), [((3, 4, 4), "expected"), ((1, 3, 2, 2), "NaN")])
def test_uint8_refuses_wrong_rank_and_nan(images: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_uint8(torch.full(images, float("nan")))


def test_resize_squeezes_whatever_the_aspect() -> None:
    assert resize(coordinates(30, 10), 16).size == (16, 16)


@pytest.mark.parametrize(
    ("draws", "corner"),
    [((0.0, 0.0, 0.9), (0, 0)), ((0.999, 0.0, 0.9), (4, 0)), ((0.5, 0.999, 0.9), (2, 4))],
)
def test_crop_reaches_every_corner(
    draws: tuple[float, float, float], corner: tuple[int, int]
) -> None:
    crop = np.asarray(augment(coordinates(12, 12), load_size=12, size=8, draws=draws))
    assert tuple(crop[0, 0, :2].tolist()) == corner
    assert crop.shape == (8, 8, 3)


def test_flip_mirrors_left_and_right() -> None:
    image = coordinates(8, 8)
    flipped = np.asarray(augment(image, load_size=8, size=8, draws=(0.0, 0.0, 0.49)))
    np.testing.assert_array_equal(flipped, np.asarray(image)[:, ::-1])
