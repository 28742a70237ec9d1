"""`gancomp bench train`: the joint DCD step beside the same step written plainly, and DCD's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

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
from gancomp.bench.literal import LiteralStep
from gancomp.bench.released import ReleasedStep
from gancomp.bench.sides import (
    ON_A_GPU,
    OPTIMIZATIONS,
    OURS,
    PLAIN,
    RELEASED,
    WAYS,
    Contestant,
    grid,
    is_extra,
)
from gancomp.data.images import say_on_stderr
from gancomp.engine.device import choose_device
from gancomp.engine.graphs import Graphs
from gancomp.engine.phases import Progress, Step
from gancomp.engine.speed import (
    channels_last,
    compilable,
    compile_networks,
    keep_freed_memory,
)
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.errors import ConfigError, RunError
from gancomp.losses.perceptual import load_perceptual
from gancomp.methods.base import Components
from gancomp.methods.dcd import Dcd
from gancomp.methods.dcd_options import DcdOptions
from gancomp.metrics.latency import Latency
from gancomp.networks import batching
from gancomp.networks.fused import fuse
from gancomp.networks.fused import why_not as why_not_fused
from gancomp.networks.plain import (
    use_torch_biases,
    use_torch_frozen,
    use_torch_heads,
    use_torch_norms,
    use_torch_paddings,
)
from gancomp.seeding import derive_generator
from gancomp.settings import AdversarialSettings, Json, NetworkSettings, OptimizerSettings
from gancomp.tasks.base import new_network
from gancomp.tasks.unpaired import UnpairedTask

STEP = "step"  # the one run of each side
LEAST_SIZE = 96  # pixels: the discriminator judges maps of a quarter of it, too
OTHERS = {PLAIN: LiteralStep, RELEASED: ReleasedStep}


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
        compiled: torch.compile for gancomp's networks; None: on a GPU. There steps are replayed as
            CUDA graphs either way, and norms are fused where nothing is compiled.
        bf16: a contestant more, in bf16.
        grid: a contestant more for each number format and way of taking steps.
        ablate: a contestant more for each optimization, without it.
        profile: how the time of each side's step divides among operations.
        patience: seconds that the first step of a side of `grid` or `bf16` may take; None: any.
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
    grid: bool = False
    ablate: bool = False
    profile: bool = False
    patience: float | None = None

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
                raise ConfigError(f"`{name}` {value}: must be at least {limit}")
        if self.bf16 and self.grid:
            raise ConfigError("`bf16`: is among what `grid` times; remove one of them")
        if self.patience is not None and not self.patience > 0:
            raise ConfigError(f"`patience` {self.patience:g}: must be more than 0 seconds")
        if self.patience is not None and not (self.grid or self.bf16):
            raise ConfigError(
                f"`patience` {self.patience:g}: is for sides of `grid` and `bf16`; add one of them"
            )
        if self.size % 4:
            raise ConfigError(f"`size` {self.size}: must be a multiple of 4")
        choose_device(self.device)


def bench_train(request: TrainRequest, say: Callable[[str], None]) -> Json:
    """Times gancomp's joint DCD step beside the literal and the released one, each in a process.

    Returns: the document of `bench train --json`: images/s, peak memory, and how far the losses of
        the first step are apart, relative to the literal ones.

    Raises:
        ConfigError: for a device that is not there.
    """
    report.use_threads(request.threads)
    device = choose_device(request.device)
    compiled = device.type == "cuda" if request.compiled is None else request.compiled
    off = WAYS["compiled+graphs" if compiled else "fused+graphs"]
    if device.type != "cuda":
        off |= ON_A_GPU
    elif request.grid:
        off = WAYS["plain"]  # the side that all is measured by must not fail
    ours = Contestant(OURS, without=off)
    main = [*(Contestant(way, way=way) for way in OTHERS), ours]
    if request.bf16:
        main.append(replace(ours, name=f"{OURS}, bf16", precision="bf16"))
    if request.grid:
        main += grid(ours, device, compiled=compiled)
    measured = _measure(request, main, say)
    others = [name for name in OPTIMIZATIONS if name not in off] if request.ablate else []
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
    sides = {item.name: item.describe(device) for item in main if item.name in measured.timed}
    return document | {"sides": sides} | _details(measured, slower_by)


def _details(measured: _Measured, slower_by: dict[str, float]) -> Json:
    """What this benchmark's document has beyond times and memory."""
    plain = measured.first[PLAIN]
    differences = {
        name: max(abs(losses[term] - value) / abs(value) for term, value in plain.items())
        for name, losses in measured.first.items()
        if name not in OTHERS  # the released step is another one
    }
    notes = [
        f"largest relative difference of a loss from the literal step's, {name}: {value:.1e}"
        for name, value in differences.items()
    ]
    notes += [
        f"{name}: {value:.2f} times the full step's time" for name, value in slower_by.items()
    ]
    notes += [f"{name} failed: {reason}" for name, reason in measured.failed.items()]
    for name, spent in measured.profiles.items():
        parts = ", ".join(f"{operator} {ms:.0f}" for operator, ms in spent.items())
        notes.append(f"{name}, ms by operator: {parts}")
    return {
        "loss_difference": differences,
        "slower_by": slower_by,
        "profile": measured.profiles,
        "failed": measured.failed,
        "notes": notes,
    }


@dataclass(frozen=True)
class _Measured:
    timed: dict[str, Latency]
    memory: dict[str, float]
    first: dict[str, dict[str, float]]
    profiles: dict[str, dict[str, float]]
    failed: dict[str, str]


def _measure(
    request: TrainRequest, group: list[Contestant], say: Callable[[str], None]
) -> _Measured:
    """Lets the contestants of `group` take steps in turns."""
    device = choose_device(request.device)
    with ExitStack() as stack:
        sides = {
            item.name: stack.enter_context(
                open_contestant("train", partial(_prepare, request, item))
            )
            for item in group
        }
        first, failed = _first_steps(sides, group, device, say, patience=request.patience)
        sides = {name: side for name, side in sides.items() if name in first}
        timed = take_turns(
            sides, [STEP], device, rounds=request.rounds, warm_up=request.warm_up, say=say
        )
        memory = ask_all(sides, MEMORY)
        profiles = ask_all(sides, f"{PROFILE} {STEP}") if request.profile else {}
    return _Measured(timed[STEP], memory, first, profiles, failed)


def _first_steps(
    sides: dict[str, ContestantProcess],
    group: list[Contestant],
    device: torch.device,
    say: Callable[[str], None],
    *,
    patience: float | None = None,
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Losses of each side's first step; of those that only the grid asks for, why they failed.

    One after the other, as there may not be room for all at once; on a GPU those that compile do so
    at the same time, each on processors of its own.
    """
    turns = [[item] for item in group]
    if device.type == "cuda":
        compiling = [item for item in group if item.describe(device)["compiled"]]
        turns = [[item] for item in group if item not in compiling] + [compiling]
    first: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for turn in turns:
        for item in turn:
            say(f"{item.name}: first step, which is not timed (and compiles)")
            sides[item.name].send(STEP)
        began = time.monotonic()  # for all of the turn, which wait at the same time
        for item in turn:
            try:
                within = patience if is_extra(item) else None
                first[item.name] = sides[item.name].answer(within, since=began)
            except Exception as error:  # out of memory, or whatever a compiler says
                if not is_extra(item):
                    raise
                failed[item.name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        for item in turn:
            if item.name in first:
                sides[item.name].ask(REST)
    return {item.name: first[item.name] for item in group if item.name in first}, failed


def _prepare(request: TrainRequest, contestant: Contestant) -> tuple[Runs, torch.device]:
    """One run, which takes a step and returns its losses once they are there, and its device."""
    device = choose_device(request.device)
    report.use_threads(request.threads)
    without = contestant.without
    torch.backends.cudnn.allow_tf32 = contestant.tf32
    if contestant.way == OURS and "kept_memory" not in without and device.type == "cpu":
        keep_freed_memory()
    method = build(request).to(device)
    batch = {name: images.to(device) for name, images in made_up_images(request).items()}
    if contestant.way in OTHERS:
        step = OTHERS[contestant.way](method, OptimizerSettings())
        return {STEP: partial(step.step, batch["source"], batch["target"])}, device
    optimize(method, without)
    if "channels_last" not in without:
        batch = {
            name: images.contiguous(memory_format=torch.channels_last)
            for name, images in batch.items()
        }
    return {STEP: _stepper(method, batch, contestant, device)}, device


def _stepper(
    method: Dcd, batch: dict[str, Tensor], contestant: Contestant, device: torch.device
) -> Callable[[], dict[str, float]]:
    """What takes a step and returns its losses; its first call goes on until it is captured."""
    counter = iter(range(10**9))
    watch = FiniteWatch(late=device.type == "cuda")
    precision, graphs = contestant.precision, None
    if "graphs" in contestant.describe(device)["way"]:
        graphs = Graphs(method, precision=precision, device=device, say=refuse)

    def take_one() -> dict[str, float]:
        step, progress = Step(next(counter), dict(batch)), Progress(0, 0, 1)
        if graphs is not None:
            losses = graphs.take(step, progress, rate=1.0, watch=watch)
        else:
            losses = take_step(
                method,
                step,
                progress,
                rate=1.0,
                precision=precision,
                device=device,
                watch=watch,
            )
        return {name: float(value) for name, value in losses.items()}

    def take() -> dict[str, float]:
        losses = take_one()
        while graphs is not None and not graphs.num_captured:
            take_one()
        return losses

    return take


def refuse(message: str) -> None:
    """Raises RunError: a benchmark of a way that does not work would time another one."""
    raise RunError(message)


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
    perceptual = load_perceptual("random", None, taps=taps, say=lambda message: None)
    student = new_network(replace(generator, width=request.width // 4), 0, "student")
    method = Dcd(Components(task, student, perceptual, OptimizerSettings(), seed=0), options)
    return method.train()


def made_up_images(request: TrainRequest) -> dict[str, Tensor]:
    """A batch of noise: what a step costs does not depend on what it sees."""
    shape = request.batch_size, 3, request.size, request.size
    generator = derive_generator(0, "bench")
    return {name: torch.rand(shape, generator=generator) * 2 - 1 for name in ("source", "target")}


def optimize(method: Dcd, without: frozenset[str]) -> None:
    """Puts `method` into the form in which gancomp trains it, less the named optimizations."""
    if "channels_last" not in without:
        channels_last(method)
    if "norm" in without:
        use_torch_norms(method)
    if "padding" in without:
        use_torch_paddings(method)
    if "head" in without:
        use_torch_heads(method)
    if "biases" in without:
        use_torch_biases(method)
    if "frozen" in without:
        use_torch_frozen(method)
    if "one_pass" in without:
        batching.pays_off = lambda device: False  # this process has no other use for it
    if "fused_adam" in without:
        for phase in method.phases():
            for group in phase.optimizer.param_groups:
                group["fused"] = False
    device = next(method.parameters()).device
    if device.type == "cuda" and "fused" not in without and "compile" in without:
        if reason := why_not_fused(device):
            refuse(reason)
        fuse(method.modules())
    if "compile" not in without:
        compile_networks(compilable(method), say_on_stderr)
