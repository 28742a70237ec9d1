"""A training loop around a small method, without a run's folder or data; a view that keeps all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gancomp.console import ConsoleView
from gancomp.engine.fit import Loop
from gancomp.engine.run import RunFolder
from gancomp.settings import RunSettings, ScheduleSettings


def loop_of(method: Any, device: str = "cpu", *, precision: str = "fp32", **length: Any) -> Loop:
    """For `run_step`; `length` are fields of `ScheduleSettings`."""
    return Loop(
        method=method,
        run=RunFolder(Path("unused")),
        settings=RunSettings(precision=precision),
        schedule=ScheduleSettings(**length),
        device=torch.device(device),
        steps_per_epoch=10,
        batches=lambda step: iter(()),
        periodic=[],
        saved=lambda step: None,
        view=None,  # type: ignore[arg-type]  # nothing is shown
    )


class Told(ConsoleView):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    def advance(self, record: dict[str, Any]) -> None:
        self.lines.append(f"step {record['step']}")
