"""What the readers share: a sample is a function of (seed, epoch, position) and of nothing else.

No reader keeps a random state, so a sample comes out the same in any worker and after a resume.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gancomp.data.cache import PLAIN, DecodedImages, Kind, TwoKinds
from gancomp.data.splits import Split
from gancomp.data.transforms import (
    PixelFormat,
    Values,
    Window,
    choose_window,
    cut_window,
    resize,
    resized,
    to_pixels,
)
from gancomp.errors import ConfigError, DataError
from gancomp.seeding import derive_generator
from gancomp.sizes import Size, shown_size, sides

Decoded = TypeVar("Decoded")
Picture = Image.Image | Values  # 8-bit RGB, or `(H, W, C)` in [-1, 1]


class Sample(dict[str, Tensor]):
    """The tensors of one sample by role, and what was found unreadable on the way to it.

    Attributes:
        unreadable: messages that name a file; the loader prints each once.
    """

    def __init__(self, tensors: dict[str, Tensor], unreadable: tuple[str, ...] = ()) -> None:
        super().__init__(tensors)
        self.unreadable = unreadable


class Crop(NamedTuple):
    """One image's part in a sample.

    Attributes:
        slot: which of the reader's images.
        window: the part of it.
        pixels: the whole image `(H, W, C)`, or None where it lies in the reader's cache.
    """

    slot: int
    window: Window
    pixels: Tensor | None


class ChosenCrops(NamedTuple):
    """A sample before its crops are copied out of the images: small enough for any pipe."""

    crops: dict[str, Crop]
    unreadable: tuple[str, ...]
    label: int | None = None


class Reader(Dataset[Sample], abc.ABC):
    """Crops of the images of a split: all that the readers of the layouts share.

    A sample is made in two steps. `choose` says which window of which image, and sees to it that
    the image is decoded, which takes long and is done by the loader's workers; `cut` copies the
    windows out, which takes microseconds, and where a cache is shared with the workers it is done
    in the main process, so that no pixels have to be sent.

    Args:
        split: files by role; source i has slot i, the targets' slots follow.
        size: height and width of the crops.
        load_size: height and width before the crop (CycleGAN: 286 for 256).
        seed: of all random choices.
        flip: whether half of the samples are mirrored.
        strict: raise at an unreadable file instead of taking the next one.
        cached: keep decoded images (after the resize, before the crop) in memory.
        source_pixels: how the sources' files are read, if not as 8-bit RGB.
        target_pixels: the same of the targets'.

    Raises:
        ConfigError: if a size is below 1, `load_size` below `size`, or there is no such memory.
        DataError: if the split is not one that samples can be made of.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: Size,
        load_size: Size,
        seed: int,
        flip: bool = True,
        strict: bool = False,
        cached: bool = False,
        source_pixels: PixelFormat | None = None,
        target_pixels: PixelFormat | None = None,
    ) -> None:
        self.check(split)
        (height, width), loaded = sides(size), sides(load_size)
        if height < 1 or width < 1:
            raise ConfigError(f"size {shown_size(size)}: a training crop needs at least 1 pixel")
        if loaded[0] < height or loaded[1] < width:
            raise ConfigError(
                f"load size {shown_size(load_size)} is below the training crop "
                f"{shown_size(size)}; use at least that"
            )
        self.split = split
        self.size = size
        self.load_size = load_size
        self.seed = seed
        self.flip = flip
        self.strict = strict
        self.source_pixels, self.target_pixels = source_pixels, target_pixels
        self.cache = self._make_cache() if cached else None

    def _make_cache(self) -> DecodedImages | TwoKinds:
        kinds = kind_of(self.source_pixels), kind_of(self.target_pixels)
        if kinds == (PLAIN, PLAIN):
            return DecodedImages(self.num_slots(self.split), self.load_size)
        counts = len(self.split.source), len(self.split.target)
        rooms = map(DecodedImages, counts, (self.load_size,) * 2, kinds)
        return TwoKinds(*rooms)

    def __getstate__(self) -> dict[str, Any]:
        """Without the cache: a process that was not forked cannot share it, and reads anew."""
        return self.__dict__ | {"cache": None}

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        """The crops of (epoch, position) by role, as `cut` returns them; the label, if any."""
        chosen = self.choose(index)
        tensors = {role: self.cut(crop) for role, crop in chosen.crops.items()}
        if chosen.label is not None:
            tensors["label"] = torch.tensor(chosen.label)
        return Sample(tensors, chosen.unreadable)

    @staticmethod
    def num_slots(split: Split) -> int:
        """How many images the cache has to have room for."""
        return len(split.source) + len(split.target)

    @abc.abstractmethod
    def check(self, split: Split) -> None:
        """Raises DataError if the split is not one that samples can be made of."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Positions in an epoch."""

    @abc.abstractmethod
    def choose(self, index: tuple[int, int]) -> ChosenCrops:
        """What belongs to (epoch, position); its images are decoded.

        Raises:
            DataError: at an unreadable file if `strict`; if none is readable.
        """

    def cut(self, crop: Crop) -> Tensor:
        """The crop's pixels: uint8 `(H, W, 3)`, or float32 `(C, H, W)` in [-1, 1].

        Floats are what files with a `PixelFormat` hold; they are ready for a network.
        """
        pixels = crop.pixels
        if pixels is None:
            assert self.cache is not None
            pixels = self.cache[crop.slot]
        window = cut_window(pixels, crop.window, self.size)
        return window if window.dtype == torch.uint8 else window.movedim(-1, 0)

    def fit(self, image: Image.Image) -> Image.Image:
        """The image as it is kept: of `load_size` pixels."""
        return resize(image, self.load_size)

    def fitted(self, picture: Picture) -> Tensor:
        """`(H, W, C)` of an image as it is kept: uint8, or float32 in [-1, 1]."""
        if isinstance(picture, np.ndarray):
            return torch.from_numpy(resized(picture, self.load_size))
        return to_pixels(self.fit(picture))

    def window(self, draws: tuple[float, float, float]) -> Window:
        """The crop and flip that three numbers in [0, 1) stand for."""
        column, row, mirror = draws
        return choose_window(
            (column, row, mirror if self.flip else 1.0), load_size=self.load_size, size=self.size
        )

    def crop_of(
        self, slot: int, load: Callable[[], Picture], draws: tuple[float, float, float]
    ) -> Crop:
        """A crop of image `slot`, which is loaded and resized unless it is in the cache.

        Raises:
            DataError: from `load`.
        """
        window = self.window(draws)
        if self.cache is None:
            return Crop(slot, window, self.fitted(load()))
        if slot not in self.cache:
            self.cache.fill(slot, self.fitted(load()))
        return Crop(slot, window, None)


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


def kind_of(pixels: PixelFormat | None) -> Kind:
    """What is kept of images that are read so."""
    return PLAIN if pixels is None else Kind(pixels.channels, torch.float32)
