"""Training steps replayed as CUDA graphs: the GPU is handed a step's thousands of launches at once.

What a step does on the device is captured once per set of phases that take part, and replayed from
then on. A replay reads the same addresses every time: the batch, what the step draws, and the
learning rates are put there beforehand. Loading, logging, saving, the check for finite terms and
samples stay outside. The first steps of each set are taken as they are, on a stream of their own:
libraries set themselves up in them, and optimizers make their states.

Source: PyTorch's notes on CUDA semantics, "CUDA Graphs", whole-network capture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gancomp.engine.phases import Draw, Phase, Progress, Step, Trainable, optimizers
from gancomp.engine.step import FiniteWatch, run_phases, set_rates, take_step

WARM_UP = 3  # steps of each set, as PyTorch's notes have it
MOST_GRAPHS = 16  # each keeps its addresses
Work = Callable[[], Tensor]


class Recorder(Protocol):
    """How a step's work is captured: by CUDA, or in tests by keeping it to be called."""

    def warm_up(self, work: Work) -> Tensor:
        """Does the work as it will be captured; returns its result."""

    def record(self, work: Work) -> Work:
        """Captures the work without doing it; returns what does it, on the same addresses."""


class CudaRecorder:
    """CUDA graphs on a stream of their own.

    They share their memory: they are never replayed at once, and nothing of one is read after
    another was replayed.

    Args:
        device: of everything.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch left it so
        self.pool = torch.cuda.graph_pool_handle()

    def warm_up(self, work: Work) -> Tensor:
        """On the stream that will capture."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = work()
        current.wait_stream(self.stream)
        return result

    def record(self, work: Work) -> Work:
        """Other threads may go on meanwhile, such as the one that pins batches."""
        graph = torch.cuda.CUDAGraph()
        capture = torch.cuda.graph(
            graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"
        )
        try:
            # a capture that fails does not leave its stream: the one outside does
            with torch.cuda.stream(torch.cuda.current_stream(self.device)), capture:
                result = work()
        except Exception:
            self._end_of_failed()
            raise

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    def _end_of_failed(self) -> None:
        """Does what torch leaves out when CUDA itself breaks a capture off.

        Its allocator would go on as if captured, and give no batch's memory back; and the device's
        random numbers could not be drawn any more, as by dropout.
        """
        index = torch.cuda.current_device() if self.device.index is None else self.device.index
        with contextlib.suppress(RuntimeError):  # any other failed capture has ended in order
            torch._C._cuda_endAllocateToPool(index, self.pool)
        source = torch.cuda.default_generators[index]
        fresh = torch.Generator(torch.device("cuda", index))
        fresh.set_state(source.get_state())
        source.graphsafe_set_state(fresh)


class CaptureError(RuntimeError):
    """What a step cannot be captured for."""


class _Held:
    """What the steps of one graph draw: at fixed addresses, renewed before each step."""

    def __init__(self) -> None:
        self.index, self.sealed = 0, False
        self._known: dict[str, tuple[Draw, dict[str, Tensor]]] = {}

    def renew(self, index: int) -> None:
        """Draws what is known by now for the step of that index."""
        self.index = index
        for compute, held in self._known.values():
            for name, value in compute(index).items():
                held[name].copy_(value, non_blocking=True)

    def get(self, name: str, compute: Draw) -> dict[str, Tensor]:
        """The values; drawn now if nobody has asked for them yet, as in a set's first step.

        Raises:
            CaptureError: while capturing, if the steps before had no such values.
        """
        if name not in self._known:
            if self.sealed:
                raise CaptureError(f"{name} is drawn in some steps only")
            values = {key: value.clone() for key, value in compute(self.index).items()}
            self._known[name] = compute, values
        return self._known[name][1]


class _Rates:
    """Learning rates that a captured optimizer reads from the device."""

    def __init__(self, found: list[Optimizer], device: torch.device) -> None:
        # the fused kernel reads float32 on a GPU; on a CPU it takes the number as it is
        self._on_gpu = device.type == "cuda"
        dtype = torch.float32 if self._on_gpu else torch.float64
        self._held = [
            (group, torch.zeros((), dtype=dtype, device=device))
            for optimizer in found
            for group in optimizer.param_groups
        ]

    def renew(self) -> None:
        """Takes over the rates that are set."""
        for group, held in self._held:
            held.fill_(group["lr"])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block optimizers use them; outside, their settings are those of any run."""
        before = [(group["lr"], group["capturable"]) for group, _ in self._held]
        # asked for by a captured optimizer, warned of by any other
        captured = self._on_gpu and torch.cuda.is_current_stream_capturing()
        for group, held in self._held:
            group["lr"], group["capturable"] = held, captured
        try:
            yield
        finally:
            for (group, _), (rate, capturable) in zip(self._held, before, strict=True):
                group["lr"], group["capturable"] = rate, capturable


@dataclass
class _Set:
    """The steps in which the same phases take part, in the same variants.

    Attributes:
        phases: those.
        index: of the first of these steps, which stands for all: only variants may depend on it.
        held: what they draw.
        taken: so many of them before the capture.
        replay: takes one, once it is captured.
        names: of the values that a step returns.
        num_terms: so many of these are minimized; notes come behind.
    """

    phases: list[Phase]
    index: int
    held: _Held = field(default_factory=_Held)
    taken: int = 0
    replay: Work | None = None
    names: list[str] = field(default_factory=list)
    num_terms: int = 0


class Graphs:
    """Takes a method's steps by replaying them; computes what `take_step` does, but for rounding.

    Steps with a batch of another shape than the first one's are taken as they are, and so are all
    once a capture has failed, which is said.

    Args:
        method: phases and losses, on `device`; see `why_not`.
        precision: as `--precision`.
        device: of networks and batches.
        say: is told if a capture fails.
        recorder: captures; None: by CUDA.
    """

    def __init__(
        self,
        method: Trainable,
        *,
        precision: str,
        device: torch.device,
        say: Callable[[str], None],
        recorder: Recorder | None = None,
    ) -> None:
        self.method, self.precision, self.device = method, precision, device
        self.recorder, self.say = recorder or CudaRecorder(device), say
        self.failed = False
        self._batch: dict[str, Tensor] = {}
        self._rates = _Rates(list(optimizers(method.phases()).values()), device)
        self._sets: dict[Hashable, _Set] = {}
        self._written: list[Tensor] = []

    @property
    def num_captured(self) -> int:
        """How many graphs there are by now."""
        return sum(item.replay is not None for item in self._sets.values())

    def take(
        self, step: Step, progress: Progress, *, rate: float, watch: FiniteWatch
    ) -> dict[str, Tensor]:
        """As `engine.step.take_step`; terms are looked at when the step has been taken.

        Raises:
            TrainingError: from `watch`, if a term is not finite.
        """
        if not self._hold(step.batch):
            return take_step(
                self.method,
                step,
                progress,
                rate=rate,
                precision=self.precision,
                device=self.device,
                watch=watch,
            )
        phases = [phase for phase in self.method.phases() if phase.takes_part(progress)]
        set_rates(phases, progress, rate)
        self._rates.renew()
        key = tuple((phase.name, phase.variant(step.index)) for phase in phases)
        found = self._sets.setdefault(key, _Set(phases, step.index))
        found.held.renew(step.index)
        values = self._do(found).clone()  # the next replay writes to the same place
        watch.see(step.index, found.names[: found.num_terms], values[: found.num_terms])
        return dict(zip(found.names, values.unbind(), strict=True))

    def _hold(self, batch: dict[str, Tensor]) -> bool:
        """Puts the batch where graphs read it, if it is of the shape that they are for."""
        if not self._batch:
            self._batch = {name: torch.empty_like(value) for name, value in batch.items()}
        if {name: value.shape for name, value in batch.items()} != {
            name: value.shape for name, value in self._batch.items()
        }:
            return False
        for name, value in batch.items():
            self._batch[name].copy_(value, non_blocking=True)
        return True

    def _do(self, found: _Set) -> Tensor:
        """One step of the set, whose inputs are in their places."""
        if found.replay is None and found.taken >= WARM_UP and not self.failed:
            self._capture(found)
        if found.replay is not None:
            values = found.replay()
            # torch has not seen that the weights were written to; what is kept of them goes by that
            torch.autograd.graph.increment_version(self._written)
            return values
        found.taken += 1
        return self.recorder.warm_up(partial(self._work, found))

    def _capture(self, found: _Set) -> None:
        if self.num_captured >= MOST_GRAPHS:
            return
        found.held.sealed = True
        networks = self.method.networks().values()
        self._written = [
            item for network in networks for item in (*network.parameters(), *network.buffers())
        ]
        try:
            found.replay = self.recorder.record(partial(self._work, found))
        except Exception as error:  # a step that cannot be captured fails in any way CUDA has
            self.failed = True
            for item in self._sets.values():  # what they draw from may be another generator now
                item.replay = None
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            self.say(f"a step could not be captured as a CUDA graph ({reason}); training goes on")
        finally:
            found.held.sealed = False

    def _work(self, found: _Set) -> Tensor:
        """What is captured: nothing in it may wait for the device or depend on the index."""
        step = Step(found.index, dict(self._batch), held=found.held.get)
        with self._rates.in_place():
            logged = run_phases(
                self.method, found.phases, step, precision=self.precision, device=self.device
            )
        found.names, found.num_terms = list(logged), len(logged) - len(step.notes)
        return torch.stack([value.detach().float() for value in logged.values()])


def why_not(method: Trainable, device: torch.device) -> str | None:
    """Why a method's steps cannot be replayed on `device`, or None if they can be."""
    if device.type != "cuda":
        return "CUDA graphs need an NVIDIA GPU"
    if not getattr(method, "replayable", False):
        return f"`method` {getattr(method, 'name', '')} does not say that its steps are replayable"
    modules = method.modules() if isinstance(method, nn.Module) else ()
    if any(getattr(item, "is_own", False) for item in modules):
        return "a generator is code of your own, which may decide on the host what it does"
    groups = [group for item in optimizers(method.phases()).values() for group in item.param_groups]
    if not all(group.get("fused") and "capturable" in group for group in groups):
        return "its optimizers are not Adam in one kernel"
    return None
