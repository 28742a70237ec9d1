"""The last steps of a student that is meant for 8 bits: its convolutions round as they will then.

The losses stay what they are, and so does what is saved: the student's weights, in full precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gancomp.engine.fit import Loop
from gancomp.methods.base import Method
from gancomp.networks.fake_quantized import FakeQuantization
from gancomp.planning.plan import Plan

SHARE = 10  # of the steps, one in as many


@dataclass(frozen=True)
class Finishing:
    """Which steps round.

    Attributes:
        first: index of the first one, from 0; None if none does.
        say: is told what happens.
    """

    first: int | None
    say: Callable[[str], None]

    def tell(self, step: int) -> None:
        """Says so if the run ended, after `step` steps, before any of them."""
        if self.first is not None and step <= self.first:
            self.say(
                f"warning: `quantization_aware`: the run ended before step {self.first + 1}, the "
                "first in 8 bits; go on with `resume=True`"
            )


def finish_quantized(plan: Plan, method: Method, loop: Loop) -> Finishing:
    """Lets the student's convolutions round in the last steps of `loop`, if that is asked for."""
    wanted = plan.settings.method
    if not wanted.quantization_aware:
        return Finishing(None, loop.view.say)
    total = loop.total_steps()
    steps = min(total, wanted.quantized_steps or max(1, total // SHARE))
    first, rounding = total - steps, FakeQuantization(method.generators()["student"])
    loop.view.say(
        f"`quantization_aware`: {len(rounding.layers)} convolutions of the student round to 8 "
        f"bits from step {first + 1} of {total} on"
    )
    loop.prepare = lambda index: rounding.switch(on=index >= first)
    return Finishing(first, loop.view.say)
