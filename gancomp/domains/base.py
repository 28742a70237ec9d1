"""What commands ask of a kind of data; `translation`, `super_resolution` and `synthesis` answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gancomp.data.splits import DatasetFiles
from gancomp.domains.stage import Stage
from gancomp.engine.checkpoint import load_newest
from gancomp.engine.fit import load_networks
from gancomp.engine.run import RunFolder
from gancomp.errors import CheckpointError
from gancomp.inference.grids import as_colors, draw_grid, resized
from gancomp.inference.models import Chosen
from gancomp.launch import unheard
from gancomp.methods.base import Method
from gancomp.networks.base import TappedNetwork
from gancomp.scoring.pairs import Pairs
from gancomp.scoring.request import Contest, FidRequest, Say
from gancomp.settings import Json, Settings
from gancomp.sizes import Size, square_side
from gancomp.tasks.base import Task

TRANSLATES, ENLARGES = "keeps their size", "enlarges images"
SYNTHESIZES = "generates images from noise"
NUM_SAMPLES = 4


class Domain:
    """One kind of data: how settings are completed and checked, what is trained, drawn and scored.

    What stands here holds where a kind does not say otherwise.

    Attributes:
        purpose: what its generators do, as `choice.purpose` says it.
    """

    purpose = TRANSLATES

    def load_size(self, size: Size, task: str) -> Size:
        """What images are brought to before crops of `size` are cut: no larger than them."""
        return square_side(size, f"`task` {task}")

    def complete(self, values: Json, typed: Json, files: DatasetFiles) -> Json:
        """`values` with what follows from others, from the dataset or from the teacher's file.

        Args:
            values: nested settings: the preset's, the teacher's file's and what was typed.
            typed: the last of them alone.
            files: the dataset.

        Raises:
            ConfigError: for settings that contradict the teacher's file or each other.
            CheckpointError: if the teacher cannot be read.
        """
        return values

    def refuse_unlike_networks(self, settings: Settings) -> None:
        """Raises ConfigError if teacher and student cannot be of these two architectures."""

    def problems(self, settings: Settings) -> list[str]:
        """What does not go together."""
        return []

    def refuse_unfit_files(self, settings: Settings, files: DatasetFiles) -> None:
        """Raises DataError if no image can be trained on."""

    def remarks(self, settings: Settings, files: DatasetFiles) -> Iterable[str]:
        """What somebody should be told before a run begins."""
        return ()

    def stages(self, settings: Settings, options: Any) -> list[Stage]:
        """The runs before a run with these settings, in their order."""
        return []

    def stage_settings(self, stage: Stage, whole: Settings, made: dict[str, Path]) -> Settings:
        """The settings of a stage, except for its length; `made` has earlier generators by role."""
        raise AssertionError(f"no stages here: {stage.name}")

    def hand_on(
        self, settings: Settings, method: Method, made: dict[str, Path], *, out: Path
    ) -> None:
        """Fills the networks of `method` with what the stages ended with.

        Args:
            settings: of the run.
            method: with fresh networks.
            made: generator file of each stage's run, by role.
            out: the run's folder.

        Raises:
            CheckpointError: if something is missing or of another size.
        """

    def bring_companions(self, task: Task, source: Path) -> None:
        """Loads the networks that were trained beside the teacher in `source`, if it is a run.

        Raises:
            CheckpointError: if the run has no checkpoint, or networks of another shape.
        """
        if not source.is_dir():
            return
        checkpoint = load_newest(source / "checkpoints", unheard)
        if checkpoint is None:
            raise CheckpointError(
                f"`teacher` {source}: has no checkpoint yet; give teacher.safetensors itself"
            )
        networks = task.networks().items()
        wanted = {name: net for name, net in networks if isinstance(net, TappedNetwork)}
        try:
            load_networks(wanted, checkpoint.state["networks"])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"`teacher` {source}: its discriminators do not fit "
                f"({str(error).splitlines()[0]}); give the same `d_width`, `d_norm` and "
                "`d_layers`, or teacher.safetensors itself"
            ) from error

    def reader_options(self, settings: Settings) -> Json:
        """What the reader of the training images is told beside what every reader is."""
        return {}

    def samples(self, settings: Settings, files: DatasetFiles) -> list[Tensor]:
        """`(N, C, H, W)` each: what the generators of a sample grid are given; then the truth."""
        raise AssertionError("this kind of data draws its own grids")

    def sampler(
        self,
        settings: Settings,
        files: DatasetFiles,
        method: Method,
        run: RunFolder,
        *,
        device: torch.device,
    ) -> Callable[[int], None]:
        """Draws a grid of the same images at every call: source, teacher, student, row by row."""
        sources, *truths = self.samples(settings, files)
        generators = method.generators()

        def sample(step: int) -> None:
            method.eval()
            with torch.no_grad():
                made = [item(sources.to(device)).cpu() for item in generators.values()]
                shown = [resized(sources, made[0].shape[-2:]), *made, *truths]
                shown = [as_colors(images) for images in shown]
            method.train()
            images = torch.stack(shown, dim=1).flatten(0, 1)
            draw_grid(images, run.samples / f"step_{step:08d}.png", len(shown))

        return sample

    def contest(
        self, request: FidRequest, chosen: Chosen, say: Say, *, device: torch.device
    ) -> Contest:
        """What FID compares: images that the model makes, and real ones.

        Raises:
            ConfigError: for options that do not fit the model.
            DataError: if there are no images.
        """
        raise AssertionError("this kind of data is not scored by FID")

    def pairs(
        self,
        request: FidRequest,
        chosen: Chosen,
        other: Chosen | None,
        say: Say,
        *,
        device: torch.device,
    ) -> Pairs:
        """What the model makes beside what it should be: the truth, or what `other` makes.

        Args:
            request: on what, and how.
            chosen: the model that is judged.
            other: its teacher, of the same kind of data; None for the truth.
            say: told about files that are left out.
            device: where to compute.

        Raises:
            ConfigError: for options or models that do not fit.
            DataError: if there are no images.
        """
        raise AssertionError("this kind of data has no pairs")
