"""`gancomp pretrain`: trains the teacher alone, on the line that `distill` uses."""

from __future__ import annotations

from gancomp.engine.fit import View
from gancomp.recipes.distill import train_as
from gancomp.settings import Overrides
from gancomp.training.steps import Result


def pretrain(given: Overrides, view: View) -> Result:
    """Trains a teacher as CycleGAN, pix2pix, SRGAN, StyleGAN2 or BigGAN, as the data asks.

    Raises:
        GancompError: for whatever the user can fix; what was already saved stays.
        InterruptedRunError: after SIGINT or SIGTERM, when the state was saved.
    """
    return train_as("pretrain", given, view)
