"""`--precision auto`: whether a CPU takes a run's steps faster in bf16, by a short trial.

Some processors compute in bf16 twice as fast as in fp32, others several times more slowly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import torch

from gancomp.errors import ConfigError
from gancomp.methods.base import Method
from gancomp.planning.checks import check
from gancomp.planning.plan import Plan
from gancomp.ranks import current
from gancomp.settings import Json
from gancomp.sizes import sides
from gancomp.training.forecast import parts_of, seconds_of
from gancomp.training.steps import make_reader
from gancomp.training.ways import Silent

AUTO = "auto"
SIDE = 128  # pixels: a step of larger images would take long, and has the same convolutions
WORTH_IT = 0.9  # of the time in fp32: bf16 has 8 bits, which a little time does not pay for

Precision = Literal["fp32", "bf16"]
clock = time.process_time  # what else the machine does has no say


def settle_precision(
    plan: Plan, method: Method, device: torch.device, *, say: Callable[[str], None]
) -> tuple[Plan, Json]:
    """The plan with the precision that `auto` stands for; any other stays what it is.

    The trial takes steps of fresh copies of the run's networks on some of its images and changes
    nothing of what is trained.

    Args:
        plan: of the run.
        method: its own, for the length of its schedule.
        device: where it will be trained; there are trials on CPUs only, and by one process.
        say: is told the outcome.

    Returns: the plan, and for `config.json` the entry `precision`, if there was a choice.
    """
    if plan.settings.run.precision != AUTO:
        return plan, {}
    if device.type != "cpu" or current().size > 1:
        there = f"this is {device.type}" if device.type != "cpu" else "these are several processes"
        say(f"`precision` auto takes fp32: its trials are for one process on a CPU, {there}")
        return _with(plan, "fp32"), {"precision": {"asked": AUTO, "took": "fp32"}}
    with torch.random.fork_rng(devices=[]):
        seconds = _seconds(plan, method)
    if not seconds:
        say("`precision` auto takes fp32: the run is too short for a trial")
        return _with(plan, "fp32"), {"precision": {"asked": AUTO, "took": "fp32"}}
    took: Precision = "bf16" if seconds["bf16"] <= WORTH_IT * seconds["fp32"] else "fp32"
    say(
        f"`precision` auto takes {took}: a small step took {seconds['fp32']:.2f} s of the "
        f"processor in fp32, {seconds['bf16']:.2f} in bf16"
    )
    found = {"asked": AUTO, "took": took, "seconds": seconds, "threads": torch.get_num_threads()}
    return _with(plan, took), {"precision": found}


def _seconds(plan: Plan, method: Method) -> dict[str, float]:
    """What a step takes of the processor, by precision; empty where a trial does not pay."""
    for smaller in _smaller(plan):
        with suppress(ConfigError):  # not every network works at every size
            check(smaller.settings)
            reader = make_reader(smaller, Silent())
            *_, part = parts_of(smaller, method, reader)
            seconds: dict[str, float] = {}
            precisions: tuple[Precision, ...] = ("fp32", "bf16")
            for name in precisions:
                tried = replace(part, plan=_with(smaller, name))
                taken = seconds_of(tried, reader, Silent(), device=torch.device("cpu"), clock=clock)
                if taken is None:
                    return {}
                seconds[name] = round(taken / part.steps, 4)
            return seconds
    return {}


def _smaller(plan: Plan) -> Iterator[Plan]:
    """The plan on smaller images, then as it is."""
    data = plan.settings.data
    if min(sides(data.size)) > SIDE:
        small = replace(data, size=SIDE, load_size=SIDE, cache="off")
        yield replace(plan, settings=replace(plan.settings, data=small))
    yield replace(plan, settings=replace(plan.settings, data=replace(data, cache="off")))


def _with(plan: Plan, precision: Precision) -> Plan:
    run = replace(plan.settings.run, precision=precision)
    return replace(plan, settings=replace(plan.settings, run=run))
