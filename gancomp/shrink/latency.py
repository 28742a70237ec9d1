"""The widest student that is fast enough on this machine: `gancomp distill --latency-budget`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gancomp.declare import NoOptions
from gancomp.engine.device import choose_device
from gancomp.errors import ConfigError
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.budget import latency_ms as latency_of
from gancomp.sizes import Size, in_pixels


@dataclass(frozen=True)
class Choice:
    """The widest network within a budget, and what it takes of it."""

    width: int
    measured: float


class Latency:
    """A budget of time: `25ms` or `0.025s` for one image on this machine."""

    example = "25ms"
    from_settings = False
    Options = NoOptions

    def __init__(self, options: NoOptions) -> None:
        self.options = options

    def read(self, asked: str, budget: str) -> float:
        """The milliseconds of `25ms`, `25` or `0.025s`.

        Raises:
            ConfigError: if the text is no such time, or is 0.
        """
        match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s)?", budget.strip())
        value = float(match[1]) * (1e3 if match[2] == "s" else 1) if match else 0.0
        if not 0 < value < math.inf:
            raise ConfigError(f"{asked}: is no time; write 25ms or 0.025s")
        return value

    def shrink(self, request: ShrinkRequest) -> Shrunk:
        """The widest student that meets the budget, and what was measured.

        Raises:
            ConfigError: if none does, naming what the smallest takes.
        """
        student, size, asked = request.student, request.size, request.asked
        device, threads = choose_device(request.device), torch.get_num_threads()

        def latency_ms(width: int) -> float:
            return student_latency_ms(student.changed(width=width), size, device)

        where = f"one {in_pixels(size)} image on {device.type}, {threads} threads"
        choice = widest_within(request.budget, most=request.teacher.width, cost_of=latency_ms)
        if choice is None:
            raise ConfigError(
                f"{asked}: {student.arch} of width 1 takes {latency_ms(1):.3g} ms for {where}; "
                "give more, or a smaller `size`"
            )
        request.say(
            f"{asked}: {student.arch} of width {choice.width} takes {choice.measured:.3g} ms "
            f"for {where}"
        )
        found = {
            "asked_ms": request.budget,
            "width": choice.width,
            "measured_ms": round(choice.measured, 3),
            "size": size,
            "device": device.type,
            "threads": threads,
        }
        return Shrunk(student.changed(width=choice.width), found=found)


def student_latency_ms(network: NetworkSettings, size: Size, device: torch.device) -> float:
    """Median milliseconds that gancomp takes for one image with such a network.

    Weights do not matter for it, so they are those that a new network has.
    """
    return latency_of(build_network(network.arch, **network.arguments()), size, device)


def widest_within(budget: float, *, most: int, cost_of: Callable[[int], float]) -> Choice | None:
    """The largest width found by bisection whose cost meets the budget twice.

    Latency rises with the width but for small bumps, and no two measurements are equal: what
    bisection finds is measured again and, if it fails then, the next smaller width is tried.

    Args:
        budget: that is to be met.
        most: the largest width to consider.
        cost_of: measures a width.

    Returns: None if not even width 1 meets it.
    """
    meets, fails = 0, most + 1
    while fails - meets > 1:
        width = (meets + fails) // 2
        if cost_of(width) <= budget:
            meets = width
        else:
            fails = width
    for width in range(meets, 0, -1):
        measured = cost_of(width)
        if measured <= budget:
            return Choice(width, measured)
    return None
