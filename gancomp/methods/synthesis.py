"""A generator trained alone against its discriminator, as StyleGAN2 or BigGAN is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gancomp.engine.phases import Phase, Step
from gancomp.methods.base import Ingredients, Method
from gancomp.methods.game import Game
from gancomp.methods.synthesis_options import GanOptions
from gancomp.networks.base import TappedNetwork
from gancomp.tasks.synthesis import SynthesisTask


class SynthesisMethod(Method):
    """What training one generator has in common with and without a teacher."""

    tasks = ("synthesis",)
    has_features = False
    task: SynthesisTask
    game: Game
    _phases: list[Phase]

    def phases(self) -> list[Phase]:
        """Those of the game, and what a method adds."""
        return self._phases

    def networks(self) -> dict[str, nn.Module]:
        """Those of the game: generator, discriminator, average, mean path length."""
        return self.game.networks()

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        """Those of the game."""
        return self.game.losses(phase, step)

    def go_on_from(self, role: str, states: Mapping[str, Any]) -> None:
        """Goes on from the networks of another run.

        Args:
            role: whose they are: `teacher` or `student`.
            states: of that run's checkpoint, by the names of `networks()`.
        """
        self.game.go_on_from(states)


class Gan(SynthesisMethod):
    """The teacher: a generator with path lengths regularised, its discriminator with R1."""

    name = "gan"
    paper = "StyleGAN2 (Karras et al., CVPR 2020); BigGAN (Brock et al., ICLR 2019)"
    distils = False
    Options = GanOptions

    def __init__(self, ingredients: Ingredients, options: GanOptions) -> None:
        super().__init__()
        self.task = task_of(ingredients)
        generator, discriminator = self.task.players
        self.game = Game(
            generator,
            discriminator,
            options,
            kind=self.task.settings.gan,
            optimiser=ingredients.optimiser,
            seed=ingredients.seed,
            role="teacher",
        )
        self._phases = self.game.phases()

    def generators(self) -> dict[str, TappedNetwork]:
        """The average."""
        return {"teacher": self.game.average.network}


def task_of(ingredients: Ingredients) -> SynthesisTask:
    """The task, which `tasks` has made sure of."""
    assert isinstance(ingredients.task, SynthesisTask)
    return ingredients.task
