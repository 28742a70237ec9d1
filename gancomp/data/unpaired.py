"""Two piles of images without correspondence, read as CycleGAN reads them."""

from __future__ import annotations

from pathlib import Path

from gancomp.data.deep import read_values
from gancomp.data.images import load_image
from gancomp.data.indexed import ChosenCrops, Picture, Reader, draw_numbers, first_readable
from gancomp.data.splits import Split
from gancomp.data.transforms import PixelFormat
from gancomp.errors import DataError


class UnpairedImages(Reader):
    """Samples `{"source", "target"}`, each uint8 `(H, W, 3)` (see `Reader.cut`).

    `dataset[epoch, position]` takes source file `position mod number of sources` and a random
    target; crops and flips of the two are independent. Every random choice follows from
    (seed, epoch, position). An epoch has as many positions as the larger pile; positions beyond
    it are allowed and draw anew (a batch larger than the dataset needs them).

    It takes what every `Reader` takes; the split is of whole images.

    Raises:
        DataError: if a pile is empty, the files hold two images side by side, or (when read)
            no file is readable.
        ConfigError: if `load_size` is below `size`.

    Source: Zhu et al. 2017 (CycleGAN), training details.
    """

    def check(self, split: Split) -> None:
        """Raises DataError as the class says."""
        if not split.source or not split.target:
            raise DataError(
                f"unpaired images: {len(split.source)} source and {len(split.target)} target "
                "files; both need at least one"
            )
        if split.side_by_side is not None:
            raise DataError("unpaired images: these files hold two images side by side")

    def __len__(self) -> int:
        return max(len(self.split.source), len(self.split.target))

    def choose(self, index: tuple[int, int]) -> ChosenCrops:
        """One source and one target, each with a window of its own."""
        epoch, position = index
        pick, a, b, c, d, e, f = draw_numbers(7, seed=self.seed, epoch=epoch, position=position)
        sources, targets = self.split.source, self.split.target
        source, source_unreadable = first_readable(
            len(sources),
            position % len(sources),
            lambda i: self.crop_of(i, lambda: load(sources[i], self.source_pixels), (a, b, c)),
            strict=self.strict,
        )
        target, target_unreadable = first_readable(
            len(targets),
            int(pick * len(targets)),
            lambda i: self.crop_of(
                len(sources) + i, lambda: load(targets[i], self.target_pixels), (d, e, f)
            ),
            strict=self.strict,
        )
        return ChosenCrops(
            {"source": source, "target": target}, source_unreadable + target_unreadable
        )


def load(path: Path, pixels: PixelFormat | None) -> Picture:
    """What the file holds, of 8-bit RGB or as `pixels` says.

    Raises:
        DataError: if it is unreadable.
    """
    return load_image(path) if pixels is None else read_values(path, pixels)
