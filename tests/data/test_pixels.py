"""Values of any depth become [-1, 1] and come back; nothing is lost that the range holds."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gancomp.data.pixels import PixelFormat, as_rgb, dtype_name, resized
from gancomp.errors import DataError


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
