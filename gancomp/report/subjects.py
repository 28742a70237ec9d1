"""What a page says about one run, read from its folder; nothing that is missing is made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gancomp.api.run import Run
from gancomp.engine.checkpoint import list_checkpoints
from gancomp.engine.run import latest_run
from gancomp.errors import ConfigError, RunError
from gancomp.paths import expanded
from gancomp.recipes.profile import LatencyRequest, profile_document
from gancomp.report.scores import Score, scores_in
from gancomp.settings import Json, Settings

ROLES = ("teacher", "student")


@dataclass(frozen=True)
class Subject:
    """A run that is reported.

    Attributes:
        name: what it is called on the page; no other run there is.
        run: its folder.
        costs: rows of `gancomp profile`, one for each generator that it has written.
        timed: on what latencies were measured for this page; None if they were not.
    """

    name: str
    run: Run
    costs: Sequence[Json] = ()
    timed: Json | None = None

    @cached_property
    def config(self) -> Json:
        """All of `config.json`."""
        return self.run.config

    @cached_property
    def settings(self) -> Settings:
        """The resolved settings."""
        return self.run.settings

    @cached_property
    def metrics(self) -> list[Json]:
        """The logged steps."""
        return self.run.metrics

    @cached_property
    def scores(self) -> list[Score]:
        """What was kept in `eval.json`."""
        return scores_in(self.run.scores)

    @property
    def last_step(self) -> int | None:
        """The last step that was logged, or saved if that was later; None before either."""
        logged = self.metrics[-1].get("step") if self.metrics else None
        saved = list_checkpoints(self.run.path / "checkpoints")[:1]
        steps = [logged, *(int(path.name.removeprefix("step_")) for path in saved)]
        return max((step for step in steps if step is not None), default=None)

    def file(self, role: str) -> Path | None:
        """The generator of that role, if it was written."""
        path = self.run.path / f"{role}.safetensors"
        return path if path.exists() else None

    def cost(self, role: str) -> Json | None:
        """The row of that generator."""
        return next((row for row in self.costs if row["role"] == role), None)

    @property
    def role(self) -> str:
        """The generator that the run is about: the student if it trains one."""
        return "student" if self.settings.student is not None else "teacher"

    def stored_latency(self) -> Json | None:
        """What the student's latency was when its shape was chosen, if that was how."""
        found = self.config.get("shrink")
        if isinstance(found, dict) and isinstance(found.get("measured_ms"), int | float):
            return found
        return None


def check_runs(paths: Sequence[Path]) -> list[Path]:
    """The folders of the runs, by default of the latest one, after a look at each.

    Raises:
        ConfigError: if there is none, or one is named twice.
        RunError: if one is no run, or damaged.
    """
    given = [expanded(path) for path in paths] or [
        path for path in [latest_run()] if path is not None
    ]
    if not given:
        raise ConfigError("report: no run given and no latest run in runs/; give a run's folder")
    folders = [path.resolve() for path in given]
    for index, path in enumerate(folders):
        if path in folders[:index]:
            raise ConfigError(f"report {given[index]}: was given already; name each run once")
        if path.is_file():
            raise RunError(f"{given[index]}: is a file; give the folder of a run")
    for path in folders:
        Run.open(path)
    return folders


def subjects_of(paths: Sequence[Path], *, latency: LatencyRequest | None) -> list[Subject]:
    """The runs in these folders, by default the latest one, with what their generators cost.

    Raises:
        ConfigError, RunError: as `check_runs` does.
        CheckpointError: if a generator cannot be opened.
    """
    folders = check_runs(paths)
    return [
        Subject(name, run, *_costs(run, latency))
        for name, run in zip(_names(folders), map(Run.open, folders), strict=True)
    ]


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, with as many of those above as it takes to tell them apart."""
    for depth in range(1, max(len(path.parts) for path in folders) + 1):
        names = ["/".join(path.parts[-depth:]) for path in folders]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in folders]


def _costs(run: Run, latency: LatencyRequest | None) -> tuple[list[Json], Json | None]:
    files = [path for role in ROLES if (path := run.path / f"{role}.safetensors").exists()]
    if not files:
        return [], None
    document: dict[str, Any] = profile_document(files, latency=latency)
    return document["models"], document.get("latency")
