"""Images with their translations, in two folders or side by side in one file (pix2pix)."""

from __future__ import annotations

from torch import Tensor
from torch.utils.data import Dataset

from gancomp.data.images import load_image
from gancomp.data.indexed import Augmentation, Sample, cut_half, draw_numbers, first_readable
from gancomp.data.splits import Split, other_half
from gancomp.errors import DataError


class PairedImages(Dataset[Sample]):
    """Samples `{"source", "target"}`, each float32 `(3, size, size)` in [-1, 1].

    `dataset[epoch, position]` takes pair `position mod number of pairs`; both images get the same
    crop and flip, which follow from (seed, epoch, position). Where one of the two is unreadable,
    the next whole pair is taken.

    Args:
        split: files by role, in two folders or side by side.
        size: training crop.
        load_size: size before the crop; images are squeezed to it whatever their aspect.
        seed: of all random choices.
        flip: whether to mirror half of the samples.
        strict: raise at an unreadable file instead of taking the next pair.

    Raises:
        DataError: if there are no pairs, or unequal numbers of files, or (when read) no pair is
            readable.
        ConfigError: if `load_size` is below `size`.

    Source: Isola et al. 2017 (pix2pix), training details.
    """

    def __init__(
        self,
        split: Split,
        *,
        size: int,
        load_size: int,
        seed: int,
        flip: bool = True,
        strict: bool = False,
    ) -> None:
        if not split.source or len(split.source) != len(split.target):
            raise DataError(
                f"paired images: {len(split.source)} source and {len(split.target)} target "
                "files; the numbers must be equal and at least one"
            )
        self.split = split
        self.seed = seed
        self.strict = strict
        self.augmentation = Augmentation(size=size, load_size=load_size, flip=flip)

    def __len__(self) -> int:
        return len(self.split.source)

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        epoch, position = index
        column, row, mirror = draw_numbers(3, seed=self.seed, epoch=epoch, position=position)
        (source, target), unreadable = first_readable(
            len(self),
            position % len(self),
            lambda i: self._pair(i, (column, row, mirror)),
            strict=self.strict,
        )
        return Sample({"source": source, "target": target}, unreadable)

    def _pair(self, index: int, draws: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
        source_path, target_path = self.split.source[index], self.split.target[index]
        source = load_image(source_path)
        if self.split.side_by_side is None:
            target = load_image(target_path)
        else:
            target = cut_half(source, other_half(self.split.side_by_side), target_path)
            source = cut_half(source, self.split.side_by_side, source_path)
        return self.augmentation(source, draws), self.augmentation(target, draws)
