"""`gancomp bench synthesis`: StyleGAN2's training step beside the same step written plainly."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

from gancomp.bench import report
from gancomp.bench.contestants import (
    MEMORY,
    PROFILE,
    REST,
    ContestantProcess,
    Runs,
    ask_all,
    open_contestant,
    take_turns,
)
from gancomp.bench.literal_synthesis import PHASES, LiteralSynthesis
from gancomp.data.images import say_on_stderr
from gancomp.engine.device import choose_device
from gancomp.engine.phases import Progress, Step
from gancomp.engine.speed import speed_up
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.errors import ConfigError
from gancomp.methods.base import Components
from gancomp.methods.synthesis import Gan
from gancomp.methods.synthesis_options import GanOptions
from gancomp.metrics.latency import Latency
from gancomp.networks.stylegan2 import RESOLUTIONS
from gancomp.networks.stylegan2_discriminator import group_size
from gancomp.seeding import derive_generator
from gancomp.settings import AdversarialSettings, Json, NetworkSettings, OptimizerSettings
from gancomp.tasks.base import new_network
from gancomp.tasks.synthesis import SynthesisTask

OURS, PLAIN = "gancomp", "literal"
STEP = "step"  # with all four phases
CYCLE, CYCLE_TURNS = "cycle", "turns"  # steps until the phases repeat; what was done in them
GENERATOR, PATH, DISCRIMINATOR, R1 = TURNS = ("generator", "path", "discriminator", "r1")
PHASE_OF = dict(zip(TURNS, PHASES, strict=True))
RULES = GanOptions()
EVERY = {GENERATOR: 1, PATH: RULES.path_every, DISCRIMINATOR: 1, R1: RULES.r1_every}
CYCLE_STEPS = max(EVERY.values())
OPTIMIZER = OptimizerSettings(lr=2e-3, beta1=0.0, beta2=0.99)
Take = Callable[[Collection[str], int, int], dict[str, float]]


@dataclass(frozen=True)
class SynthesisRequest:
    """What is trained: StyleGAN2 alone, with R1 and path lengths, on images made up once.

    Attributes:
        size: height and width of the images in pixels.
        batch_size: images per step.
        width: of generator and discriminator; the published network has 512.
        rounds: timed runs of each phase of each side.
        cycles: timed runs of as many steps as it takes until the lazy phases repeat, of each side.
        warm_up: rounds before that.
        device: as `--device`.
        threads: CPU threads of each side, None for torch's choice.
        compiled: torch.compile for gancomp's networks; None for what training does on that device.
        profile: how the time of each side's step divides among operations.
    """

    size: int = 64
    batch_size: int = 4
    width: int = 128
    rounds: int = 5
    cycles: int = 1
    warm_up: int = 1
    device: str = "auto"
    threads: int | None = None
    compiled: bool | None = None
    profile: bool = False

    def __post_init__(self) -> None:
        """Refuses numbers that no step can be made with.

        Raises:
            ConfigError: naming the option.
        """
        for name in ("batch_size", "width", "rounds", "cycles", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`{name}` {value}: must be at least 1")
        if self.size not in RESOLUTIONS:
            known = ", ".join(map(str, RESOLUTIONS))
            raise ConfigError(f"`size` {self.size}: stylegan2 knows {known}")
        try:
            group_size(self.batch_size)
        except ValueError as error:
            raise ConfigError(f"`batch_size` {self.batch_size}: {error}") from error
        choose_device(self.device)


def bench_synthesis(request: SynthesisRequest, say: Callable[[str], None]) -> Json:
    """Times gancomp's StyleGAN2 step beside the literal one, each in a process of its own.

    Returns: the document of `bench synthesis --json`. A full step is what one costs in the long
        run: generator and discriminator, a fourth of the path lengths, a sixteenth of R1, by the
        times of these phases. Beside that each phase's milliseconds, what the lazy phases cost,
        and how far the losses of the first step are apart, relative to the literal ones.

    Raises:
        ConfigError: for a device that is not there, or a width without channels.
    """
    report.use_threads(request.threads)
    device = choose_device(request.device)
    build(request)  # complains here rather than in the sides
    measured = _measure(request, device, say)
    full = {name: full_step(phases) for name, phases in measured.phases.items()}
    document = report.document(
        "synthesis",
        f"StyleGAN2's training step, {request.size} px, batch {request.batch_size}, width "
        f"{request.width}, generator + discriminator + path / {EVERY[PATH]} + R1 / {EVERY[R1]}",
        full,
        of=OURS,
        device=device,
        num_images=request.batch_size,
        peak_memory_mb=measured.memory,
    )
    return document | _details(measured)


@dataclass(frozen=True)
class _Measured:
    phases: dict[str, dict[str, Latency]]  # by side, then by phase
    cycles: dict[str, Latency]
    turns: dict[str, dict[str, int]]  # of each phase within a cycle
    memory: dict[str, float]
    first: dict[str, dict[str, float]]
    profiles: dict[str, dict[str, float]]


def _measure(
    request: SynthesisRequest, device: torch.device, say: Callable[[str], None]
) -> _Measured:
    with ExitStack() as stack:
        sides: dict[str, ContestantProcess] = {
            name: stack.enter_context(
                open_contestant("synthesis", partial(_prepare, request, name))
            )
            for name in (PLAIN, OURS)
        }
        first = {}
        for name, side in sides.items():
            say(f"{name}: first step, which is not timed (and compiles)")
            first[name] = side.ask(STEP)
            side.ask(REST)
        by_phase = take_turns(
            sides, TURNS, device, rounds=request.rounds, warm_up=request.warm_up, say=say
        )
        say(f"{CYCLE_STEPS} steps in a row, of each side")
        timed = take_turns(sides, [CYCLE], device, rounds=request.cycles, warm_up=0, say=say)
        turns = ask_all(sides, CYCLE_TURNS)
        memory = ask_all(sides, MEMORY)
        profiles = ask_all(sides, f"{PROFILE} {STEP}") if request.profile else {}
    phases = {name: {turn: by_phase[turn][name] for turn in TURNS} for name in sides}
    return _Measured(phases, timed[CYCLE], turns, memory, first, profiles)


def amortized(times: Mapping[str, float]) -> float:
    """The time of a step in the long run, by those of its phases."""
    return sum(times[turn] / every for turn, every in EVERY.items())


def full_step(phases: Mapping[str, Latency]) -> Latency:
    """The times of a step in the long run, by those of its phases."""
    median, least, most = (
        amortized({turn: getattr(latency, name) for turn, latency in phases.items()})
        for name in ("median_ms", "min_ms", "max_ms")
    )
    worked = {turn: latency.processor_ms for turn, latency in phases.items()}
    known = {turn: value for turn, value in worked.items() if value is not None}
    processor = amortized(known) if len(known) == len(worked) else None
    return Latency(median, least, most, phases[GENERATOR].num_runs, processor)


def lazy_costs(times: Mapping[str, float], cycle_ms: float) -> Json:
    """What the lazy phases cost.

    Args:
        times: milliseconds of each phase.
        cycle_ms: of `CYCLE_STEPS` steps in a row.

    Returns: the time of a cycle as measured and as the phases' times add up to, each lazy phase's
        share of a full step, and by what factor a step would take longer if each were in every one.
    """
    full, plain = amortized(times), times[GENERATOR] + times[DISCRIMINATOR]
    return {
        "steps": CYCLE_STEPS,
        "measured_ms": round(cycle_ms, 3),
        "added_up_ms": round(full * CYCLE_STEPS, 3),
        "measured_over_added_up": round(cycle_ms / (full * CYCLE_STEPS), 4),
        "share": {turn: round(times[turn] / EVERY[turn] / full, 4) for turn in (PATH, R1)},
        "over_none": round(full / plain, 4),
        "every_step_over_lazy": round(sum(times.values()) / full, 4),
    }


def _details(measured: _Measured) -> Json:
    """What this benchmark's document has beyond times and memory of a full step."""
    plain, ours = measured.first[PLAIN], measured.first[OURS]
    difference = max(abs(ours[term] - value) / abs(value) for term, value in plain.items())
    phases, lazy, notes = {}, {}, []
    for name, latencies in measured.phases.items():
        phases[name] = {
            turn: {
                "median": round(latency.median_ms, 3),
                "min": round(latency.min_ms, 3),
                "max": round(latency.max_ms, 3),
            }
            for turn, latency in latencies.items()
        }
        medians = {turn: latency.median_ms for turn, latency in latencies.items()}
        costs = lazy_costs(medians, measured.cycles[name].median_ms)
        lazy[name] = costs | {"turns": measured.turns[name]}
        parts = ", ".join(f"{turn} {ms:.0f} ms" for turn, ms in medians.items())
        share = costs["share"]
        notes += [
            f"{name}: {parts}",
            f"{name}: {CYCLE_STEPS} steps took {costs['measured_ms']:.0f} ms, "
            f"{costs['measured_over_added_up']:.2f} times what their phases add up to; "
            f"path lengths are {share[PATH]:.0%} of it and R1 {share[R1]:.0%}; in every step they "
            f"would make it {costs['every_step_over_lazy']:.2f} times as long",
        ]
    notes.append(f"largest relative difference of a loss from the literal step's: {difference:.1e}")
    for name, spent in measured.profiles.items():
        operators = ", ".join(f"{operator} {ms:.0f}" for operator, ms in spent.items())
        notes.append(f"{name}, ms by operator: {operators}")
    return {
        "phases_ms": phases,
        "lazy": lazy,
        "loss_difference": difference,
        "profile": measured.profiles,
        "notes": notes,
    }


def _prepare(request: SynthesisRequest, name: str) -> tuple[Runs, torch.device]:
    """The runs of one side, and its device."""
    device = choose_device(request.device)
    report.use_threads(request.threads)
    method = build(request).to(device)
    images = made_up_images(request).to(device)
    if name == PLAIN:
        return runs_of(literal_take(method, images)), device
    compiled = {None: "auto", True: "on", False: "off"}[request.compiled]
    speed_up(method, device, compiled=compiled, say=say_on_stderr)
    return runs_of(gancomp_take(method, images, device)), device


def literal_take(method: Gan, images: Tensor) -> Take:
    """Takes the named phases of a step, as far as they have their turn, written plainly."""
    literal = LiteralSynthesis(method, OPTIMIZER)

    def take(turns: Collection[str], index: int, number: int) -> dict[str, float]:
        phases = [PHASE_OF[turn] for turn in turns if number % EVERY[turn] == 0]
        return literal.turns(phases, index, images)

    return take


def gancomp_take(method: Gan, images: Tensor, device: torch.device) -> Take:
    """Takes the named phases of a step, as far as they have their turn, as training does."""
    wanted: set[str] = set()

    def active(name: str, progress: Progress) -> bool:
        return name in wanted

    for phase in method.phases():
        phase.active = partial(active, phase.name)
    watch = FiniteWatch(late=device.type == "cuda")
    batch = {"image": images.contiguous(memory_format=torch.channels_last)}

    def take(turns: Collection[str], index: int, number: int) -> dict[str, float]:
        wanted.clear()
        wanted.update(PHASE_OF[turn] for turn in turns)
        losses = take_step(
            method,
            Step(index, dict(batch)),
            Progress(number, 0, 1),
            rate=1.0,
            precision="fp32",
            device=device,
            watch=watch,
        )
        return {name: float(value) for name, value in losses.items()}

    return take


def runs_of(take: Take) -> Runs:
    """The runs of a side, by name; random numbers differ from run to run, alike on all sides."""
    numbers = count()
    found: list[dict[str, float]] = []

    def cycle() -> None:
        found[:] = [take(TURNS, next(numbers), number) for number in range(CYCLE_STEPS)]

    def cycle_turns() -> dict[str, int]:
        prefixes = [{term.split("/")[0] for term in losses} for losses in found]
        return {turn: sum(PHASE_OF[turn] in item for item in prefixes) for turn in TURNS}

    def step(*wanted: str) -> dict[str, float]:
        return take(wanted, next(numbers), 0)

    single: dict[str, Callable[[], Any]] = {turn: partial(step, turn) for turn in TURNS}
    return {STEP: partial(step, *TURNS), CYCLE: cycle, CYCLE_TURNS: cycle_turns, **single}


def build(request: SynthesisRequest) -> Gan:
    """StyleGAN2 and its discriminator, to be trained as by the preset of configuration F.

    Raises:
        ConfigError: for a width without channels.
    """
    generator = NetworkSettings(arch="stylegan2", width=request.width, resolution=request.size)
    task = SynthesisTask(
        new_network(generator, 0, "generator"),
        replace(generator, arch="stylegan2-discriminator"),
        adversarial=AdversarialSettings(gan="vanilla", pool_size=0),
        seed=0,
    )
    method = Gan(Components(task, None, None, OPTIMIZER, seed=0), RULES)
    return method.train()


def made_up_images(request: SynthesisRequest) -> Tensor:
    """A batch of noise `(N, 3, size, size)`: what a step costs does not depend on what it sees."""
    shape = request.batch_size, 3, request.size, request.size
    return torch.rand(shape, generator=derive_generator(0, "bench")) * 2 - 1
