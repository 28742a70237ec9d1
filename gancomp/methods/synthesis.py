"""A generator trained alone against its discriminator, as StyleGAN2 or BigGAN is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step
from gancomp.methods.adversarial_pair import AdversarialPair
from gancomp.methods.base import Components, Method
from gancomp.methods.synthesis_options import GanOptions
from gancomp.networks.base import TappedNetwork
from gancomp.tasks.synthesis import SynthesisTask


class SynthesisMethod(Method):
    """What training one generator has in common with and without a teacher."""

    tasks = ("synthesis",)
    has_features = False
    replayable = True
    task: SynthesisTask
    pair: AdversarialPair
    _phases: list[Phase]

    def phases(self) -> list[Phase]:
        """Those of the adversarial pair, and what a method adds."""
        return self._phases

    def networks(self) -> dict[str, nn.Module]:
        """Those of the adversarial pair: generator, discriminator, average, mean path length."""
        return self.pair.networks()

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Those of the adversarial pair."""
        return self.pair.losses(phase, step)

    def go_on_from(self, role: str, states: Mapping[str, Any]) -> None:
        """Goes on from the networks of another run.

        Args:
            role: whose they are: `teacher` or `student`.
            states: of that run's checkpoint, by the names of `networks()`.
        """
        self.pair.go_on_from(states)


class Gan(SynthesisMethod):
    """The teacher: a generator with path lengths regularized, its discriminator with R1."""

    name = "gan"
    shared_by_ranks = True
    paper = "StyleGAN2 (Karras et al., CVPR 2020); BigGAN (Brock et al., ICLR 2019)"
    distills = False
    Options = GanOptions

    def __init__(self, components: Components, options: GanOptions) -> None:
        super().__init__()
        self.task = synthesis_task(components)
        generator, discriminator = self.task.players
        self.pair = AdversarialPair(
            generator,
            discriminator,
            options,
            kind=self.task.settings.gan,
            optimizer=components.optimizer,
            seed=components.seed,
            role="teacher",
        )
        self._phases = self.pair.phases()

    def generators(self) -> dict[str, TappedNetwork]:
        """The average."""
        return {"teacher": self.pair.average.network}


def synthesis_task(components: Components) -> SynthesisTask:
    """The task, which `tasks` has made sure of."""
    assert isinstance(components.task, SynthesisTask)
    return components.task
