"""How near a smaller generator's images are to its teacher's in the eyes of the discriminator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

OF_LOSS = 500.0  # over which the loss stands in the fitness
OF_CYCLE = 10.0
LEAST_LOSS = 1e-9  # of a network that is its teacher; there is no fitness of 0

Network = Callable[[Tensor], Tensor]
Judge = Callable[[Tensor, Tensor], Tensor]


def verdict(logits: Tensor) -> Tensor:
    """`(N,)`: what a discriminator says of each image, the mean of its patches."""
    return logits.flatten(1).mean(1)


def fitness_of(loss: float, closed: int, prune_weight: float) -> float:
    """How fit a candidate is; higher is better.

    Args:
        loss: of `Side.loss`.
        closed: channels that it lacks, counted in every convolution that would make them.
        prune_weight: of each.

    Source: `search.py` of Co-Evolution's released code.
    """
    return OF_LOSS / max(loss, LEAST_LOSS) + prune_weight * closed


class Side:
    """One direction of translation, in which candidates are compared with their teacher.

    Args:
        images: sources, each `(1, C, H, W)` in [-1, 1].
        teacher: the generator that candidates are made of.
        judge: gives logits `(1, ...)` for a source and its translation.
    """

    @torch.no_grad()
    def __init__(self, images: Sequence[Tensor], teacher: Network, judge: Judge) -> None:
        self.images, self.judge = images, judge
        self.wanted = [verdict(judge(image, teacher(image))) for image in images]

    @torch.no_grad()
    def loss(self, candidate: Network, back: Network | None = None) -> float:
        """The sum over images of the verdicts' squared distances, and of what a cycle loses.

        Args:
            candidate: in eval mode.
            back: translates back; without it, only verdicts count.

        Source: Shu et al. 2019 (Co-Evolution), section 3.2, as released.
        """
        total = 0.0
        for image, wanted in zip(self.images, self.wanted, strict=True):
            fake = candidate(image)
            loss = F.mse_loss(verdict(self.judge(image, fake)), wanted)
            if back is not None:
                loss = loss + OF_CYCLE * F.l1_loss(back(fake), image)
            total += float(loss)
        return total
