"""Images with their translations, in two folders or side by side in one file (pix2pix)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from gancomp.data.deep import read_values
from gancomp.data.images import cut_half, load_image
from gancomp.data.indexed import ChosenCrops, Crop, Picture, Reader, draw_numbers, first_readable
from gancomp.data.splits import Half, Split
from gancomp.data.transforms import PixelFormat
from gancomp.errors import DataError


class PairedImages(Reader):
    """Samples `{"source", "target"}`, each uint8 `(H, W, 3)` (see `Reader.cut`).

    `dataset[epoch, position]` takes pair `position mod number of pairs`; both images get the same
    crop and flip, which follow from (seed, epoch, position). Where one of the two is unreadable,
    the next whole pair is taken.

    It takes what every `Reader` takes; the split is of two folders, or of images side by side.

    Raises:
        DataError: if there are no pairs, or unequal numbers of files, or (when read) no pair is
            readable.
        ConfigError: if `load_size` is below `size`.

    Source: Isola et al. 2017 (pix2pix), training details.
    """

    def check(self, split: Split) -> None:
        """Raises DataError as the class says."""
        if not split.source or len(split.source) != len(split.target):
            raise DataError(
                f"paired images: {len(split.source)} source and {len(split.target)} target "
                "files; the numbers must be equal and at least one"
            )

    def __len__(self) -> int:
        return len(self.split.source)

    def choose(self, index: tuple[int, int]) -> ChosenCrops:
        """One pair, with the same window of both."""
        epoch, position = index
        column, row, mirror = draw_numbers(3, seed=self.seed, epoch=epoch, position=position)
        (source, target), unreadable = first_readable(
            len(self),
            position % len(self),
            lambda i: self._pair(i, (column, row, mirror)),
            strict=self.strict,
        )
        return ChosenCrops({"source": source, "target": target}, unreadable)

    def _pair(self, index: int, draws: tuple[float, float, float]) -> tuple[Crop, Crop]:
        split = self.split
        decode = lru_cache(load_image)  # once for both, where they lie side by side

        def load(path: Path, half: Half | None, pixels: PixelFormat | None) -> Picture:
            if pixels is not None:
                return read_values(path, pixels, half)
            image = decode(path)
            return image if half is None else cut_half(image, half, path)

        source = self.crop_of(
            index,
            lambda: load(split.source[index], split.side_by_side, self.source_pixels),
            draws,
        )
        target = self.crop_of(
            len(self) + index,
            lambda: load(split.target[index], split.target_half, self.target_pixels),
            draws,
        )
        return source, target
