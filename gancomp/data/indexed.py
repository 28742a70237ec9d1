"""What the readers share: a sample is a function of (seed, epoch, position) and of nothing else.

No reader keeps a random state, so a sample comes out the same in any worker and after a resume.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from gancomp.data.images import load_image
from gancomp.data.splits import Half
from gancomp.data.transforms import augment, to_tensor
from gancomp.errors import ConfigError, DataError
from gancomp.seeding import derive_generator

Decoded = TypeVar("Decoded")


class Sample(dict[str, Tensor]):
    """The tensors of one sample by role, and what was found unreadable on the way to it.

    Attributes:
        unreadable: messages that name a file; the loader prints each once.
    """

    def __init__(self, tensors: dict[str, Tensor], unreadable: tuple[str, ...] = ()) -> None:
        super().__init__(tensors)
        self.unreadable = unreadable


class Augmentation:
    """Resize, random crop and flip of the readers, from numbers drawn per sample.

    Args:
        size: height and width of the result.
        load_size: height and width before the crop (CycleGAN: 286 for 256).
        flip: whether half of the samples are mirrored.

    Raises:
        ConfigError: if a size is below 1 or `load_size` below `size`.
    """

    def __init__(self, *, size: int, load_size: int, flip: bool) -> None:
        if size < 1:
            raise ConfigError(f"size {size}: a training crop needs at least 1 pixel")
        if load_size < size:
            raise ConfigError(
                f"load size {load_size} is below the training crop {size}; use at least {size}"
            )
        self.size = size
        self.load_size = load_size
        self.flip = flip

    def __call__(self, image: Image.Image, draws: tuple[float, float, float]) -> Tensor:
        """`(3, size, size)` in [-1, 1]; the same `draws` give the same crop and flip."""
        column, row, mirror = draws
        return to_tensor(
            augment(
                image,
                load_size=self.load_size,
                size=self.size,
                draws=(column, row, mirror if self.flip else 1.0),
            )
        )


def draw_numbers(count: int, *, seed: int, epoch: int, position: int) -> list[float]:
    """`count` numbers in [0, 1) that belong to one sample."""
    generator = derive_generator(seed, "augment", epoch, position)
    numbers: list[float] = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
    return numbers


def first_readable(
    num_files: int, start: int, decode: Callable[[int], Decoded], *, strict: bool
) -> tuple[Decoded, tuple[str, ...]]:
    """`decode(i)` for the first i = start, start + 1, ... (cyclic) that is readable.

    Returns: what was decoded, and a message for each file that was passed over.

    Raises:
        DataError: at the first unreadable file if `strict`; if none is readable.
    """
    unreadable: list[str] = []
    for offset in range(num_files):
        try:
            return decode((start + offset) % num_files), tuple(unreadable)
        except DataError as error:
            if strict:
                raise
            unreadable.append(f"{error}; the next readable file takes its place")
    raise DataError(f"none of {num_files} files is a readable image; the first: {unreadable[0]}")


def load_half(path: Path, half: Half | None) -> Image.Image:
    """The image, or its left or right half.

    Raises:
        DataError: if it is unreadable, or its width too odd to be halved.
    """
    image = load_image(path)
    return image if half is None else cut_half(image, half, path)


def cut_half(image: Image.Image, half: Half, path: Path) -> Image.Image:
    """The left or right half of two images side by side; `path` is for the error's text.

    Raises:
        DataError: if the width is odd.
    """
    width, height = image.size
    if width % 2:
        raise DataError(f"{path}: {width} pixels wide; two images side by side need an even width")
    middle = width // 2
    return image.crop((0, 0, middle, height) if half == "left" else (middle, 0, width, height))
