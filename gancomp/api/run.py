"""A run's folder, opened for reading, while it is written or long after."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gancomp.api.boundary import called
from gancomp.api.generator import Generator, load
from gancomp.engine.run import RunFolder, read_config, read_metrics, settings_in
from gancomp.paths import expanded
from gancomp.scoring.scores import SCORES, read_scores
from gancomp.settings import Settings


@dataclass(frozen=True)
class Run(os.PathLike[str]):
    """One training run; everything is read anew each time it is asked for.

    It stands wherever a run's folder can be given: `gancomp.evaluate(run)`.

    Attributes:
        path: its folder.
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """The run in the folder `path`, such as `runs/latest`.

        Raises:
            RunError: if there is none, or a later gancomp wrote it.
        """
        with called():
            run = cls(expanded(path))
            settings_in(read_config(run.path))
            return run

    @property
    def config(self) -> dict[str, Any]:
        """All of `config.json`: settings, preset, dataset with its fingerprint, versions."""
        with called():
            return read_config(self.path).values

    @property
    def settings(self) -> Settings:
        """The resolved settings."""
        with called():
            return settings_in(read_config(self.path))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """A record per logged step, oldest first: step, epoch, losses, rates, images/s."""
        with called():
            return read_metrics(self.path)

    @property
    def samples(self) -> list[Path]:
        """The sample grids, oldest first."""
        return sorted(RunFolder(self.path).samples.glob("*.png"))

    @property
    def scores(self) -> list[dict[str, Any]]:
        """The scores that `evaluate` kept, oldest first, each with its protocol."""
        with called():
            return [score.values for score in read_scores(self.path / SCORES)]

    @property
    def generators(self) -> dict[str, Generator]:
        """The generators that the run has written so far, by role: `teacher`, `student`."""
        files = {role: self.path / f"{role}.safetensors" for role in ("teacher", "student")}
        return {role: load(file) for role, file in files.items() if file.exists()}
