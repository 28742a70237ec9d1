"""The one training loop: batches in, phases in turn, checkpoints, samples and metrics out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from gancomp.engine.checkpoint import Checkpoint, save_checkpoint
from gancomp.engine.device import peak_memory_mb, random_state, restore_random_state
from gancomp.engine.graphs import Graphs
from gancomp.engine.meeting import all_or_none, refuse_different
from gancomp.engine.phases import Progress, Step, Trainable, optimizers
from gancomp.engine.run import RunFolder
from gancomp.engine.step import FiniteWatch, decay_factor, take_step
from gancomp.engine.stopping import CutShortError, InterruptedRunError, StopWish
from gancomp.engine.waits import WaitWatch
from gancomp.errors import CheckpointError, TrainingError
from gancomp.ranks import apart, current
from gancomp.records import Record
from gancomp.seeding import derive_seed
from gancomp.settings import RunSettings, ScheduleSettings

Batch = dict[str, Tensor]
ADAM_STATE = {"step", "exp_avg", "exp_avg_sq"}  # of each parameter


class View(Protocol):
    """What the loop tells the person who is waiting."""

    def start(self, total_steps: int, step: int) -> None:
        """Training begins at `step` of `total_steps`."""

    def advance(self, record: dict[str, Any]) -> None:
        """A step was logged."""

    def say(self, message: str) -> None:
        """One line about something that happened."""

    def finish(self) -> None:
        """Training ended."""


@dataclass
class Outcome:
    """How far a run came: finished steps, seconds and images over all its sittings.

    Attributes:
        step: finished steps.
        seconds: without the time for start-up.
        num_images: trained on.
        losses: of the last step.
        data_wait: share of this sitting's time (0 to 1) in which a step waited for its images.
    """

    step: int = 0
    seconds: float = 0.0
    num_images: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    data_wait: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Mean rate over all sittings, without the time for start-up."""
        return self.num_images / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Periodic:
    """Something done after each `every`-th step and when the run ends by itself."""

    every: int
    action: Callable[[int], None]


@dataclass
class Loop:
    """Everything that one call of `fit` works with.

    Attributes:
        method: phases and losses; already on `device`.
        run: where checkpoints and metrics go.
        settings: how often to log, sample and save.
        schedule: epochs and limits.
        device: where batches are sent.
        steps_per_epoch: of the training data.
        batches: endless batches from a given step on.
        periodic: what else is done after some steps, and after the last one.
        saved: told the step after each checkpoint.
        view: shows the progress.
        loggers: told each metrics record.
        graphs: takes the steps, where they are replayed.
        prepare: told the index of a step, from 0, before it is taken.
    """

    method: Trainable
    run: RunFolder
    settings: RunSettings
    schedule: ScheduleSettings
    device: torch.device
    steps_per_epoch: int
    batches: Callable[[int], Iterator[Batch]]
    periodic: list[Periodic]
    saved: Callable[[int], object]
    view: View
    loggers: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
    graphs: Graphs | None = None
    prepare: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        """On a GPU, looking at a loss at once would make the CPU wait for it."""
        self.watch = FiniteWatch(late=self.device.type == "cuda")

    def total_steps(self) -> int:
        """The steps of the whole schedule, or `max_steps` if that is less."""
        return self.schedule.total_steps(
            num_epochs=self.num_epochs(), steps_per_epoch=self.steps_per_epoch
        )

    def num_epochs(self) -> int:
        """Passes over the data in the whole schedule."""
        return self.method.num_epochs(self.schedule.epochs + self.schedule.decay_epochs)

    def progress(self, step: int) -> Progress:
        """Where the run stands after `step` steps."""
        return Progress(step, step // self.steps_per_epoch, self.num_epochs())


def fit(loop: Loop, *, checkpoint: Checkpoint | None, stop: StopWish) -> Outcome:
    """Trains from `checkpoint` (or the start) to the schedule's end, a limit or a stop wish.

    Always leaves a checkpoint of the last finished step behind, also after an error between two
    steps, unless a term or a parameter is non-finite or the disk is full: then the last good one
    stays. So it does after an error in the middle of a step.

    Raises:
        TrainingError: if a loss term or parameter became non-finite, with its name.
        InterruptedRunError: after a signal, when the state was saved.
        RunError: if the disk is full.
        DataError: if the images cannot be read.
    """
    cuda = [loop.device] if loop.device.type == "cuda" else []
    # layers such as dropout draw from the global generators: they get the run's own state, and
    # whoever called gets theirs back
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(derive_seed(loop.settings.seed, "training"))
        return _fit(loop, checkpoint, stop)


def _fit(loop: Loop, checkpoint: Checkpoint | None, stop: StopWish) -> Outcome:
    loop.method.train()
    outcome = Outcome() if checkpoint is None else restore(loop.method, checkpoint, loop.device)
    loop.run.forget_metrics_after(outcome.step, loop.view.say)
    total = loop.total_steps()
    if outcome.step >= total:
        loop.view.say(
            f"step {outcome.step} of {total}: nothing left to do; a larger `max_steps` goes on"
            if total == loop.schedule.max_steps
            else f"step {outcome.step} of {total}: the schedule is done"
        )
    loop.view.start(total, outcome.step)
    try:
        _train(loop, outcome, total, stop)
    finally:
        loop.view.finish()
    if stop:
        saved = f"saved in {loop.run.path}" if outcome.step else "there was nothing to save yet"
        raise InterruptedRunError(
            f"stopped by {stop.describe()} after step {outcome.step}; {saved}"
        )
    return outcome


def _train(loop: Loop, outcome: Outcome, total: int, stop: StopWish) -> None:
    sitting = Sitting(loop, outcome)
    try:
        if current().size > 1:
            refuse_unequal(loop, outcome.step)
        if outcome.step < total and not stop:
            _take_steps(sitting, total, stop)
        sitting.save()
    except TrainingError:
        raise
    except Exception:
        sitting.rescue()
        raise


def _take_steps(sitting: Sitting, total: int, stop: StopWish) -> None:
    loop, outcome, settings = sitting.loop, sitting.outcome, sitting.loop.settings
    clock = Clock(loop, outcome)
    recent: dict[str, Tensor] = {}  # since the last line: not every phase has its turn each step
    for batch in clock.timed(loop.batches(outcome.step), stop):
        with sitting.step():
            losses = run_step(loop, outcome.step, batch)
            clock.count(current().size * len(next(iter(batch.values()))))
        recent |= losses
        if outcome.step % settings.log_every == 0 or outcome.step == 1:
            loop.watch.settle()
            clock.log(recent)
            recent = {}
        ends = bool(stop) or outcome.step >= total or clock.is_over()
        if ends:
            loop.watch.settle()
            outcome.losses = _to_floats(losses)
        due = [item for item in loop.periodic if _is_due(item, outcome.step, ends and not stop)]
        if due:
            refuse_non_finite_networks(loop, outcome.step)
        for item in due if current().leads else ():
            with apart():
                item.action(outcome.step)
        if ends:
            break
        if outcome.step % settings.checkpoint_every == 0:
            sitting.save()


class Sitting:
    """What of a run's progress is saved, and whether the networks are those after a whole step."""

    def __init__(self, loop: Loop, outcome: Outcome) -> None:
        self.loop, self.outcome = loop, outcome
        self.saved_at, self.is_whole = outcome.step, True

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """One step: an error within leaves networks of which some are changed and some not."""
        self.is_whole = False
        yield
        self.is_whole = True

    def save(self) -> None:
        """Writes a checkpoint, if there is something new."""
        if self.outcome.step > self.saved_at:
            save(self.loop, self.outcome)
            self.saved_at = self.outcome.step

    def rescue(self) -> None:
        """Saves what can be saved while an error is on its way out, which matters more."""
        if not self.is_whole or self.outcome.step == self.saved_at:
            return
        with contextlib.suppress(Exception):
            save(self.loop, self.outcome, compare=False)  # others may not come to compare theirs
            self.loop.view.say(
                f"saved after step {self.outcome.step}; `resume=True` goes on from there"
            )


def _is_due(item: Periodic, step: int, ends: bool) -> bool:
    return ends or step % item.every == 0


def run_step(loop: Loop, index: int, batch: Batch) -> dict[str, Tensor]:
    """One training step at the schedule's rate; returns all weighted terms, detached.

    Raises:
        TrainingError: if a term is not finite; see `FiniteWatch`.
    """
    if loop.prepare is not None:
        loop.prepare(index)
    progress = loop.progress(index)
    last = loop.schedule.epochs + loop.schedule.decay_epochs - 1
    epoch = min(loop.method.schedule_epoch(progress.epoch), last)
    factor = decay_factor(
        epoch, epochs=loop.schedule.epochs, decay_epochs=loop.schedule.decay_epochs
    )
    on_device = {key: value.to(loop.device, non_blocking=True) for key, value in batch.items()}
    step = Step(index, on_device)
    if loop.graphs is not None:
        return loop.graphs.take(step, progress, rate=factor, watch=loop.watch)
    return take_step(
        loop.method,
        step,
        progress,
        rate=factor,
        precision=loop.settings.precision,
        device=loop.device,
        watch=loop.watch,
    )


class Clock:
    """Counts a sitting's time and images into the run's outcome and logs the rate."""

    def __init__(self, loop: Loop, outcome: Outcome) -> None:
        self.loop, self.outcome = loop, outcome
        self.started = self.last = time.perf_counter()
        self.logged_at, self.logged_images = self.started, outcome.num_images
        self.waits, self.logged_wait = WaitWatch(loop.view.say, self.started), 0.0

    def timed(self, batches: Iterator[Batch], stop: StopWish) -> Iterator[Batch]:
        """The batches until somebody wishes to stop; how long each was waited for is added up."""
        while True:
            began = time.perf_counter()
            batch = all_or_none(partial(_next, batches, stop), stop)
            self.waits.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def count(self, num_images: int) -> None:
        """A step is done."""
        now = time.perf_counter()
        self.outcome.step += 1
        self.outcome.num_images += num_images
        self.outcome.seconds += now - self.last
        self.outcome.data_wait = self.waits.waited / max(now - self.started, 1e-9)
        self.last = now
        self.waits.step(now)

    def is_over(self) -> bool:
        """Whether this sitting's time limit has passed."""
        limit = self.loop.schedule.max_seconds
        if limit is None:
            return False
        return bool(current().agree(self.last - self.started >= limit)[0])

    def log(self, losses: dict[str, Tensor]) -> None:
        """Writes one line of metrics and shows it."""
        outcome, images = self.outcome, self.outcome.num_images - self.logged_images
        elapsed = max(self.last - self.logged_at, 1e-9)
        record = {
            "step": outcome.step,
            "epoch": self.loop.progress(outcome.step - 1).epoch,
            "losses": _to_floats(losses),
            "lr": {
                phase.name: phase.optimizer.param_groups[0]["lr"]
                for phase in self.loop.method.phases()
            },
            "images_per_second": images / elapsed,
            "data_wait": (self.waits.waited - self.logged_wait) / elapsed,
            "seconds": outcome.seconds,
            "memory_mb": peak_memory_mb(self.loop.device),
        }
        self.logged_at, self.logged_images = self.last, outcome.num_images
        self.logged_wait = self.waits.waited
        self.loop.run.append_metrics(record)
        for logger in self.loop.loggers:
            logger(record)
        self.loop.view.advance(record)


def _next(batches: Iterator[Batch], stop: StopWish) -> Batch | None:
    """The next batch, unless somebody wishes to stop."""
    try:
        with stop.waiting():
            return next(batches, None)
    except CutShortError:
        return None


def _to_floats(losses: dict[str, Tensor]) -> dict[str, float]:
    if not losses:
        return {}
    values = torch.stack([value.float() for value in losses.values()]).tolist()  # one copy for all
    return dict(zip(losses, values, strict=True))


def save(loop: Loop, outcome: Outcome, *, compare: bool = True) -> None:
    """Writes a checkpoint of `outcome.step`; of several ranks, the first one does.

    Args:
        loop: whose state is saved.
        outcome: how far it came.
        compare: whether the ranks first see that all have the same.

    Raises:
        TrainingError: if a network holds non-finite numbers, or ranks have different ones; the last
            good checkpoint stays.
    """
    refuse_non_finite_networks(loop, outcome.step)
    if compare:
        refuse_unequal(loop, outcome.step)
    if not current().leads:
        return
    phases = loop.method.phases()
    state = {
        "networks": {
            name: network.state_dict() for name, network in loop.method.networks().items()
        },
        "optimizers": {name: item.state_dict() for name, item in optimizers(phases).items()},
        "rng": random_state(loop.device),
        "outcome": {"seconds": outcome.seconds, "num_images": outcome.num_images},
    }
    save_checkpoint(loop.run.checkpoints, outcome.step, state, keep=loop.settings.keep_checkpoints)
    loop.saved(outcome.step)


def refuse_non_finite_networks(loop: Loop, step: int) -> None:
    """Raises TrainingError if a term, or any network's parameter or buffer, is not finite."""
    loop.watch.settle()
    for name, network in loop.method.networks().items():
        for key, value in network.state_dict().items():
            if (
                isinstance(value, Tensor)
                and value.is_floating_point()
                and not bool(torch.isfinite(value).all())
            ):
                raise TrainingError(
                    f"step {step}: {name}.{key} became non-finite; stopped without saving, the "
                    "last good checkpoint stays. Try a lower `lr` or `precision` fp32"
                )


def refuse_unequal(loop: Loop, step: int) -> None:
    """Raises TrainingError if ranks have other weights, pools or random numbers than the first."""
    if current().size > 1:
        states = [network.state_dict() for network in loop.method.networks().values()]
        refuse_different([*states, random_state(loop.device)], step)


def restore(method: Trainable, checkpoint: Checkpoint, device: torch.device) -> Outcome:
    """Puts networks, optimizers and random state back exactly as `checkpoint` holds them.

    Raises:
        CheckpointError: if the checkpoint is of another make-up than the method.
    """
    state = checkpoint.state
    try:
        load_networks(method.networks(), state["networks"])
        for name, item in optimizers(method.phases()).items():
            load_optimizer(item, state["optimizers"][name])
        restore_random_state(state["rng"], device)
        outcome = Record(state["outcome"], checkpoint.path, way_out="", error=CheckpointError)
        seconds, num_images = outcome.get("seconds", float), outcome.get("num_images", int)
    except Exception as error:  # a state of another shape makes torch raise almost anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(
            f"{checkpoint.path}: does not fit this run's networks ({reason}); remove it to go on "
            "from the one before, or start anew with another `out`"
        ) from error
    return Outcome(step=checkpoint.step, seconds=seconds, num_images=num_images)


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Puts the state of an optimizer back; torch would take one of another network, too.

    Raises:
        ValueError: if it is not that of such an optimizer.
    """
    wanted = optimizer.state_dict()["param_groups"]
    given = state["param_groups"]
    kinds = [{key: type(value) for key, value in group.items()} for group in wanted]
    if [{key: type(value) for key, value in group.items()} for group in given] != kinds:
        raise ValueError("the settings of an optimizer are of another kind")
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        if isinstance(optimizer, Adam) and values and not values.keys() >= ADAM_STATE:
            raise ValueError(f"an optimizer lacks some of {', '.join(sorted(ADAM_STATE))}")
        for name, value in values.items():
            # beside maps of the weights' shape Adam has the number of steps
            if not isinstance(value, Tensor) or (value.dim() and value.shape != parameter.shape):
                raise ValueError(f"{name} of an optimizer is of another shape than the weights")


def load_networks(networks: Mapping[str, nn.Module], states: dict[str, Any]) -> None:
    """Loads each named state into its network; all names must be there."""
    for name, network in networks.items():
        network.load_state_dict(states[name])
