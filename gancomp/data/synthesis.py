"""Images to learn to make others like: each one a whole square, with its class if it has one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gancomp.data.images import Say, load_image, warn_on_stderr
from gancomp.data.in_order import read_in_order
from gancomp.data.indexed import ChosenCrops, Crop, Reader, draw_numbers, first_readable
from gancomp.data.splits import Split
from gancomp.data.transforms import square
from gancomp.errors import ConfigError, DataError
from gancomp.sizes import square_side


class SynthesisImages(Reader):
    """Samples `{"image"}`, uint8 `(size, size, 3)`, and `"label"`, int64, if there are classes.

    `dataset[epoch, position]` is file `position mod number of files`: the square in its middle,
    resized once (see `transforms.square`) and mirrored in half of the cases, which follow from
    (seed, epoch, position). An image of the right size comes out bit for bit.

    Args:
        split: files by role; the targets are read.
        size: height and width.
        load_size: None or `size`: nothing is cut off the resized image.
        seed: of all random choices.
        flip: whether half of the samples are mirrored.
        strict: raise at an unreadable file instead of taking the next one.
        cached: keep the prepared images in memory.

    Raises:
        ConfigError: for another `load_size`.
        DataError: if there are no files, they hold two images side by side, or (when read) none is
            readable.

    Source: the data of StyleGAN2 and BigGAN: center crop, mirror as the only augmentation.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: int,
        load_size: int | None = None,
        seed: int,
        flip: bool = True,
        strict: bool = False,
        cached: bool = False,
    ) -> None:
        if load_size not in (None, size):
            raise ConfigError(
                f"`load_size` {load_size}: has no effect on synthesis, where whole images are "
                "brought to the training size; remove it"
            )
        super().__init__(
            split, size=size, load_size=size, seed=seed, flip=flip, strict=strict, cached=cached
        )

    def check(self, split: Split) -> None:
        """Raises DataError as the class says."""
        if not split.target:
            raise DataError("synthesis: no images; at least one is needed")
        if split.side_by_side is not None:
            raise DataError("synthesis: these files hold two images side by side")

    @staticmethod
    def num_slots(split: Split) -> int:
        """One for each file: sources and targets are the same."""
        return len(split.target)

    def __len__(self) -> int:
        return len(self.split.target)

    def fit(self, image: Image.Image) -> Image.Image:
        """The square in the middle, at the training size."""
        return square(image, square_side(self.size, "synthesis"))

    def choose(self, index: tuple[int, int]) -> ChosenCrops:
        """One image, and the class of the file that was read in the end."""
        epoch, position = index
        (mirror,) = draw_numbers(1, seed=self.seed, epoch=epoch, position=position)
        files, labels = self.split.target, self.split.labels

        def decode(slot: int) -> Crop:
            return self.crop_of(slot, lambda: load_image(files[slot]), (0.0, 0.0, mirror))

        crop, unreadable = first_readable(
            len(files), position % len(files), decode, strict=self.strict
        )
        return ChosenCrops({"image": crop}, unreadable, labels[crop.slot] if labels else None)


def square_images(
    paths: Sequence[Path],
    *,
    size: int,
    mirrored: bool = False,
    say: Say = warn_on_stderr,
    strict: bool = False,
    skipped: list[Path] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """`(size, size, 3)` uint8 images as synthesis is trained on them.

    Args:
        paths: image files.
        size: what the square in the middle of each is brought to.
        mirrored: follow each image by its mirror image.
        say: is told about each unreadable file, which is left out.
        strict: raise instead.
        skipped: the files left out are added to it.

    Raises:
        DataError: at an unreadable file if `strict`; if not one file is readable.
    """

    def read(path: Path) -> NDArray[np.uint8]:
        return np.array(square(load_image(path), size))

    for _, pixels in read_in_order(paths, read, say, strict, skipped=skipped):
        yield pixels
        if mirrored:
            yield np.ascontiguousarray(pixels[:, ::-1])
