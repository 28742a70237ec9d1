"""The widest student within a budget of MACs, parameters, bytes or time."""

from __future__ import annotations

import torch

from gancomp.errors import ConfigError
from gancomp.settings import NetworkSettings
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.budget import Budget, Meter, built_on_meta, costs, read_budget
from gancomp.shrink.latency import widest_within
from gancomp.shrink.options import BudgetOptions
from gancomp.shrink.ratio import narrowed


class Width:
    """The same kind of network, as wide as the budget allows: steps of one unit of the width.

    A share is of the teacher's MACs, where `ratio` has one of its channels.
    """

    example = "2.4G"
    from_settings = False
    Options = BudgetOptions

    def __init__(self, options: BudgetOptions) -> None:
        self.options = options

    def read(self, asked: str, budget: str) -> Budget:
        """The budget.

        Raises:
            ConfigError: if it is none.
        """
        return read_budget(asked, budget)

    def shrink(self, request: ShrinkRequest) -> Shrunk:
        """The widest student within the budget, and what it costs.

        Raises:
            ConfigError: if there is none, naming what the smallest takes.
        """
        meter = Meter(request.budget, self.options, request.size, request.device)
        teacher, most = request.teacher, request.teacher.width

        def student(width: int) -> NetworkSettings:
            return narrowed(request.student.changed(width=width), 1.0)

        limit = meter.limit(built_on_meta(teacher))
        choice = widest_within(limit, most=most, cost_of=lambda k: meter.of_settings(student(k)))
        if choice is None:
            raise ConfigError(
                f"{request.asked}: {request.student.arch} of width 1 takes "
                f"{meter.worded(meter.of_settings(student(1)))}; give more"
            )
        chosen = student(choice.width)
        found = {"width": choice.width, **costs(built_on_meta(chosen), request.size)}
        if meter.budget.measure == "ms":
            found |= {"measured_ms": round(choice.measured, 3), "threads": torch.get_num_threads()}
        request.say(
            f"{request.asked}: {chosen.arch} of width {choice.width} takes "
            f"{meter.worded(choice.measured)}"
        )
        return Shrunk(chosen, found=found)
