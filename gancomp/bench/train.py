"""`gancomp bench train`: the joint DCD step beside the same step written plainly."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from gancomp.bench import report
from gancomp.bench.literal import LiteralStep
from gancomp.config import AdversarialSettings, Json, NetworkSettings, OptimiserSettings
from gancomp.data.images import say_on_stderr
from gancomp.engine.device import choose_device, peak_memory_mb
from gancomp.engine.phases import Progress, Step
from gancomp.engine.speed import (
    channels_last,
    compilable,
    compile_networks,
    give_back_memory,
    keep_freed_memory,
)
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.errors import ConfigError, RunError
from gancomp.losses.perceptual import load_perceptual
from gancomp.methods.base import Ingredients
from gancomp.methods.dcd import Dcd, DcdOptions
from gancomp.metrics.latency import Latency, time_in_turns
from gancomp.networks import batching
from gancomp.networks.plain import use_torch_biases, use_torch_heads, use_torch_norms
from gancomp.seeding import derive_generator
from gancomp.tasks.base import new_network
from gancomp.tasks.unpaired import UnpairedTask

OURS, PLAIN = "gancomp", "literal"
CROWDED = 0.9  # of the machine's memory
LEAST_SIZE = 96  # pixels: the discriminator judges maps of a quarter of it, too
OPTIMISATIONS = {
    "channels_last": "weights and maps in channels_last order",
    "norm": "InstanceNorm that keeps that order",
    "head": "the image's convolution in tiles",
    "biases": "no gradients of biases that a norm takes off again",
    "one_pass": "inputs of one network in one pass (on a GPU)",
    "fused_adam": "Adam in one kernel per phase",
    "kept_memory": "freed memory is kept by the process (on a CPU with glibc)",
    "compile": "torch.compile per network",
}


@dataclass(frozen=True)
class Contestant:
    """One side of the benchmark; everything in it reaches a process of its own by pickling.

    Attributes:
        name: in the document.
        literal: the step written plainly, to which no other switch applies.
        without: names out of `OPTIMISATIONS` that are switched off.
        precision: as `--precision`.
    """

    name: str
    literal: bool = False
    without: frozenset[str] = frozenset()
    precision: str = "fp32"


@dataclass(frozen=True)
class TrainRequest:
    """What is trained: DCD's networks for horse2zebra, on images made up once.

    Attributes:
        size: height and width in pixels.
        batch_size: images per step and domain.
        width: of the teacher (ngf); the student has a quarter of it.
        d_width: of the discriminators (ndf).
        rounds: timed steps of each contestant.
        warm_up: steps before that.
        device: as `--device`.
        threads: CPU threads of each contestant, None for torch's choice.
        compiled: torch.compile for gancomp's networks; None for what training does on that device.
        bf16: a contestant more, in bf16.
        ablate: a contestant more for each optimisation, without it.
        profile: how the time of each side's step divides among operations.
    """

    size: int = 256
    batch_size: int = 1
    width: int = 64
    d_width: int = 64
    rounds: int = 5
    warm_up: int = 2
    device: str = "auto"
    threads: int | None = None
    compiled: bool | None = None
    bf16: bool = False
    ablate: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        """Refuses numbers that no step can be made with.

        Raises:
            ConfigError: naming the option.
        """
        least = {
            "size": LEAST_SIZE,
            "batch_size": 1,
            "width": 4,
            "d_width": 1,
            "rounds": 1,
            "threads": 1,
        }
        for name, limit in least.items():
            value = getattr(self, name)
            if value is not None and value < limit:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: must be at least {limit}")
        if self.size % 4:
            raise ConfigError(f"--size {self.size}: must be a multiple of 4")
        choose_device(self.device)


def bench_train(request: TrainRequest, say: Callable[[str], None]) -> Json:
    """Times gancomp's joint DCD step beside the literal one, each in a process of its own.

    Returns: the document of `bench train --json`: images/s, peak memory, and how far the losses of
        the first step are apart, relative to the literal ones.

    Raises:
        ConfigError: for a device that is not there.
    """
    report.use_threads(request.threads)
    device = choose_device(request.device)
    compiled = device.type == "cuda" if request.compiled is None else request.compiled
    off = frozenset() if compiled else frozenset({"compile"})
    ours = Contestant(OURS, without=off)
    main = [Contestant(PLAIN, literal=True), ours]
    if request.bf16:
        main.append(replace(ours, name=f"{OURS}, bf16", precision="bf16"))
    measured = _measure(request, main, say)
    others = [name for name in OPTIMISATIONS if name not in off] if request.ablate else []
    slower_by: dict[str, float] = {}
    for name in others:
        without = replace(ours, name=f"without {name}", without=off | {name})
        # beside the full step of the same minutes: machines drift
        pair = _measure(request, [ours, without], say)
        medians = {side: latency.median_ms for side, latency in pair.timed.items()}
        slower_by[without.name] = round(medians[without.name] / medians[OURS], 3)
    document = report.document(
        "train",
        f"joint DCD step, {request.size} px, batch {request.batch_size}, teacher mobile-resnet9 "
        f"{request.width}, student {request.width // 4}, random VGG16",
        measured.timed,
        of=OURS,
        device=device,
        num_images=request.batch_size,
        peak_memory_mb=measured.memory,
    )
    return document | _details(measured, slower_by)


def _details(measured: _Measured, slower_by: dict[str, float]) -> Json:
    """What this benchmark's document has beyond times and memory."""
    plain = measured.first[PLAIN]
    differences = {
        name: max(abs(losses[term] - value) / abs(value) for term, value in plain.items())
        for name, losses in measured.first.items()
        if name != PLAIN
    }
    notes = [
        f"largest relative difference of a loss from the literal step's, {name}: {value:.1e}"
        for name, value in differences.items()
    ]
    notes += [
        f"{name}: {value:.2f} times the full step's time" for name, value in slower_by.items()
    ]
    for name, spent in measured.profiles.items():
        parts = ", ".join(f"{operator} {ms:.0f}" for operator, ms in spent.items())
        notes.append(f"{name}, ms by operator: {parts}")
    return {
        "loss_difference": differences,
        "slower_by": slower_by,
        "profile": measured.profiles,
        "notes": notes,
    }


@dataclass(frozen=True)
class _Measured:
    timed: dict[str, Latency]
    memory: dict[str, float]
    first: dict[str, dict[str, float]]
    profiles: dict[str, dict[str, float]]


def _measure(
    request: TrainRequest, group: list[Contestant], say: Callable[[str], None]
) -> _Measured:
    """Lets the contestants of `group` take steps in turns."""
    first: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        sides = {item.name: stack.enter_context(_process(request, item)) for item in group}
        for name, side in sides.items():
            say(f"{name}: first step, which is not timed (and compiles)")
            first[name] = _ask(side, "step")
            _ask(side, "rest")  # there may not be room for all first steps at once
        memory = {name: _ask(side, "memory") for name, side in sides.items()}
        crowded = choose_device(request.device).type == "cpu" and _crowded(sum(memory.values()))
        if crowded:
            say("the sides need more memory than there is: each gives its own back after its turn")
        timed = time_in_turns(
            {name: partial(_ask, side, "step") for name, side in sides.items()},
            num_runs=request.rounds,
            warm_up=0 if crowded else request.warm_up,
            # memory that was given back must be found again first, by a step that is not timed
            before=(lambda name: _ask(sides[name], "step")) if crowded else None,
            after=(lambda name: _ask(sides[name], "rest")) if crowded else None,
        )
        memory = {name: _ask(side, "memory") for name, side in sides.items()}
        wanted = sides if request.profile else {}
        profiles = {name: _ask(side, "profile") for name, side in wanted.items()}
    return _Measured(timed, memory, first, profiles)


def _crowded(needed_mb: float) -> bool:
    """Whether processes of this size do not fit into the machine's memory together."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return needed_mb * 2**20 > CROWDED * physical


@contextmanager
def _process(request: TrainRequest, contestant: Contestant) -> Iterator[Connection]:
    """A process in which `contestant` waits for orders; ends with the context."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, request, contestant), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join(10)
        process.kill()


def _ask(side: Connection, order: str) -> Any:
    try:
        side.send(order)
        answer = side.recv()
    except (EOFError, BrokenPipeError) as error:
        raise RunError(
            "bench train: a side ended without a word, as processes do that are killed for their "
            "memory; use a smaller --batch-size or --size"
        ) from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(orders: Connection, request: TrainRequest, contestant: Contestant) -> None:
    try:
        take, device = _prepare(request, contestant)
        while True:
            order = orders.recv()
            if order == "step":
                orders.send(take())
            elif order == "memory":
                orders.send(peak_memory_mb(device))
            elif order == "profile":
                orders.send(report.by_operator(take, device, num_runs=1))
            else:
                orders.send(give_back_memory())
    except EOFError:
        return
    except Exception as error:  # the parent raises it
        orders.send(error)


def _prepare(
    request: TrainRequest, contestant: Contestant
) -> tuple[Callable[[], dict[str, float]], torch.device]:
    """A function that takes one step and returns its losses once they are there, and its device."""
    device = choose_device(request.device)
    report.use_threads(request.threads)
    without = contestant.without
    if not contestant.literal and "kept_memory" not in without and device.type == "cpu":
        keep_freed_memory()
    method = build(request).to(device)
    batch = {name: images.to(device) for name, images in made_up_images(request).items()}
    if contestant.literal:
        step = LiteralStep(method, OptimiserSettings())
        return partial(step.step, batch["source"], batch["target"]), device
    optimise(method, without)
    if "channels_last" not in without:
        batch = {
            name: images.contiguous(memory_format=torch.channels_last)
            for name, images in batch.items()
        }
    counter = iter(range(10**9))
    watch = FiniteWatch(late=device.type == "cuda")

    def take() -> dict[str, float]:
        losses = take_step(
            method,
            Step(next(counter), dict(batch)),
            Progress(0, 0, 1),
            rate=1.0,
            precision=contestant.precision,
            device=device,
            watch=watch,
        )
        return {name: float(value) for name, value in losses.items()}

    return take, device


def build(request: TrainRequest) -> Dcd:
    """DCD as the horse2zebra preset has it, with random VGG16 weights and no pool of old fakes."""
    generator = NetworkSettings(arch="mobile-resnet9", width=request.width)
    task = UnpairedTask(
        new_network(generator, 0, "generator"),
        NetworkSettings(arch="patchgan", width=request.d_width, layers=3),
        adversarial=AdversarialSettings(pool_size=0),  # the literal step remembers no old fakes
        seed=0,
    )
    options = DcdOptions()
    taps = Dcd.perceptual_taps(options)
    perceptual = load_perceptual("random", None, taps=taps, announce=lambda message: None)
    student = new_network(replace(generator, width=request.width // 4), 0, "student")
    method = Dcd(Ingredients(task, student, perceptual, OptimiserSettings(), seed=0), options)
    return method.train()


def made_up_images(request: TrainRequest) -> dict[str, Tensor]:
    """A batch of noise: what a step costs does not depend on what it sees."""
    shape = request.batch_size, 3, request.size, request.size
    generator = derive_generator(0, "bench")
    return {name: torch.rand(shape, generator=generator) * 2 - 1 for name in ("source", "target")}


def optimise(method: Dcd, without: frozenset[str]) -> None:
    """Puts `method` into the form in which gancomp trains it, less the named optimisations."""
    if "channels_last" not in without:
        channels_last(method)
    if "norm" in without:
        use_torch_norms(method)
    if "head" in without:
        use_torch_heads(method)
    if "biases" in without:
        use_torch_biases(method)
    if "one_pass" in without:
        batching.pays_off = lambda device: False  # this process has no other use for it
    if "fused_adam" in without:
        for phase in method.phases():
            for group in phase.optimizer.param_groups:
                group["fused"] = False
    if "compile" not in without:
        compile_networks(compilable(method), say_on_stderr)
