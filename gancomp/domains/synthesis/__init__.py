"""Synthesis: images from noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from gancomp.data.splits import DatasetFiles
from gancomp.domains.base import NUM_SAMPLES, SYNTHESIZES, Domain
from gancomp.domains.stage import Stage
from gancomp.domains.synthesis import settings as rules
from gancomp.domains.synthesis.contest import synthesis_contest
from gancomp.domains.synthesis.pairs import synthesis_pairs
from gancomp.domains.synthesis.stages import hand_on, settings_of, stages_of
from gancomp.engine.run import RunFolder
from gancomp.inference.grids import draw_grid
from gancomp.inference.sampling import Recipe, joined, spread_classes
from gancomp.methods.base import Method
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.seeding import derive_seed
from gancomp.settings import Settings
from gancomp.tasks.base import Task


class Synthesis(Domain):
    """Images of one size, in class folders or not."""

    purpose = SYNTHESIZES
    complete = staticmethod(rules.complete)
    problems = staticmethod(rules.problems_of)
    remarks = staticmethod(rules.remarks)
    stages = staticmethod(stages_of)
    pairs = staticmethod(synthesis_pairs)
    contest = staticmethod(synthesis_contest)

    def refuse_unlike_networks(self, settings: Settings) -> None:
        """Both generators stand under one discriminator."""
        rules.refuse_two_families(settings)

    def stage_settings(self, stage: Stage, whole: Settings, made: dict[str, Path]) -> Settings:
        """`gan` for a teacher, the run's method unguided for a student."""
        return settings_of(stage, whole)

    def hand_on(
        self, settings: Settings, method: Method, made: dict[str, Path], *, out: Path
    ) -> None:
        """All networks of the last runs."""
        hand_on(settings, method, made)

    def bring_companions(self, task: Task, source: Path) -> None:
        """The teacher's discriminator, from a run or a file of both."""
        rules.bring_discriminator(task, str(source))

    def sampler(
        self,
        settings: Settings,
        files: DatasetFiles,
        method: Method,
        run: RunFolder,
        *,
        device: torch.device,
    ) -> Callable[[int], None]:
        """Each generator's images side by side; there is no source. One alone fills a square."""
        return noise_sampler(settings.run.seed, method, run, device=device)


def noise_sampler(
    seed: int, method: Method, run: RunFolder, *, device: torch.device
) -> Callable[[int], None]:
    """Draws what each generator makes of the same noise and of classes far apart, side by side."""
    generators = {
        role: network
        for role, network in method.generators().items()
        if isinstance(network, SynthesisGenerator)
    }
    columns = len(generators) if len(generators) > 1 else NUM_SAMPLES
    rows = 2 * NUM_SAMPLES if len(generators) > 1 else NUM_SAMPLES
    count = rows * columns // len(generators)
    latents = []
    for network in generators.values():
        recipe = Recipe(derive_seed(seed, "samples"), classes=spread_classes(network, count))
        latents.append(joined([recipe.latents(network, number) for number in range(count)]))

    def sample(step: int) -> None:
        method.eval()
        with torch.no_grad():
            made = [
                network(item.to(device)).cpu()
                for network, item in zip(generators.values(), latents, strict=True)
            ]
        method.train()
        draw_grid(
            torch.stack(made, dim=1).flatten(0, 1), run.samples / f"step_{step:08d}.png", columns
        )

    return sample
