"""A toy that a training loop trains, and what the loop leaves of it."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gancomp.engine.checkpoint import Checkpoint, load_newest
from gancomp.engine.fit import Loop, Outcome, fit
from gancomp.engine.phases import Phase, Step
from gancomp.engine.run import RunFolder
from gancomp.engine.stopping import StopWish
from gancomp.seeding import derive_generator
from gancomp.settings import RunSettings, ScheduleSettings

CPU = torch.device("cpu")


class Toy(nn.Module):
    """Two linear maps with dropout, trained in turns: all that a loop can get wrong, no images."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, width), nn.Linear(width, 1)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, generator=generator)
        self._phases = [
            Phase(name, module, torch.optim.Adam(module.parameters(), lr=rate), every=every)
            for name, module, every, rate in (
                ("first", self.first, 1, 0.01),
                ("second", self.second, 2, 0.03),
            )
        ]
        self.spoil: tuple[str, int] | None = None
        self.seen: list[tuple[str, int, Tensor]] = []

    def phases(self) -> list[Phase]:
        return self._phases

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        hidden = nn.functional.dropout(self.first(step.batch["source"]), 0.5)
        loss = self.second(hidden).square().mean()
        self.seen.append((phase, step.index, step.batch["source"]))
        bad = self.spoil == (phase, step.index)
        return {"fit": loss, "style": loss * (torch.nan if bad else 0.1)}

    def networks(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second}

    def schedule_epoch(self, epoch: int) -> int:
        return epoch

    def num_epochs(self, schedule_epochs: int) -> int:
        return schedule_epochs


class Watch:
    """A view that remembers and, at a step, may send this process a signal."""

    def __init__(self, signal_at: int | None = None) -> None:
        self.signal_at, self.started, self.finished = signal_at, (-1, -1), 0
        self.records: list[dict[str, Any]] = []

    def start(self, total_steps: int, step: int) -> None:
        self.started = (total_steps, step)

    def advance(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        if record["step"] == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def say(self, message: str) -> None:
        assert "nothing left to do" in message or "the schedule is done" in message, message

    def finish(self) -> None:
        self.finished += 1


def batches(step: int) -> Iterator[dict[str, Tensor]]:
    while True:
        generator = derive_generator(0, "toy", step)
        yield {"source": torch.rand(2, 2, generator=generator)}
        step += 1


def make_loop(folder: Path, toy: Toy, *, view: Watch | None = None, **changes: Any) -> Loop:
    for name in ("checkpoints", "samples"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    limits = {name: changes.pop(name) for name in ("max_steps", "max_seconds") if name in changes}
    schedule = ScheduleSettings(**{"epochs": 2, "decay_epochs": 2} | limits)
    return Loop(
        method=toy,
        run=RunFolder(folder),
        settings=RunSettings(**{"checkpoint_every": 2, "log_every": 1} | changes),
        schedule=schedule,
        device=CPU,
        steps_per_epoch=3,
        batches=batches,
        periodic=[],
        saved=lambda step: None,
        view=view or Watch(),
    )


def train(folder: Path, toy: Toy | None = None, **changes: Any) -> Outcome:
    """Trains in `folder` from its newest checkpoint or the start."""
    loop = make_loop(folder, toy or Toy(), **changes)
    return fit(loop, checkpoint=newest(folder), stop=StopWish())


def newest(folder: Path) -> Checkpoint | None:
    return load_newest(folder / "checkpoints", pytest.fail)


def state(folder: Path) -> tuple[int, dict[str, Any]]:
    found = newest(folder)
    assert found is not None
    return found.step, {key: value for key, value in found.state.items() if key != "outcome"}


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(folder: Path) -> list[tuple[int, Any, Any]]:
    return [(record["step"], record["losses"], record["lr"]) for record in metrics(folder)]
