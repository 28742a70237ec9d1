"""Compression-Aware Training (CAT, CVPR 2021): maps that relate the images of a batch alike.

The one-step pruning that the student's shape comes from is not part of this.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gancomp.losses.maps import alignment_loss
from gancomp.methods.apprentice import Apprentice
from gancomp.methods.cat_options import CatOptions
from gancomp.methods.gan_compression import GanCompression
from gancomp.ranks import current
from gancomp.settings import Settings
from gancomp.sizes import Size


class Cat(GanCompression):
    """GAN-Compression's objective with kernel alignment as the distance of the maps.

    No adaptor is needed: images are related to each other, so batches must have two or more.
    """

    name = "cat"
    shared_by_ranks = True
    paper = "Teachers Do More Than Teach: Compressing Image-to-Image Models, CVPR 2021"
    Options = CatOptions
    options: CatOptions

    @staticmethod
    def problems_of(settings: Settings, options: Any) -> list[str]:
        """A batch, or a part of it, of one image: its alignment is always 1."""
        parts, batch_size = options.ka_parts, settings.data.batch_size
        if options.lambda_distill == 0 or batch_size >= 2 * parts:
            return []
        return [
            f"`batch_size` {batch_size}: `method` cat relates the images of a batch to each other"
            + (f", here of each of {parts} parts" if parts > 1 else "")
            + f"; use {2 * parts} or more"
        ]

    def make_adaptors(self, seed: int) -> nn.Module:
        """Nothing: alignment asks neither for equal channels nor for equal sizes."""
        return nn.Identity()

    def check_size(self, size: Size) -> None:
        """Refuses images too small for a network."""
        Apprentice.check_size(self, size)

    def map_distance(self, teacher_maps: list[Tensor], adapted_maps: list[Tensor]) -> Tensor:
        """Minus the kernel alignment, summed over taps and parts of the batch."""
        # a batch tried out in advance may have fewer images than there are parts
        parts = min(self.options.ka_parts, current().size * len(teacher_maps[0]))
        return alignment_loss(teacher_maps, adapted_maps, replicas=parts)
