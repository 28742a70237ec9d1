"""Our bicubic against a literal imresize, torch and Pillow, and known values of the baseline."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from gancomp.data.degrade import downscale, modcrop, support, upscale_bicubic
from gancomp.errors import ConfigError

Pixels = NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def photograph(height: int, width: int) -> Pixels:
    """Smooth shapes with some edges, as photographs have them: no clipping between two passes."""
    y, x = np.mgrid[:height, :width]
    waves = [120 + 50 * np.sin(x / (5 + c)) + 40 * np.cos(y / (4 + c) + x / 31) for c in range(3)]
    image = np.stack(waves, axis=2) + 30 * ((x // 13 + y // 9) % 2)[..., None]
    return image.clip(0, 255).astype(np.uint8)


def imresize(image: Pixels, factor: float) -> NDArray[Any]:
    """MATLAB's function to the letter: one output pixel, one column of weights at a time."""

    def cubic(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    def along_first_axis(values: NDArray[Any]) -> NDArray[Any]:
        length = values.shape[0]
        width = 4 / factor if factor < 1 else 4.0
        squeeze = min(factor, 1.0)
        mirror = [*range(1, length + 1), *range(length, 0, -1)]
        rows = []
        for output in range(1, math.ceil(length * factor) + 1):  # from 1, as MATLAB counts
            u = output / factor + 0.5 * (1 - 1 / factor)
            left = math.floor(u - width / 2)
            indices = [left + k for k in range(math.ceil(width) + 2)]
            weights = [squeeze * cubic(squeeze * (u - i)) for i in indices]
            picked = [values[mirror[(i - 1) % (2 * length)] - 1] for i in indices]
            total = sum(weights)
            rows.append(sum(w / total * p for w, p in zip(weights, picked, strict=True)))
        return np.stack(rows)

    values = along_first_axis(image.astype(float))
    return along_first_axis(values.swapaxes(0, 1)).swapaxes(0, 1)


def levels_apart(one: NDArray[Any], two: NDArray[Any]) -> int:
    return int(np.abs(one.astype(int) - two.astype(int)).max())


def rounded(values: NDArray[Any]) -> Pixels:
    return np.floor(values.clip(0, 255) + 0.5).astype(np.uint8)


def torch_bicubic(image: Pixels, factor: float) -> Pixels:
    batch = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].double()
    result = F.interpolate(batch, scale_factor=factor, mode="bicubic", antialias=True)
    return rounded(result[0].permute(1, 2, 0).numpy())


def pillow_bicubic(image: Pixels, factor: float) -> Pixels:
    height, width = (round(length * factor) for length in image.shape[:2])
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("size", [(32, 24), (4, 4), (8, 100)])
def test_downscaling_equals_imresize_step_by_step_up_to_the_border(
    scale: int, size: tuple[int, int]
) -> None:
    image = noise(*size)
    exact = imresize(image, 1 / scale)
    assert downscale(image, scale).shape == (size[0] // scale, size[1] // scale, 3)
    # a half that float errors put on either side may round either way
    assert np.abs(downscale(image, scale) - exact.clip(0, 255)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("size", [(12, 7), (1, 1), (2, 30)])
def test_upscaling_equals_imresize_step_by_step_up_to_the_border(
    scale: int, size: tuple[int, int]
) -> None:
    image = noise(*size)
    exact = imresize(image, float(scale)).clip(0, 255)
    assert np.abs(upscale_bicubic(image, scale) - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("scale", [2, 4])
def test_inside_torch_is_equal_and_pillow_within_a_level(scale: int) -> None:
    image = photograph(96, 128)
    low = downscale(image, scale)
    inside = slice(2, -2), slice(2, -2)
    assert levels_apart(low[inside], torch_bicubic(image, 1 / scale)[inside]) == 0
    assert levels_apart(low[inside], pillow_bicubic(image, 1 / scale)[inside]) <= 1
    big = upscale_bicubic(low, scale)
    inside = slice(2 * scale, -2 * scale), slice(2 * scale, -2 * scale)
    assert levels_apart(big[inside], torch_bicubic(low, scale)[inside]) == 0
    assert levels_apart(big[inside], pillow_bicubic(low, scale)[inside]) <= 1


@pytest.mark.parametrize("scale", [2, 4])
def test_only_the_border_is_treated_differently_by_the_others(scale: int) -> None:
    image = photograph(96, 128)
    margin = 2 * scale
    mirrored = np.pad(image, [(margin, margin), (margin, margin), (0, 0)], mode="symmetric")
    cut = slice(2, -2), slice(2, -2)
    low = downscale(image, scale)
    assert levels_apart(low, torch_bicubic(mirrored, 1 / scale)[cut]) == 0
    assert levels_apart(low, pillow_bicubic(mirrored, 1 / scale)[cut]) <= 1
    assert levels_apart(low, torch_bicubic(image, 1 / scale)) > 0


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
@pytest.mark.parametrize("scale", [2, 4])
def test_one_color_stays_that_color(value: int, scale: int) -> None:
    flat = np.full((8, 16, 3), value, np.uint8)
    assert (downscale(flat, scale) == value).all()
    assert (upscale_bicubic(flat, scale) == value).all()


@pytest.mark.parametrize("scale", [2, 4])
def test_a_low_resolution_pixel_sees_its_support_and_nothing_beyond(scale: int) -> None:
    middle, flat = 8, np.full((16 * scale, scale, 3), 128, np.uint8)
    reach = support(scale)
    # the outermost weight at scale 4 is too small to move 128 by half a level
    for distance, changes in ((reach - 1, True), (reach + 1, False)):
        for row in (middle * scale - distance, middle * scale + scale - 1 + distance):
            spot = flat.copy()
            spot[row] = 0
            moved = bool((downscale(spot, scale)[middle] != 128).any())
            assert moved == changes, (distance, row)


@pytest.mark.parametrize("level", [0, 2, 101])
@pytest.mark.parametrize("scale", [2, 4])
def test_a_half_is_rounded_up_as_matlab_does(level: int, scale: int) -> None:
    stripes = np.full((8, 64, 3), level, np.uint8)
    stripes[:, ::2] += 1  # half of the weights, which are sums of powers of two: exactly a half
    assert (downscale(stripes, scale)[:, 4:-4] == level + 1).all()


def test_modcrop_cuts_at_the_bottom_and_the_right_only() -> None:
    image = noise(11, 14)
    assert np.array_equal(modcrop(image, 4), image[:8, :12])
    assert modcrop(image[:8, :12], 4).shape == (8, 12, 3)
    assert modcrop(image[:3], 4).size == 0


def test_other_scales_and_sides_that_do_not_divide_are_refused() -> None:
    for scale in (0, 1, 3, 8, -4):
        for resample in (downscale, upscale_bicubic):
            with pytest.raises(ConfigError, match=f"`scale` {scale}: .* 2 or 4"):
                resample(noise(8, 8), scale)
    with pytest.raises(ValueError, match="9x8 pixels cannot be divided by 4"):
        downscale(noise(8, 9), 4)
    with pytest.raises(ValueError, match="cannot be divided"):
        downscale(noise(8, 8)[:0], 4)
