"""Searches for shapes on tiny networks, and budgets at full size without weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import random_batch, small_generator, small_task
from golden_values import u
from torch import Tensor

from gancomp.engine.phases import HELD_OUT, Progress, Step
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.methods.base import Method
from gancomp.networks.base import TappedNetwork
from gancomp.settings import NetworkSettings, OptimizerSettings
from gancomp.shrink.base import SearchSetup, ShrinkRequest
from gancomp.shrink.budget import TIMES, Clock, Meter, built_on_meta
from gancomp.shrink.candidates import Candidates
from gancomp.shrink.genes import Mask
from gancomp.shrink.kept import KeptLines
from gancomp.shrink.ranked import Channels, cut_to, filled_up


class KilledError(BaseException):
    """What no handler of errors catches."""


def setup_of(
    shrinker: Any,
    budget: str,
    *,
    teacher: TappedNetwork | None = None,
    settings: NetworkSettings | None = None,
    student_arch: str | None = None,
    size: int = 16,
    steps: int = 3,
    folder: Path | None = None,
) -> SearchSetup:
    """A search's, on a trained teacher; without one, on the settings of what is to be pruned.

    Times that it measures are kept in `folder`.
    """
    if teacher is not None:
        settings = NetworkSettings(teacher.arch, **teacher.settings())
    assert settings is not None
    request = ShrinkRequest(
        settings,
        settings.changed(arch=student_arch or settings.arch),
        shrinker.read("", budget),
        f"`budget` {budget}",
        size,
        "cpu",
        open_teacher=None if teacher is None else lambda: teacher,
        say=lambda text: None,
    )
    return SearchSetup(
        request,
        teacher_task=lambda **own: small_task(
            frozen=True, generator=teacher or small_generator(4), **own
        ),
        fresh_task=lambda generator: small_task(generator=generator),
        optimizer=OptimizerSettings(),
        seed=0,
        paired=False,
        steps=steps,
        times=KeptLines(folder and folder / TIMES),
    )


def train(
    method: Method, num_steps: int, start: int = 0, *, first: int = 0
) -> list[dict[str, Tensor]]:
    """Takes steps from `first` on, on images that follow from their index and `start`.

    Some images are set aside. Returns the terms of each step.
    """
    found = []
    for index in range(first, first + num_steps):
        batch = random_batch(1, 16, seed=start + index)
        aside = random_batch(1, 16, seed=100 + start + index)
        terms = take_step(
            method,
            Step(index, batch | {f"{HELD_OUT}{name}": images for name, images in aside.items()}),
            Progress(index, 0, 1),
            rate=1.0,
            precision="fp32",
            device=torch.device("cpu"),
            watch=FiniteWatch(late=False),
        )
        found.append(terms)
    return found


def golden_mask(k: int) -> Mask:
    """Of Co-Evolution's golden values."""
    return tuple(int(bit) for bit in u((640,), k) > 0.4)


def unscored(network: TappedNetwork) -> float:
    raise AssertionError("nothing is scored by images")


def kept_in(folder: Path, name: str = "search.jsonl") -> Candidates:
    return Candidates(folder / name, say=lambda text: None)


def share_reached(
    shrinker: Any,
    arch: str,
    width: int,
    budget: str,
    *,
    draw: Callable[[int, torch.Generator], Tensor],
    floors: Callable[[TappedNetwork], Sequence[int]] = lambda network: [],
) -> float:
    """Of a budget at 256 pixels, by scores that are drawn: nothing is trained, none has weights."""
    network = built_on_meta(NetworkSettings(arch, width))
    channels, numbers = Channels(network), torch.Generator().manual_seed(0)
    scores = [draw(each, numbers) for each in channels.widths.widths]
    least = list(floors(network)) or [1] * len(scores)
    meter = Meter(shrinker.read("", budget), shrinker.options, 256, "cpu")

    def cost(widths: list[int]) -> float:
        return meter.of_widths(channels.widths.built, widths)

    limit = meter.budget.most
    cut = cut_to(scores, least, cost=cost, limit=limit)
    assert cut is not None
    cut = filled_up(cut, scores, cost=cost, limit=limit)
    assert all(width >= floor for width, floor in zip(cut.widths, least, strict=True))
    return cut.cost / limit


def evenly(number: int, numbers: torch.Generator) -> Tensor:
    return torch.rand(number, generator=numbers, dtype=torch.float64)


def as_masks(number: int, numbers: torch.Generator) -> Tensor:
    return torch.randn(number, generator=numbers, dtype=torch.float64) * 0.2


def clocked(
    monkeypatch: pytest.MonkeyPatch, slower: Callable[[int], float] = lambda call: 1
) -> None:
    """A clock that takes a microsecond a parameter, times `slower(its how manieth measurement)`."""
    calls = itertools.count()

    def by_parameters(clock: Clock, network: TappedNetwork) -> float:
        clock._medians.append(10.0)
        numbers: float = sum(value.numel() for value in network.parameters())
        return numbers / 1e3 * float(slower(next(calls)))

    monkeypatch.setattr(Clock, "ms", by_parameters)
