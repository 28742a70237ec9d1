"""Photographs with their own small versions, made while reading: super-resolution's pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gancomp.data.degrade import Pixels, check_scale, downscale, modcrop
from gancomp.data.images import Say, load_image, warn_on_stderr
from gancomp.data.indexed import Sample, draw_numbers, first_readable
from gancomp.data.splits import Split
from gancomp.data.transforms import to_float
from gancomp.errors import ConfigError, DataError

MARGIN = 2  # low-resolution pixels around a crop that its own pixels' weights reach into


class SuperResolutionImages(Dataset[Sample]):
    """Samples `{"source": (3, size / scale, size / scale), "target": (3, size, size)}` in [-1, 1].

    `dataset[epoch, position]` takes file `position mod number of files`. The target is a random
    crop of it, rotated by a random multiple of 90 degrees and mirrored in half of the cases; the
    source is the same piece of the whole image's downscaled version, as in the released data sets,
    whose small images were made before any crop. Every random choice follows from
    (seed, epoch, position).

    An image smaller than the crop counts as unreadable: the next one takes its place.

    Args:
        split: files by role; the targets are read.
        size: high-resolution training crop, a multiple of `scale`.
        scale: 2 or 4.
        seed: of all random choices.
        flip: whether to mirror half of the samples.
        rotate: whether to turn them by k x 90 degrees, k uniform in 0..3.
        strict: raise at an unreadable or too small file instead of taking the next one.
        load_size: None or `size`: images are never resized before the crop.

    Raises:
        ConfigError: for an impossible `scale`, `size` or `load_size`.
        DataError: if there are no files, or (when read) none is readable and large enough.

    Source: Lee and Park 2021 (SRGAN distillation) and the code they build on, krasserm's
    super-resolution: crop 96, rotation, flip.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: int = 96,
        scale: int = 4,
        seed: int,
        flip: bool = True,
        rotate: bool = True,
        strict: bool = False,
        load_size: int | None = None,
    ) -> None:
        check_crop(size, scale)
        if load_size not in (None, size):
            raise ConfigError(
                f"`load_size` {load_size}: has no effect on super-resolution, where images are "
                "cropped as they are; remove it"
            )
        if not split.target:
            raise DataError("super-resolution: no images; at least one is needed")
        if split.side_by_side is not None:
            raise DataError("super-resolution: these files hold two images side by side")
        self.split = split
        self.size = size
        self.scale = scale
        self.seed = seed
        self.flip = flip
        self.rotate = rotate
        self.strict = strict

    def __len__(self) -> int:
        return len(self.split.target)

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        epoch, position = index
        row, column, turn, mirror = draw_numbers(4, seed=self.seed, epoch=epoch, position=position)
        files = self.split.target
        (source, target), unreadable = first_readable(
            len(files),
            position % len(files),
            lambda i: self._pair(files[i], row, column),
            strict=self.strict,
        )
        turns = int(turn * 4) if self.rotate else 0
        mirrored = self.flip and mirror < 0.5
        tensors = {"source": source, "target": target}
        return Sample(
            {role: as_tensor(_turned(item, turns, mirrored)) for role, item in tensors.items()},
            unreadable,
        )

    def _pair(self, path: Path, row: float, column: float) -> tuple[Pixels, Pixels]:
        image = _large_enough(path, self.size, self.scale)
        top, left = (
            int(number * ((length - self.size) // self.scale + 1))
            for number, length in zip((row, column), image.shape, strict=False)
        )
        return aligned_pair(image, top, left, size=self.size, scale=self.scale)


def check_crop(size: int, scale: int) -> None:
    """Refuses a training crop that has no low-resolution counterpart.

    Raises:
        ConfigError: naming `--size` or `--scale` and what fits.
    """
    check_scale(scale)
    if size < scale:
        raise ConfigError(f"`size` {size}: a training crop needs at least {scale} pixels")
    if size % scale:
        below = size - size % scale
        raise ConfigError(
            f"`size` {size}: must be a multiple of the scale {scale}; use {below} or "
            f"{below + scale}"
        )


def aligned_pair(
    image: Pixels, top: int, left: int, *, size: int, scale: int
) -> tuple[Pixels, Pixels]:
    """The crop at low-resolution row `top` and column `left`: low, then high resolution.

    Equal, bit for bit, to cutting both out of the whole image and its downscaled version, but only
    the crop and its surroundings are downscaled.

    Args:
        image: `(H, W, 3)`, sides multiples of `scale`.
        top: row in low-resolution pixels.
        left: column in low-resolution pixels.
        size: of the high-resolution crop.
        scale: 2 or 4.
    """
    low = size // scale
    first_row, first_column = max(top - MARGIN, 0), max(left - MARGIN, 0)
    # what is cut off at the image's own border is mirrored, as it is for the whole image
    around = image[
        first_row * scale : (top + low + MARGIN) * scale,
        first_column * scale : (left + low + MARGIN) * scale,
    ]
    y, x = top - first_row, left - first_column
    source = downscale(around, scale)[y : y + low, x : x + low]
    target = image[top * scale : top * scale + size, left * scale : left * scale + size]
    return source, target


def evaluation_crops(
    split: Split, *, size: int, scale: int, count: int, say: Say = warn_on_stderr
) -> dict[str, Tensor]:
    """The centers of the first `count` usable images, as a batch of the reader's shapes.

    Fewer where there are fewer such images.

    Args:
        split: files by role; the targets are read.
        size: high-resolution crop, a multiple of `scale`.
        scale: 2 or 4.
        count: how many.
        say: is told about each file that is unreadable or too small.

    Raises:
        ConfigError: for an impossible `size` or `scale`.
        DataError: if not one image is usable.
    """
    check_crop(size, scale)
    sources: list[Tensor] = []
    targets: list[Tensor] = []
    unusable: list[str] = []
    for path in split.target:
        if len(sources) == count:
            break
        try:
            image = _large_enough(path, size, scale)
        except DataError as error:
            say(f"{error}; skipped")
            unusable.append(str(error))
            continue
        top, left = ((length - size) // scale // 2 for length in image.shape[:2])
        source, target = aligned_pair(image, top, left, size=size, scale=scale)
        sources.append(as_tensor(source))
        targets.append(as_tensor(target))
    if not sources:
        raise DataError(f"none of {len(unusable)} images can be used; the first: {unusable[0]}")
    return {"source": torch.stack(sources), "target": torch.stack(targets)}


def load_high_resolution(path: Path, scale: int) -> Pixels:
    """`(H, W, 3)`, the image cut to multiples of `scale`.

    Raises:
        DataError: if it is unreadable or smaller than one low-resolution pixel.
    """
    whole = load_image(path)
    image = modcrop(np.asarray(whole), scale)
    if not image.size:
        raise DataError(
            f"{path}: {whole.width}x{whole.height} pixels, at scale {scale} at least "
            f"{scale}x{scale} are needed; use a larger image"
        )
    return image


def as_tensor(image: Pixels) -> Tensor:
    """`(3, H, W)` float32 in [-1, 1] of an `(H, W, 3)` image."""
    return to_float(torch.from_numpy(image.copy())).contiguous()


def _large_enough(path: Path, size: int, scale: int) -> Pixels:
    image = load_high_resolution(path, scale)
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise DataError(
            f"{path}: {width}x{height} pixels (in multiples of {scale}) are less than the "
            f"training crop of {size}; use larger images, or a smaller `size`"
        )
    return image


def _turned(image: Pixels, turns: int, mirrored: bool) -> Pixels:
    image = np.rot90(image, turns)
    return image[:, ::-1] if mirrored else image
