"""What phases share and do after their turn: optimizers, averages, notes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Progress, Step, optimizers
from gancomp.engine.step import FiniteWatch, take_step

CPU = torch.device("cpu")


class Two(nn.Module):
    """A main phase and a lazy one with the same optimizer, and a second network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 1), nn.Linear(1, 1)
        shared = torch.optim.SGD(self.first.parameters(), lr=0.5)
        self.seen: list[tuple[str, int, float]] = []
        self._phases = [
            Phase("first", self.first, shared, after=self.look),
            Phase("lazy", self.first, shared, every=2),
            Phase("second", self.second, torch.optim.SGD(self.second.parameters(), lr=0.1)),
        ]

    def look(self, index: int) -> None:
        self.seen.append(("after", index, self.first.weight.item()))

    def phases(self) -> list[Phase]:
        return self._phases

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        module = self.second if phase == "second" else self.first
        self.seen.append((phase, step.index, self.first.weight.item()))
        step.notes["first/weight"] = self.first.weight.detach().sum()
        return {"size": module.weight.square().sum()}


def step_of(method: Any, index: int) -> dict[str, Tensor]:
    return take_step(
        method,
        Step(index, {}),
        Progress(index, 0, 1),
        rate=1.0,
        precision="fp32",
        device=CPU,
        watch=FiniteWatch(late=False),
    )


def test_a_shared_optimizer_is_named_once_by_the_first_of_its_phases() -> None:
    method = Two()
    found = optimizers(method.phases())
    assert list(found) == ["first", "second"]
    assert found["first"] is method.phases()[1].optimizer


def test_a_phase_is_followed_by_what_comes_after_it_when_its_weights_have_moved() -> None:
    method = Two()
    step_of(method, 0)
    (_, _, before), (_, _, after), (_, _, later) = method.seen[:3]
    assert [name for name, _, _ in method.seen] == ["first", "after", "lazy", "second"]
    assert after == 0.0 != before  # 0.5 times the square's gradient is the weight itself
    assert later == after
    step_of(method, 1)
    assert [(name, index) for name, index, _ in method.seen[4:]] == [
        ("first", 1), ("after", 1), ("second", 1),
    ]  # fmt: skip


def test_notes_are_logged_beside_the_losses_and_minimized_by_nobody() -> None:
    method = Two()
    weight = method.second.weight.item()
    logged = step_of(method, 1)
    assert list(logged) == ["first/size", "second/size", "first/weight"]
    assert method.second.weight.item() == torch.tensor(weight * (1 - 0.2)).item()
