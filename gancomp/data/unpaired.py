"""Two piles of images without correspondence, read as CycleGAN reads them."""

from __future__ import annotations

from torch.utils.data import Dataset

from gancomp.data.images import load_image
from gancomp.data.indexed import Augmentation, Sample, draw_numbers, first_readable
from gancomp.data.splits import Split
from gancomp.errors import DataError


class UnpairedImages(Dataset[Sample]):
    """Samples `{"source", "target"}`, each float32 `(3, size, size)` in [-1, 1].

    `dataset[epoch, position]` takes source file `position mod number of sources` and a random
    target; crops and flips of the two are independent. Every random choice follows from
    (seed, epoch, position). An epoch has as many positions as the larger pile; positions beyond
    it are allowed and draw anew (a batch larger than the dataset needs them).

    Args:
        split: files by role, whole images.
        size: training crop.
        load_size: size before the crop; images are squeezed to it whatever their aspect.
        seed: of all random choices.
        flip: whether to mirror half of the samples.
        strict: raise at an unreadable file instead of taking the next one.

    Raises:
        DataError: if a pile is empty, the files hold two images side by side, or (when read)
            no file is readable.
        ConfigError: if `load_size` is below `size`.

    Source: Zhu et al. 2017 (CycleGAN), training details.
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
        if not split.source or not split.target:
            raise DataError(
                f"unpaired images: {len(split.source)} source and {len(split.target)} target "
                "files; both need at least one"
            )
        if split.side_by_side is not None:
            raise DataError("unpaired images: these files hold two images side by side")
        self.split = split
        self.seed = seed
        self.strict = strict
        self.augmentation = Augmentation(size=size, load_size=load_size, flip=flip)

    def __len__(self) -> int:
        return max(len(self.split.source), len(self.split.target))

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        epoch, position = index
        pick, a, b, c, d, e, f = draw_numbers(7, seed=self.seed, epoch=epoch, position=position)
        sources, targets = self.split.source, self.split.target
        source, source_unreadable = first_readable(
            len(sources),
            position % len(sources),
            lambda i: self.augmentation(load_image(sources[i]), (a, b, c)),
            strict=self.strict,
        )
        target, target_unreadable = first_readable(
            len(targets),
            int(pick * len(targets)),
            lambda i: self.augmentation(load_image(targets[i]), (d, e, f)),
            strict=self.strict,
        )
        return Sample({"source": source, "target": target}, source_unreadable + target_unreadable)
