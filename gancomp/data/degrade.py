"""Bicubic down- and upscaling as MATLAB's `imresize` does it: what super-resolution starts from.

The kernel is Keys' with a = -0.5; downscaling widens it by the scale (antialiasing); pixels outside
the image are its mirror, edge pixels repeated. Sums are in float64 and rounded once, half up.

What others do differently (the tests hold this):
    `torch.nn.functional.interpolate(mode="bicubic", antialias=True)` in float64: equal inside.
        At the border (6 pixels for x4) it leaves out what lies outside the image and renormalizes
        the rest, which is up to some 15 levels away from the mirror.
    Pillow's `resize(BICUBIC)`: the same kernel and border as torch, but rounded and clipped after
        each of the two passes: within one level of ours inside for photographs, two for noise.
    MATLAB itself, given uint8, also rounds between the passes; given doubles, as here, it does not.

Source: Keys 1981, "Cubic convolution interpolation for digital image processing", eq. 15; the
documented behavior of MATLAB's imresize. The low-resolution images of DIV2K were made by it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gancomp.errors import ConfigError

Pixels = NDArray[np.uint8]
SCALES = (2, 4)
KEYS_A = -0.5


def check_scale(scale: int) -> None:
    """Refuses what neither the networks nor the protocols know.

    Raises:
        ConfigError: naming the known scales.
    """
    if scale not in SCALES:
        known = " or ".join(map(str, SCALES))
        raise ConfigError(f"`scale` {scale}: images are enlarged by {known}; choose one of them")


def modcrop(image: Pixels, scale: int) -> Pixels:
    """`image` without the last rows and columns that are no whole multiple of `scale`.

    Args:
        image: `(H, W, C)`.
        scale: of the super-resolution.
    """
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def downscale(image: Pixels, scale: int) -> Pixels:
    """`(H / scale, W / scale, C)`, as `imresize(image, 1 / scale, 'bicubic')`.

    Args:
        image: `(H, W, C)`, both sides multiples of `scale` and not empty.
        scale: 2 or 4.

    Raises:
        ConfigError: for another scale.
        ValueError: if a side is empty or no multiple of it.
    """
    check_scale(scale)
    height, width = image.shape[:2]
    if not height or not width or height % scale or width % scale:
        raise ValueError(f"{width}x{height} pixels cannot be divided by {scale}; crop them first")
    rows = _shrink(image.astype(np.float64), scale)
    return _rounded(_shrink(rows.swapaxes(0, 1), scale).swapaxes(0, 1))


def upscale_bicubic(image: Pixels, scale: int) -> Pixels:
    """`(scale * H, scale * W, C)`, as `imresize(image, scale, 'bicubic')`: the usual baseline.

    Raises:
        ConfigError: for another scale than 2 or 4.
    """
    check_scale(scale)
    rows = _enlarge(image.astype(np.float64), scale)
    return _rounded(_enlarge(rows.swapaxes(0, 1), scale).swapaxes(0, 1))


def support(scale: int) -> int:
    """How many high-resolution pixels beyond its own `scale` one low-resolution pixel sees."""
    return 3 * scale // 2


def _keys(distance: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Keys' cubic kernel at `distance`."""
    x, a = np.abs(distance), KEYS_A
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    result: NDArray[np.float64] = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    return result


def _mirrored(values: NDArray[np.float64], before: int, after: int) -> NDArray[np.float64]:
    """`values` continued at both ends of the first axis by their mirror, ends repeated."""
    return np.pad(values, [(before, after)] + [(0, 0)] * (values.ndim - 1), mode="symmetric")


def _shrink(values: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """The first axis divided by `scale`; every result has the same 4 x scale weights."""
    margin, num = support(scale), values.shape[0] // scale
    offsets = np.arange(-margin, margin + scale)
    weights = _keys((offsets - (scale - 1) / 2) / scale)
    weights /= weights.sum()
    padded = _mirrored(values, margin, margin)
    result = np.zeros((num, *values.shape[1:]))
    for tap, weight in enumerate(weights):
        result += weight * padded[tap : tap + scale * num : scale]
    return result


def _enlarge(values: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """The first axis times `scale`; each of the `scale` phases has four weights."""
    num = values.shape[0]
    padded = _mirrored(values, 2, 2)
    result = np.zeros((num * scale, *values.shape[1:]))
    for phase in range(scale):
        position = (phase + 0.5) / scale - 0.5
        first = int(np.floor(position)) - 1
        weights = _keys(np.arange(first, first + 4) - position)
        for tap, weight in enumerate(weights / weights.sum(), start=first + 2):
            result[phase::scale] += weight * padded[tap : tap + num]
    return result


def _rounded(values: NDArray[np.float64]) -> Pixels:
    """To the nearest level, halves up as MATLAB has it (NumPy's own rounding goes to even)."""
    return np.floor(values.clip(0, 255) + 0.5).astype(np.uint8)
