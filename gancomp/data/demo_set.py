"""The demo's dataset, drawn from a seed: plain shapes against striped ones, and how to score it.

Every scene is a smooth two-colored texture with one big shape on it (an ellipse, a rounded box or
an animal's silhouette). Domain A paints the shape in one warm, softly shaded color; domain B
paints dark and light stripes of one period and direction, with a phase drawn per image. All of it
is arithmetic that IEEE 754 rounds the same way everywhere (no sine, no power, no sum of floats), so
that a seed means the same pixels on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.files import reporting_disk_errors
from gancomp.seeding import derive_seed

Floats = NDArray[np.float64]
Folder = Literal["trainA", "trainB", "testA", "testB", "train", "val"]

PERIODS_PER_SIDE = 8  # 8 px at 64 px: two cells of a generator that halves the image twice
# what every real striped image of 64 px and more reaches (200 measured: 0.973 and 0.801 at least)
REAL_SHARE = 0.97  # the rest is the shading and the harmonics of a stripe with flat tops
REAL_AMPLITUDE = 0.80  # of 1, in images that reach from -1 to 1
OVERSAMPLING = 3  # per side, for the shapes' soft rims


@dataclass(frozen=True)
class Scene:
    """One picture's parts; `plain` and `striped` differ inside the shape alone.

    Attributes:
        plain: uint8 `(H, W, 3)`.
        striped: uint8 `(H, W, 3)`.
        mask: bool `(H, W)`, true where a pixel lies wholly inside the shape.
    """

    plain: NDArray[np.uint8]
    striped: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def write_demo_set(
    root: Path,
    *,
    seed: int = 0,
    size: int = 64,
    train: int = 100,
    test: int = 32,
    paired: bool = False,
) -> None:
    """Writes the dataset as PNG files below `root`; files of the same name are replaced.

    Unpaired: `trainA/plain_0000.png`, `trainB/striped_0000.png` and so on, `testA/`, `testB/`
    likewise; no scene occurs in two folders. Paired: `train/` and `val/` of images twice as wide
    as high, plain on the left and the same scene striped on the right.

    Args:
        root: made if missing.
        seed: all pictures follow from it.
        size: height and width in pixels, a multiple of 8, at least 32.
        train: images per training folder.
        test: images per test folder.
        paired: which of the two layouts.

    Raises:
        ConfigError: if `size`, `train` or `test` is out of range.
        RunError: if the folder cannot be written or the disk is full.
    """
    _check_size(size)
    if train < 1 or test < 1:
        raise ConfigError(f"demo set of {train} training and {test} test images: use at least 1")
    folders: list[tuple[Folder, int]] = (
        [("train", train), ("val", test)]
        if paired
        else [("trainA", train), ("trainB", train), ("testA", test), ("testB", test)]
    )
    with reporting_disk_errors(root):
        for folder, count in folders:
            (root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                scene = draw_scene(folder, index, seed=seed, size=size)
                name, pixels = _name_and_pixels(folder, index, scene)
                Image.fromarray(pixels).save(root / folder / name)


def shape_masks(folder: Folder, count: int, *, seed: int = 0, size: int = 64) -> Tensor:
    """Where the shapes are in the first `count` images of a folder, drawn again from the seed.

    Image i of the folder, in the order of the names, belongs to mask i.

    Returns: `(count, 1, size, size)`, bool; the soft rim of a shape belongs to neither side.
    """
    scenes = [draw_scene(folder, index, seed=seed, size=size) for index in range(count)]
    return torch.from_numpy(np.stack([scene.mask for scene in scenes])).unsqueeze(1)


def draw_scene(folder: Folder, index: int, *, seed: int = 0, size: int = 64) -> Scene:
    """Scene `index` of a folder, in both paintings.

    Raises:
        ConfigError: if `size` is no multiple of 8 or below 32.
    """
    _check_size(size)
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "demo set", folder, index)))
    background = _texture(rng, size)
    cover = _shape(rng, size)[..., None]
    shade = 0.9 + 0.2 * _smooth_noise(rng, size, cells=2)[..., None]
    coat = np.array([0.80, 0.45, 0.20]) + 0.10 * (rng.random(3) - 0.5)
    stripe = _stripes(size, phase=rng.random())[..., None]
    dark = np.array([0.08, 0.07, 0.08]) + 0.06 * rng.random(3)
    light = np.array([0.90, 0.88, 0.84]) + 0.06 * rng.random(3)
    striped = dark + (light - dark) * stripe
    return Scene(
        plain=_to_uint8(background + (coat * shade - background) * cover),
        striped=_to_uint8(background + (striped * shade - background) * cover),
        mask=cover[..., 0] == 1.0,
    )


def stripe_score(images: Tensor, masks: Tensor) -> float:
    """How well the shapes are striped, from 0 (not at all) to 1 (like the real striped images).

    The luminance inside each shape is looked at through windows of two stripe periods (so that a
    pattern whose phase drifts across the shape is not punished). A window yields the amplitude of
    the wave of the right period and direction, and the variance. An image's score is a product:

        min(1, share / REAL_SHARE) * min(1, amplitude / REAL_AMPLITUDE)

    with share = the wave's part of the variance. The first factor is low for noise, for stripes
    of another direction or period and for shading; the second is low for stripes too faint to
    see, such as those that happen to lie in the noise of a plain shape.

    Args:
        images: `(N, 3, H, W)` in [-1, 1].
        masks: `(N, 1, H, W)` bool, from `shape_masks`.

    Returns: the mean over images.

    Raises:
        ValueError: if the two do not fit each other, or a mask is empty.
    """
    _check_masks(images, masks)
    power, variance = _striped_power(images, masks)
    share = power / variance.clamp_min(1e-9)
    amplitude = (2 * power).sqrt()
    score = (share / REAL_SHARE).clamp(max=1) * (amplitude / REAL_AMPLITUDE).clamp(max=1)
    return float(score.mean())


def background_change(images: Tensor, sources: Tensor, masks: Tensor) -> float:
    """Mean absolute change of the pixels around the shapes, as a share of the full range.

    Args:
        images: translations, `(N, 3, H, W)` in [-1, 1].
        sources: what they were made from, likewise.
        masks: `(N, 1, H, W)` bool; two pixels of rim around each shape are left out.

    Returns: 0 (untouched) to 1.

    Raises:
        ValueError: if the shapes do not fit each other, or a mask is empty.
    """
    _check_masks(images, masks)
    if sources.shape != images.shape:
        raise ValueError(f"images {tuple(images.shape)}, sources {tuple(sources.shape)}")
    grown = F.max_pool2d(masks.to(torch.float64), kernel_size=5, stride=1, padding=2)
    outside = 1 - grown
    change = (images - sources).abs().to(torch.float64).mean(dim=1, keepdim=True) / 2
    return float((change * outside).sum() / outside.sum())


def _striped_power(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """The stripes' part of the luminance's variance, and all of it, per image: two of `(N,)`.

    Both are means over windows, weighted by the shape's area in each.
    """
    size = images.shape[-1]
    window = 2 * size // PERIODS_PER_SIDE
    inside = masks.to(torch.float64)
    luminance = images.to(torch.float64).mean(dim=1, keepdim=True)
    column = torch.arange(size, dtype=torch.float64, device=images.device)
    angle = (2 * math.pi * PERIODS_PER_SIDE / size) * column

    def windowed(values: Tensor) -> Tensor:
        return F.avg_pool2d(values * inside, window, stride=window // 4)

    area = windowed(torch.ones_like(inside))
    weight = torch.where(area > 0.5, area, 0.0)  # half a window holds one period: less says nothing
    area = area.clamp_min(0.5)
    mean = windowed(luminance) / area
    variance = windowed(luminance.square()) / area - mean.square()
    power = torch.zeros_like(variance)
    for wave in (angle.cos(), angle.sin()):
        projection = (windowed(luminance * wave) - mean * windowed(wave.expand_as(inside))) / area
        power = power + 2 * projection.square()
    weight = weight / weight.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-9)
    return (power * weight).sum(dim=(1, 2, 3)), (variance * weight).sum(dim=(1, 2, 3))


def _check_masks(images: Tensor, masks: Tensor) -> None:
    if images.ndim != 4 or masks.shape != (len(images), 1, *images.shape[2:]):
        raise ValueError(f"images {tuple(images.shape)} do not fit masks {tuple(masks.shape)}")
    if not masks.flatten(1).any(dim=1).all():
        raise ValueError("an empty mask: there is no shape to look at")


def _check_size(size: int) -> None:
    if size < 32 or size % PERIODS_PER_SIDE:
        raise ConfigError(
            f"demo set of size {size}: use a multiple of {PERIODS_PER_SIDE}, at least 32"
        )


def _name_and_pixels(folder: Folder, index: int, scene: Scene) -> tuple[str, NDArray[np.uint8]]:
    if folder in ("train", "val"):
        return f"pair_{index:04d}.png", np.concatenate([scene.plain, scene.striped], axis=1)
    if folder in ("trainA", "testA"):
        return f"plain_{index:04d}.png", scene.plain
    return f"striped_{index:04d}.png", scene.striped


def _to_uint8(image_01: Floats) -> NDArray[np.uint8]:
    return np.floor(np.clip(image_01, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _texture(rng: np.random.Generator, size: int) -> Floats:
    """A green-to-blue ground: two colors mixed by two octaves of smooth noise, `(H, W, 3)`."""
    mix = 0.7 * _smooth_noise(rng, size, cells=4) + 0.3 * _smooth_noise(rng, size, cells=12)
    low = np.array([0.10, 0.30, 0.20]) + np.array([0.10, 0.12, 0.18]) * rng.random(3)
    high = np.array([0.35, 0.58, 0.42]) + np.array([0.18, 0.15, 0.30]) * rng.random(3)
    return low + (high - low) * mix[..., None]


def _smooth_noise(rng: np.random.Generator, size: int, *, cells: int) -> Floats:
    """Random values on a lattice of `cells` squared cells, smoothly interpolated: [0, 1)."""
    lattice = rng.random((cells + 1, cells + 1))
    position = (np.arange(size) + 0.5) * cells / size
    cell = position.astype(np.int64)
    ramp = position - cell
    ramp = ramp * ramp * (3.0 - 2.0 * ramp)
    rows = lattice[cell] + (lattice[cell + 1] - lattice[cell]) * ramp[:, None]
    return rows[:, cell] + (rows[:, cell + 1] - rows[:, cell]) * ramp[None, :]


def _stripes(size: int, *, phase: float) -> Floats:
    """Upright stripes with soft edges, 0 (dark) to 1 (light), `(H, W)`."""
    turn = (np.arange(size) + 0.5) * PERIODS_PER_SIDE / size + phase
    triangle = 4.0 * np.abs(turn - np.floor(turn) - 0.5) - 1.0
    wave = np.clip(0.5 + 0.9 * triangle, 0.0, 1.0)
    return np.broadcast_to(wave, (size, size))


def _shape(rng: np.random.Generator, size: int) -> Floats:
    """How much of each pixel a big shape of random kind, place and tilt covers: [0, 1]."""
    kind = int(rng.random() * 3)
    fine = (np.arange(size * OVERSAMPLING) + 0.5) * 2.0 / (size * OVERSAMPLING) - 1.0
    center_x, center_y = 0.3 * (rng.random(2) - 0.5)
    scale = 0.85 + 0.3 * rng.random()
    half_tilt = 0.3 * (rng.random() - 0.5)
    norm = 1.0 + half_tilt * half_tilt
    cosine, sine = (1.0 - half_tilt * half_tilt) / norm, 2.0 * half_tilt / norm
    across, down = fine[None, :] - center_x, fine[:, None] - center_y
    x, y = (across * cosine + down * sine) / scale, (down * cosine - across * sine) / scale
    facing = 1.0 if rng.random() < 0.5 else -1.0
    inside = (_ellipse, _rounded_box, _animal)[kind](x * facing, y)
    blocks = inside.reshape(size, OVERSAMPLING, size, OVERSAMPLING).astype(np.int64)
    cover: Floats = blocks.sum(axis=(1, 3)) / float(OVERSAMPLING * OVERSAMPLING)
    return cover


def _ellipse(x: Floats, y: Floats) -> NDArray[np.bool_]:
    u, v = x / 0.66, y / 0.54
    return u * u + v * v < 1.0


def _rounded_box(x: Floats, y: Floats) -> NDArray[np.bool_]:
    u, v = x / 0.62, y / 0.52
    return u * u * u * u + v * v * v * v < 1.0


def _animal(x: Floats, y: Floats) -> NDArray[np.bool_]:
    """A four-legged silhouette: trunk, two broad legs, neck and head."""

    def oval(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.bool_]:
        u, v = (x - cx) / rx, (y - cy) / ry
        return u * u + v * v < 1.0

    def box(left: float, top: float, right: float, bottom: float) -> NDArray[np.bool_]:
        return (x > left) & (x < right) & (y > top) & (y < bottom)

    trunk = oval(-0.05, 0.0, 0.66, 0.36)
    legs = box(-0.60, 0.0, -0.34, 0.68) | box(0.22, 0.0, 0.48, 0.68)
    return trunk | legs | box(0.30, -0.50, 0.56, 0.10) | oval(0.52, -0.52, 0.30, 0.20)
