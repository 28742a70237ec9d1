"""How a run takes its steps: as they are, replayed, fused, compiled; `--compile auto` tries.

| `--compile` | |
|---|---|
| `off` | every operation is launched by itself |
| `graphs` | a whole step is replayed as a CUDA graph |
| `fused` | InstanceNorm, activation and padding are one Triton kernel |
| `on` | networks are compiled by torch.compile, which fuses more |

`fused+graphs` and `on+graphs` do both. None changes results beyond rounding.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gancomp.data.loader import IndexedDataset, batches
from gancomp.engine.device import choose_device, peak_memory_mb
from gancomp.engine.fit import load_networks
from gancomp.engine.graphs import Graphs
from gancomp.engine.graphs import why_not as why_no_graphs
from gancomp.engine.phases import Progress, Step, optimizers
from gancomp.engine.run import read_config
from gancomp.engine.speed import compilable, speed_up
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.engine.trials import FAILED, Found, Limit, Measure, try_ways
from gancomp.errors import RunError
from gancomp.methods.base import Method
from gancomp.networks.fused import fuse
from gancomp.networks.fused import why_not as why_not_fused
from gancomp.planning.plan import Plan
from gancomp.ranks import current
from gancomp.registry import METHODS, NETWORKS, TASKS
from gancomp.seeding import derive_generator
from gancomp.settings import Json
from gancomp.training.steps import (
    images_per_step,
    load_feature_network,
    make_method,
    make_student,
    make_task,
    make_teacher,
)

AUTO, PLAIN, COMPILED = "auto", "off", "on"
# in the order of their trials: what needs a compiler, which takes longest, comes last
WAYS = (PLAIN, "graphs", "fused", "fused+graphs", COMPILED, "on+graphs")
TRIAL_S = 90.0  # for all ways together
SHARE = 0.1  # of --max-time, at most
WORTH_TRYING = 1000  # steps: fewer are soon taken in any way
FIRST, TIMED = 7, 20  # steps before the clock runs (most are captured by the sixth), and timed ones
TOLERANCE = 0.2  # of a loss after a few steps: rounding grows, a wrong step is far off
Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]


@dataclass(frozen=True)
class Chosen:
    """A way and why.

    Attributes:
        way: one of `WAYS`.
        trials: by way, what was found out.
        seconds: that took.
        device: name of the GPU they were made on; empty: none were made.
    """

    way: str
    trials: dict[str, Found] = field(default_factory=dict)
    seconds: float = 0.0
    device: str = ""

    def to_json(self) -> Json:
        """For `config.json`."""
        return {
            "way": self.way,
            "trials": self.trials,
            "seconds": round(self.seconds, 1),
            "device": self.device,
            "torch": torch.__version__,
        }

    def sentence(self) -> str:
        """What a user is told."""
        rates = [
            f"{way} {found['images_per_second']:.1f}"
            for way, found in self.trials.items()
            if FAILED not in found
        ]
        failed = [
            f"{way} failed: {found[FAILED]}"
            for way, found in self.trials.items()
            if FAILED in found
        ]
        tried = f"images/s: {', '.join(rates)}" if rates else "nothing could be timed"
        parts = "; ".join([tried, *failed])
        return f"`compile` auto takes {self.way} after {self.seconds:.0f} s of trials ({parts})"


def choose_way(
    plan: Plan,
    reader: IndexedDataset,
    device: torch.device,
    *,
    say: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
) -> Chosen:
    """The way that `--compile` names; for `auto`, on a GPU, the fastest of short trials.

    A run that goes on, on the same GPU, takes what it took before. One of few steps takes none but
    the plain way. Trials are made by a process of its own with networks and images of its own.

    Args:
        plan: of the run.
        reader: of the training images, whose shapes count.
        device: where it will be trained.
        say: is told the outcome of trials.
        stopped: whether somebody asks to stop.
    """
    wanted = plan.settings.run.compile
    if plan.settings.method.quantization_aware:  # some of its steps run other operations
        return Chosen(PLAIN)
    if device.type != "cuda":
        return Chosen(without_a_gpu(wanted, say))
    if current().size > 1 and wanted == AUTO:
        return Chosen(PLAIN)
    if wanted != AUTO:
        return Chosen(wanted)
    if before := chosen_before(plan, torch.cuda.get_device_name(device)):
        return before
    schedule = plan.settings.schedule
    if schedule.max_steps is not None and schedule.max_steps < WORTH_TRYING:
        return Chosen(PLAIN)
    seconds = TRIAL_S
    if schedule.max_seconds is not None:
        seconds = min(seconds, SHARE * schedule.max_seconds)
    chosen = fastest(trial_of(plan, reader, device), WAYS, Limit(seconds, stopped))
    chosen = replace(chosen, device=torch.cuda.get_device_name(device))
    say(chosen.sentence())
    return chosen


def without_a_gpu(wanted: str, say: Callable[[str], None]) -> str:
    """What there is of the wanted way without an NVIDIA GPU; `say` is told what there is not."""
    if wanted in (AUTO, PLAIN, COMPILED):
        return PLAIN if wanted == AUTO else wanted
    say(f"`compile` {wanted}: needs an NVIDIA GPU; training goes on without")
    return COMPILED if COMPILED in wanted.split("+") else PLAIN


def chosen_before(plan: Plan, device: str) -> Chosen | None:
    """What an earlier sitting of the run chose after trials on the same kind of device."""
    if not plan.resume:
        return None
    with suppress(RunError):  # what is wrong with the file is said by who needs more of it
        saved = read_config(plan.out).values.get("speed")
        known = saved if isinstance(saved, dict) else {}
        same = (known.get("device"), known.get("torch")) == (device, torch.__version__)
        if same and known.get("way") in WAYS:
            return Chosen(known["way"], known.get("trials", {}), known.get("seconds", 0.0), device)
    return None


def fastest(prepare: Callable[[], Measure], ways: tuple[str, ...], limit: Limit) -> Chosen:
    """Tries the ways, the first of which is the plain one; takes the fastest that does the same."""
    began = time.monotonic()
    trials = try_ways(prepare, ways, limit)
    plain = trials[ways[0]]
    best = ways[0]
    for way, found in trials.items():
        if FAILED in found or FAILED in plain:
            continue
        if odd := _differs(found["losses"], plain["losses"]):
            trials[way] = {FAILED: odd}
        elif found["images_per_second"] > trials[best]["images_per_second"]:
            best = way
    return Chosen(best, trials, time.monotonic() - began)


def _differs(losses: dict[str, float], plain: dict[str, float]) -> str | None:
    """Which term is not that of the plain way, or None; the largest terms set the scale."""
    if losses.keys() != plain.keys():
        return "its losses have other names"
    scale = max(map(abs, plain.values()), default=0.0) * TOLERANCE / 10
    for name, value in plain.items():
        if not abs(losses[name] - value) <= TOLERANCE * abs(value) + scale:
            return f"{name} is {losses[name]:.4g} instead of {value:.4g}"
    return None


def use_way(
    method: Method,
    device: torch.device,
    way: str,
    *,
    precision: str,
    say: Callable[[str], None],
) -> Graphs | None:
    """Puts a method, before its first step, into the form in which it is trained that way.

    Args:
        method: with all its networks, on `device` already.
        device: where it will be trained.
        way: one of `WAYS`.
        precision: as `--precision`.
        say: is told what does not work here; training goes on without it.

    Returns: what takes the steps, if they are replayed.
    """
    words = way.split("+")
    speed_up(method, device, compiled=COMPILED if COMPILED in words else PLAIN, say=say)
    if "fused" in words:
        if reason := why_not_fused(device):
            say(f"`compile` {way}: {reason}; training goes on without")
        else:
            fuse(method.modules())
    if "graphs" not in words:
        return None
    if reason := why_no_graphs(method, device):
        say(f"`compile` {way}: {reason}; training goes on without")
        return None
    return Graphs(method, precision=precision, device=device, say=say)


def trial_of(plan: Plan, reader: IndexedDataset, device: torch.device) -> Callable[[], Measure]:
    """What a process needs to try ways of taking a plan's steps."""
    first = batches(
        reader, batch_size=images_per_step(plan), seed=plan.settings.run.seed, workers=0
    )
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in next(first).items()}
    first.close()
    tables = dict(METHODS), dict(NETWORKS), dict(TASKS)  # plug-ins may have added to them
    return partial(Trial, replace(plan, initial=None), shapes, str(device), tables)


class Trial:
    """Takes a plan's steps on images made up, each way from the same weights.

    Args:
        plan: of the run; none of its files is written to.
        shapes: of a batch's tensors.
        device: its name.
        tables: of methods, networks and tasks, as they are in the run's own process.
    """

    def __init__(
        self, plan: Plan, shapes: Shapes, device: str, tables: tuple[dict[str, str], ...]
    ) -> None:
        for table, known in zip((METHODS, NETWORKS, TASKS), tables, strict=True):
            table.update(known)
        settings = plan.settings
        self.precision, self.device = settings.run.precision, choose_device(device)
        teacher = make_teacher(settings, resume=True)  # any weights do
        self.method = make_method(
            plan,
            make_task(settings, teacher, resume=True),
            make_student(settings, resume=True),
            load_feature_network(plan, Silent()),
        ).to(self.device)
        self.method.train()
        self.batches = [
            {name: _made_up(*shape, number) for name, shape in shapes.items()}
            for number in range(3)
        ]
        self.start = {
            name: _copied(network.state_dict()) for name, network in self.method.networks().items()
        }

    def __call__(self, way: str) -> Found:
        """Images/s, the peak memory, and the losses after `FIRST` steps.

        Raises:
            RunError: if the way does not work here.
        """
        self._begin_anew()
        said: list[str] = []
        graphs = use_way(self.method, self.device, way, precision=self.precision, say=said.append)
        if said:
            raise RunError(said[0])
        watch = FiniteWatch(late=self.device.type == "cuda")
        for index in range(FIRST):
            losses = self._step(index, graphs, watch)
        known = {name: float(value) for name, value in losses.items()}
        seconds = []
        for index in range(FIRST, FIRST + TIMED):
            began = time.perf_counter()
            losses = self._step(index, graphs, watch)
            float(next(iter(losses.values())))  # waits for the step
            seconds.append(time.perf_counter() - began)
        watch.settle()
        if graphs is not None and (said or not graphs.num_captured):
            raise RunError(said[0] if said else "no step was captured")
        num_images = len(next(iter(self.batches[0].values())))
        return {
            # of the median step: rarer phases may be captured, or compiled, in the midst of it
            "images_per_second": num_images / statistics.median(seconds),
            "peak_memory_mb": round(peak_memory_mb(self.device)),
            "losses": known,
        }

    def _step(self, index: int, graphs: Graphs | None, watch: FiniteWatch) -> dict[str, Tensor]:
        batch = {
            name: value.to(self.device, non_blocking=True)
            for name, value in self.batches[index % len(self.batches)].items()
        }
        step, progress = Step(index, batch), Progress(index, 0, 1)
        if graphs is not None:
            return graphs.take(step, progress, rate=1.0, watch=watch)
        return take_step(
            self.method,
            step,
            progress,
            rate=1.0,
            precision=self.precision,
            device=self.device,
            watch=watch,
        )

    def _begin_anew(self) -> None:
        load_networks(self.method.networks(), _copied(self.start))
        for optimizer in optimizers(self.method.phases()).values():
            optimizer.zero_grad(set_to_none=True)
            optimizer.state.clear()
        fuse(self.method.modules(), on=False)
        for network in compilable(self.method):
            network._compiled_call_impl = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)


class Silent:
    """A view that shows nothing."""

    def start(self, total_steps: int, step: int) -> None:
        """Nothing."""

    def advance(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


def _copied(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return state


def _made_up(shape: tuple[int, ...], dtype: torch.dtype, number: int) -> Tensor:
    """Noise in [-1, 1]; of whole numbers, such as labels, zeros."""
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    values = torch.rand(shape, generator=derive_generator(number, "trial", len(shape)), dtype=dtype)
    return values * 2 - 1
