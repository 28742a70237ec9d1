"""A short training within a search: of one candidate, on the run's images."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from gancomp.engine.phases import Progress, Step
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.methods.base import Method
from gancomp.seeding import derive_seed
from gancomp.settings import RunSettings
from gancomp.training.ways import PLAIN, use_way

Batches = Generator[dict[str, Tensor], None, None]


@dataclass(frozen=True)
class Tuning:
    """Trains candidates, each for as long and at the same rate.

    Nothing of it is kept: a candidate that was cut short is tuned anew.

    Attributes:
        batches: endless ones from a step on.
        steps: for each candidate.
        run: its seed and precision.
        device: where.
        say: is told what does not work here.
    """

    batches: Callable[[int], Batches]
    steps: int
    run: RunSettings
    device: torch.device
    say: Callable[[str], None]

    def train(self, method: Method, start: int, pause: Callable[[], None]) -> None:
        """Takes a method's steps on the batches from `start` on.

        Args:
            method: with its networks.
            start: of the first batch; what is random follows from it, too.
            pause: called before each step; may raise to stop.

        Raises:
            TrainingError: if a term is not finite.
        """
        method.to(self.device).train()
        use_way(method, self.device, PLAIN, precision=self.run.precision, say=self.say)
        watch = FiniteWatch(late=self.device.type == "cuda")
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), closing(self.batches(start)) as batches:
            torch.manual_seed(derive_seed(self.run.seed, "tuning", start))
            for index, batch in zip(range(self.steps), batches, strict=False):
                pause()
                on_device = {key: value.to(self.device) for key, value in batch.items()}
                take_step(
                    method,
                    Step(index, on_device),
                    Progress(index, 0, 1),
                    rate=1.0,
                    precision=self.run.precision,
                    device=self.device,
                    watch=watch,
                )
        watch.settle()
