"""The widest student that is fast enough on this machine: `gancomp distill --latency-budget`."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from gancomp.errors import ConfigError
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.budget import Budget, Meter
from gancomp.shrink.options import BudgetOptions, FormOptions
from gancomp.shrink.width import widest


class Latency:
    """A budget of time: `25ms` or `0.025s` for one image on this machine."""

    example = "25ms"
    from_settings = False
    Options = FormOptions

    def __init__(self, options: FormOptions) -> None:
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
        in_ms = replace(request, budget=Budget("ms", request.budget))
        shrunk = widest(request, Meter.for_request(in_ms, BudgetOptions()))
        found = {"asked_ms": request.budget, "size": request.size, **shrunk.found}
        return replace(shrunk, found=found)
