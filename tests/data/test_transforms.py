"""Values of any depth become [-1, 1] and come back; nothing is lost that the range holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gancomp.data.transforms import (
    PixelFormat,
    as_rgb,
    choose_window,
    cut_window,
    dtype_name,
    resize,
    resized,
    square,
    to_float,
    to_pixels,
    to_tensor,
    to_uint8,
)
from gancomp.errors import DataError


def coordinates(width: int, height: int) -> Image.Image:
    """Red is the column, green the row."""
    row, column = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([column, row, 0 * row], axis=-1).astype(np.uint8))


@pytest.mark.parametrize(
    ("width", "height", "left", "top"), [(9, 5, 2, 0), (5, 10, 0, 2), (6, 5, 0, 0), (5, 5, 0, 0)]
)
def test_square_is_the_middle_of_the_image(width: int, height: int, left: int, top: int) -> None:
    found = np.asarray(square(coordinates(width, height), 5))
    assert found.shape == (5, 5, 3)
    assert (found[0, 0, 0], found[0, 0, 1]) == (left, top)
    assert (found[4, 4, 0], found[4, 4, 1]) == (left + 4, top + 4)


def test_square_averages_what_it_makes_smaller_and_leaves_its_own_size_alone() -> None:
    stripes = np.zeros((64, 80, 3), np.uint8)
    stripes[:, ::2] = 255
    found = np.asarray(square(Image.fromarray(stripes), 8)).astype(int)
    assert np.abs(found[:, 1:-1] - 127).max() <= 4  # picking single pixels would give 0 or 255
    image = coordinates(8, 8)
    assert square(image, 8) is image
    assert square(image, 20).size == (20, 20)


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
    assert resize(coordinates(30, 10), (8, 20)).size == (20, 8)
    image = coordinates(20, 8)
    assert resize(image, (8, 20)) is image


def test_floats_of_a_batch_are_those_of_each_image_and_keep_the_layout_of_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8, generator=generator)
    floats = to_float(pixels)
    assert floats.shape == (2, 3, 5, 7)
    assert floats.is_contiguous(memory_format=torch.channels_last)
    for image, expected in zip(floats, pixels, strict=True):
        assert torch.equal(image, to_tensor(Image.fromarray(expected.numpy())))


def test_every_level_becomes_the_float_it_always_was() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    expected = levels.float().div(255).sub(0.5).div(0.5)  # torchvision's ToTensor and Normalize
    assert torch.equal(to_float(levels.view(16, 16, 1).expand(16, 16, 3))[0].flatten(), expected)


@pytest.mark.parametrize(
    ("draws", "corner"),
    [((0.0, 0.0, 0.9), (0, 0)), ((0.999, 0.0, 0.9), (4, 0)), ((0.5, 0.999, 0.9), (2, 4))],
)
def test_crop_reaches_every_corner(
    draws: tuple[float, float, float], corner: tuple[int, int]
) -> None:
    window = choose_window(draws, load_size=12, size=8)
    crop = cut_window(to_pixels(coordinates(12, 12)), window, 8)
    assert tuple(crop[0, 0, :2].tolist()) == corner
    assert crop.shape == (8, 8, 3)


@pytest.mark.parametrize("mirror", [0.1, 0.9])
@pytest.mark.parametrize(
    ("place", "corner"), [((0.0, 0.0), (0, 0)), ((0.999, 0.0), (6, 0)), ((0.5, 0.999), (3, 2))]
)
def test_a_crop_need_not_be_square_and_reaches_every_corner(
    place: tuple[float, float], corner: tuple[int, int], mirror: float
) -> None:
    window = choose_window((*place, mirror), load_size=(10, 22), size=(8, 16))
    crop = cut_window(to_pixels(coordinates(22, 10)), window, (8, 16))
    assert crop.shape == (8, 16, 3)
    assert tuple(crop[0, -1 if mirror < 0.5 else 0, :2].tolist()) == corner


def test_flip_mirrors_left_and_right() -> None:
    pixels = to_pixels(coordinates(8, 8))
    flipped = cut_window(pixels, choose_window((0.0, 0.0, 0.49), load_size=8, size=8), 8)
    np.testing.assert_array_equal(flipped.numpy(), pixels.numpy()[:, ::-1])


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint16", 0, 65535), ("int32", -1024, 3071), ("float32", 0, 10)]
)
def test_values_come_back_from_the_unit_range(dtype: str, low: float, high: float) -> None:
    values = np.linspace(low, high, 4096).astype(dtype)[:, None, None]
    pixels = PixelFormat(1, low, high, dtype)
    unit = pixels.to_unit(values)
    assert (unit.min(), unit.max(), unit.dtype) == (-1, 1, np.float32)
    back = pixels.from_unit(unit)
    assert back.dtype == dtype
    if dtype == "float32":
        assert np.allclose(back, values, atol=1e-6 * high)  # float32 holds 24 bits of [-1, 1]
    else:
        assert np.array_equal(back, values)


def test_values_beyond_the_range_are_clipped_both_ways() -> None:
    pixels = PixelFormat(1, -100, 100, "int32")
    values = np.array([-2000, -100, 0, 100, 3000], np.int32)[:, None, None]
    assert pixels.to_unit(values).ravel().tolist() == [-1, -1, 0, 1, 1]
    assert pixels.from_unit(np.float32([[[-3], [3]]])).ravel().tolist() == [-100, 100]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="NaN or infinite"):
        PixelFormat(1, 0, 1, "float32").to_unit(np.full((2, 2, 1), bad, np.float32))
    with pytest.raises(ValueError, match="diverged"):
        PixelFormat(1, 0, 1, "float32").from_unit(np.full((2, 2, 1), np.nan, np.float32))


def test_256_levels_are_those_of_8_bit_files_and_cut_deeper_ones_down() -> None:
    every = np.arange(256, dtype=np.uint8)[:, None, None]
    found = PixelFormat(1, 0, 255, "uint8").to_8_bits(every)
    assert np.array_equal(found, np.repeat(every, 3, axis=2))
    deep = np.arange(65536, dtype=np.uint16)[:, None, None]
    levels = PixelFormat(1, 0, 65535, "uint16").to_8_bits(deep)[:, 0, 0]
    assert np.array_equal(levels, deep.ravel() // 257)


def test_images_of_any_channels_can_be_looked_at() -> None:
    pixels = np.arange(10, 15, dtype=np.uint8)[None, None]
    assert as_rgb(pixels[..., :1]).ravel().tolist() == [10, 10, 10]
    assert as_rgb(pixels[..., :2]).ravel().tolist() == [10, 10, 10]
    assert as_rgb(pixels[..., :3]).ravel().tolist() == [10, 11, 12]
    assert as_rgb(pixels).ravel().tolist() == [10, 11, 12]


def test_floats_are_resized_as_floats_and_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    unit = rng.uniform(-1, 1, (20, 14, 2)).astype(np.float32)
    found = resized(unit, 9)
    assert found.shape == (9, 9, 2)
    for channel in range(2):
        wanted = Image.fromarray(unit[..., channel]).resize((9, 9), Image.Resampling.BICUBIC)
        assert np.array_equal(found[..., channel], np.asarray(wanted).clip(-1, 1))
    steps = resized(np.float32([[[-1]], [[1]]]).repeat(2, axis=1), 9)
    assert (steps.min(), steps.max()) == (-1, 1)  # bicubic overshoots


def test_kinds_of_numbers() -> None:
    kinds = {"u1": "uint8", "u2": "uint16", "i2": "int32", "u4": "int32", "f2": "float32"}
    assert {name: dtype_name(np.dtype(name)) for name in kinds} == kinds
    assert dtype_name(np.dtype(">u2")) == "uint16"
    for name in ("O", "c8", "?", "U3", "M8[s]"):
        with pytest.raises(DataError, match="needed are integers or floating-point"):
            dtype_name(np.dtype(name))
