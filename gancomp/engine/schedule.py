"""The learning rate as a function of the epoch: no state, so nothing to lose at a resume."""

from __future__ import annotations


def decay_factor(epoch: int, *, epochs: int, decay_epochs: int) -> float:
    """What the learning rate is multiplied by in `epoch` (from 0): 1, then linearly towards zero.

    `1 - max(0, epoch + 1 - epochs) / (decay_epochs + 1)`. Source: the released CycleGAN code, which
    every released distiller of this family uses; the last epoch still learns a little.
    """
    return max(0.0, 1.0 - max(0, epoch + 1 - epochs) / (decay_epochs + 1))
