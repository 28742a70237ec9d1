"""What a student may cost: MACs (a number or a share), parameters, bytes or milliseconds."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from gancomp.engine.device import choose_device
from gancomp.errors import ConfigError, RunError
from gancomp.metrics.cost import Cost, cost_terms, measure_cost
from gancomp.metrics.latency import time_in_turns
from gancomp.networks.accelerate import accelerate
from gancomp.networks.base import TappedNetwork
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.registry import build_network
from gancomp.settings import Json, NetworkSettings
from gancomp.shrink.base import Form, ShrinkRequest, Timed
from gancomp.shrink.counted import WidthCosts, width_costs
from gancomp.shrink.kept import KeptLines
from gancomp.shrink.options import BudgetOptions
from gancomp.sizes import Size, sides

Measure = Literal["macs", "params", "bytes", "ms", "share"]
EXAMPLES = "2.4G (MACs), 0.3M (parameters), 600KB, 25ms or 50% of the teacher's MACs"
UNITS: dict[str, tuple[Measure, float]] = {
    "g": ("macs", 1e9),
    "m": ("params", 1e6),
    "k": ("params", 1e3),
    "b": ("bytes", 1),
    "kb": ("bytes", 1e3),
    "mb": ("bytes", 1e6),
    "ms": ("ms", 1),
    "s": ("ms", 1e3),
    "%": ("share", 1e-2),
}
NUM_RUNS = 15
OURS = "gancomp"  # the form that times are of where nothing else is said
TIMES = "times.jsonl"  # beside what else a search keeps
SLACK_IN_TIME = 0.05  # a narrower range below a time is missed by chance too often
CLOSE_IN_TIME = 0.97  # of a budget: as near as a clock tells


@dataclass(frozen=True)
class Budget:
    """The most that one pass of a student may take of one measure."""

    measure: Measure
    most: float


def read_budget(asked: str, text: str) -> Budget:
    """`2.4G`, `0.3M`, `600KB`, `25ms` or `50%`.

    Raises:
        ConfigError: beginning with `asked`, if it is none of them, or nothing.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z%]+)", text.strip().lower())
    measure, unit = UNITS.get(match[2], (None, 0.0)) if match else (None, 0.0)
    if match is None or measure is None:
        raise ConfigError(f"{asked}: is no budget; write {EXAMPLES}")
    most = float(match[1]) * unit
    if not 0 < most < math.inf or (measure == "share" and most > 1):
        raise ConfigError(f"{asked}: must be greater than 0, and a share at most 100%")
    return Budget(measure, most)


class Meter:
    """Measures networks by what a budget limits.

    Args:
        budget: as read.
        options: how MACs are counted.
        size: of the images.
        device: on which milliseconds are measured, see `choose_device`.
        teacher: what milliseconds are measured in turns with.
        form: in which they are measured; by default as gancomp runs networks.
    """

    def __init__(
        self,
        budget: Budget,
        options: BudgetOptions,
        size: Size,
        device: str,
        teacher: NetworkSettings | None = None,
        *,
        form: Form | None = None,
    ) -> None:
        self.budget, self.rule, self.size, self.device = budget, options.budget_rule, size, device
        self.form = form
        self._counts: WidthCosts | None = None
        self._teacher = teacher
        self._clock: Clock | None = None
        self._times: KeptLines | None = None

    @classmethod
    def for_request(cls, request: ShrinkRequest, options: BudgetOptions) -> Meter:
        """What measures by the request's budget, as a way to shrink with such options counts."""
        return cls(
            request.budget,
            options,
            request.size,
            request.device,
            request.teacher,
            form=request.form,
        )

    @property
    def clock(self) -> Clock:
        """That of this machine, started when it is first asked for."""
        if self._clock is None:
            assert self._teacher is not None, "a budget of time needs one"
            teacher = build_network(self._teacher.arch, **self._teacher.arguments())
            device = choose_device(self.device)
            self._clock = Clock(teacher, self.size, device, form=self.form)
            if self._times is not None:
                self._clock.keep_in(self._times)
        return self._clock

    @property
    def in_time(self) -> bool:
        """Whether the budget is of milliseconds, of which no two measurements are equal."""
        return self.budget.measure == "ms"

    def keep_times_in(self, times: KeptLines) -> None:
        """A search's times are kept; see `Clock.keep_in`."""
        self._times = times

    def share_clock(self, other: Meter) -> None:
        """Measures by the other's clock, so that each knows what both have measured."""
        self._clock = other.clock

    def limit(self, teacher: TappedNetwork) -> float:
        """The most that is allowed, in the units of `of`."""
        whole = self._macs(self.cost(teacher)) if self.budget.measure == "share" else 1.0
        return self.budget.most * whole

    def of(self, network: TappedNetwork) -> float:
        """MACs, parameters, bytes or milliseconds of one pass."""
        if self.budget.measure == "ms":
            return self.clock.ms(network)
        cost = self.cost(network)
        counts: dict[str, float] = {"params": cost.params, "bytes": cost.size_bytes}
        return counts.get(self.budget.measure, self._macs(cost))

    def of_settings(self, network: NetworkSettings, *, again: bool = False) -> float:
        """The same of a network with new weights, which cost as much as any.

        Args:
            network: its settings.
            again: measure it once more, where that says more than what is known.
        """
        if self.in_time:
            return self.clock.of_settings(network, again=again)
        return self.of(built_on_meta(network))

    def of_widths(
        self,
        built: Callable[[list[int]], TappedNetwork],
        widths: list[int],
        *,
        again: bool = False,
    ) -> float:
        """The same of the network that `built` makes of widths, on the meta device."""
        if self.in_time:
            network = built(widths)
            settings = NetworkSettings(network.arch, **network.settings())
            return self.of_settings(settings, again=again)
        return self.of_counts(self.counts(built, widths))

    def counts(self, built: Callable[[list[int]], TappedNetwork], widths: list[int]) -> Json:
        """Its `costs`; all are widths of one network."""
        if self._counts is None:
            self._counts = counts_by_widths(built, len(widths), self.size)
        return dict(self._counts.of(widths))

    def of_counts(self, counts: Mapping[str, int]) -> float:
        """The same of a network whose `costs` are known; not for milliseconds."""
        names = {"params": "params", "bytes": "bytes"}
        macs = "macs" if self.rule == "true" else "macs_torchprofile"
        return float(counts[names.get(self.budget.measure, macs)])

    def cost(self, network: TappedNetwork) -> Cost:
        """Of one image."""
        return measure_cost(network, input_shape(network, self.size))

    def _macs(self, cost: Cost) -> float:
        return cost.macs if self.rule == "true" else cost.macs_torchprofile

    def worded_of(self, cost: Callable[..., float]) -> str:
        """What `cost()` says, as a person writes it; of a time `cost(again=True)` too."""
        first = cost()
        return self.worded(first, cost(again=True) if self.in_time else None)

    def worded(self, value: float, again: float | None = None) -> str:
        """A value of `of` as a person writes it, and what a second measurement gave."""
        if self.budget.measure == "params":
            return f"{value:,.0f} parameters"
        if self.budget.measure == "bytes":
            return f"{value:,.0f} bytes"
        if self.budget.measure == "ms":
            both = "" if again is None else f" and, measured again, {again:.3g} ms"
            how = "" if self.form is None else f", {self.clock.how}"
            return f"{value:.3g} ms{both} ({torch.get_num_threads()} threads{how})"
        return f"{value / 1e9:.4g}G MACs" + (" (torchprofile)" if self.rule != "true" else "")


def built_on_meta(network: NetworkSettings) -> TappedNetwork:
    """The network without weights, to be counted."""
    with torch.device("meta"):
        return build_network(network.arch, **network.arguments())


def costs(network: TappedNetwork, size: Size) -> Json:
    """MACs by both rules, parameters and bytes, of one image."""
    cost = measure_cost(network, input_shape(network, size))
    return {
        "macs": cost.macs,
        "macs_torchprofile": cost.macs_torchprofile,
        "params": cost.params,
        "bytes": cost.size_bytes,
    }


def counts_by_widths(
    built: Callable[[list[int]], TappedNetwork], number: int, size: Size
) -> WidthCosts:
    """The `costs` of networks that differ in the widths of their layers.

    Args:
        built: the network of given widths.
        number: of widths.
        size: of the images.
    """
    return width_costs(
        built, number, size, lambda network: cost_terms(network, input_shape(network, size))
    )


def input_shape(network: TappedNetwork, size: Size) -> tuple[int, ...]:
    """Of one image, or of the noise for one."""
    if isinstance(network, SynthesisGenerator):
        return 1, network.latent_size
    settings: dict[str, Any] = network.settings()
    return 1, settings.get("in_channels") or 3, *sides(size)


class Clock:
    """Milliseconds of networks, each timed in turns with the teacher.

    The teacher stays the same, so that the load of a busy machine, which slows both down, cancels
    out: what is compared with a budget is the student's share of the teacher's time, times the
    teacher's median.

    Args:
        teacher: the network to measure by; its weights do not matter.
        size: of the images.
        device: where they are timed, as gancomp runs them; another form is the CPU's.
        num_runs: passes of each, for one figure.
        form: in which both are timed; by default as gancomp runs them.

    Attributes:
        how: what computes them, in words.
    """

    def __init__(
        self,
        teacher: TappedNetwork,
        size: Size,
        device: torch.device,
        *,
        num_runs: int = NUM_RUNS,
        form: Form | None = None,
    ) -> None:
        self.size, self.num_runs, self.form = size, num_runs, form
        self.device = device if form is None else torch.device("cpu")
        self.how = ""
        self._teacher = self._pass(teacher)
        self._medians: list[float] = []
        self._kept: KeptLines | None = None
        self._known: dict[str, float] = {}

    def keep_in(self, times: KeptLines) -> None:
        """Measures a network's settings once, and keeps in `times` what that took.

        A search that goes on measures nothing anew, so that it ends as it would have.

        Raises:
            RunError: if the file cannot be read, or holds times of another form.
        """
        self._kept = times
        for number, record in enumerate(times.read(), 1):
            kept, wanted = record.find("form", str) or OURS, self._form_name
            if kept != wanted:
                raise RunError(
                    f"{times.file}: line {number} is a time of {kept}, this search measures "
                    f"{wanted}; remove the file to measure anew"
                )
            self._known[record.get("network", str)] = record.get("ms", float)
            self._medians.append(record.get("teacher_ms", float))

    def ms(self, network: TappedNetwork) -> float:
        """The median of one image with `network`, in eval mode."""
        runs = {"teacher": self._teacher, "student": self._pass(network)}
        timed = time_in_turns(runs, num_runs=self.num_runs, device=self.device, settled=True)
        self._medians.append(timed["teacher"].median_ms)
        return timed["student"].median_ms / timed["teacher"].median_ms * self.teacher_ms

    def of_settings(self, network: NetworkSettings, *, again: bool = False) -> float:
        """The same of a network with new weights, which take as long as any."""
        key = json.dumps([network.arch, network.arguments()] + ["again"] * again)
        if key not in self._known:
            ms = self.ms(build_network(network.arch, **network.arguments()))
            if self._kept is None:
                return ms
            line = {"network": key, "ms": ms, "teacher_ms": self._medians[-1]}
            self._kept.keep(line if self.form is None else line | {"form": self.form.name})
            self._known[key] = ms
        return self._known[key]

    @property
    def teacher_ms(self) -> float:
        """The teacher's median so far."""
        return statistics.median(self._medians)

    def facts(self, measured: float) -> Json:
        """What was measured, as a run keeps it."""
        return {
            "measured_ms": round(measured, 3),
            "teacher_ms": round(self.teacher_ms, 3),
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            **({} if self.form is None else {"runtime": self.how}),
        }

    @property
    def _form_name(self) -> str:
        return OURS if self.form is None else self.form.name

    def _pass(self, network: TappedNetwork) -> Callable[[], Any]:
        network = network.eval().to(self.device)
        fast: Timed = accelerate(network) if self.form is None else self.form(network, self.size)
        self.how = fast.how
        with self.device:
            inputs = network.example_input(input_shape(network, self.size))
        return lambda: fast(inputs)
