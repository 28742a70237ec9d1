"""A schedule's length, and its rate as a function of the epoch: no state, nothing to lose."""

from __future__ import annotations

from gancomp.settings import ScheduleSettings


def total_steps(schedule: ScheduleSettings, *, num_epochs: int, steps_per_epoch: int) -> int:
    """The steps of the whole schedule, or `max_steps` if that is less."""
    return min(num_epochs * steps_per_epoch, schedule.max_steps or 2**62)


def decay_factor(epoch: int, *, epochs: int, decay_epochs: int) -> float:
    """What the learning rate is multiplied by in `epoch` (from 0): 1, then linearly towards zero.

    `1 - max(0, epoch + 1 - epochs) / (decay_epochs + 1)`. Source: the released CycleGAN code, which
    every released distiller of this family uses; the last epoch still learns a little.
    """
    return max(0.0, 1.0 - max(0, epoch + 1 - epochs) / (decay_epochs + 1))
