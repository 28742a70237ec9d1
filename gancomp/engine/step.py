"""One training step: each phase that has its turn computes its losses and moves its module."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gancomp.engine.phases import Phase, Progress, Step, Trainable
from gancomp.errors import TrainingError
from gancomp.ranks import Ranks, current


def take_step(
    method: Trainable,
    step: Step,
    progress: Progress,
    *,
    rate: float,
    precision: str,
    device: torch.device,
    watch: FiniteWatch,
) -> dict[str, Tensor]:
    """Takes the phases' turns; returns all their weighted terms, detached, and the notes.

    Args:
        method: phases and losses.
        step: index and batch, the latter on `device`.
        progress: where the run stands, which decides who has a turn.
        rate: factor of the schedule on every phase's own learning rate.
        precision: as `--precision`.
        device: of networks and batch.
        watch: sees every phase's terms before they are minimized.

    Raises:
        TrainingError: from `watch`, if a term is not finite.
    """
    phases = [phase for phase in method.phases() if phase.takes_part(progress)]
    set_rates(phases, progress, rate)

    def see(names: list[str], terms: list[Tensor]) -> None:
        watch.see(step.index, names, torch.stack(terms))

    return run_phases(method, phases, step, precision=precision, device=device, see=see)


def decay_factor(epoch: int, *, epochs: int, decay_epochs: int) -> float:
    """What the learning rate is multiplied by in `epoch` (from 0): 1, then linearly towards zero.

    `1 - max(0, epoch + 1 - epochs) / (decay_epochs + 1)`. Source: the released CycleGAN code, which
    every released distiller of this family uses; the last epoch still learns a little.
    """
    return max(0.0, 1.0 - max(0, epoch + 1 - epochs) / (decay_epochs + 1))


def set_rates(phases: list[Phase], progress: Progress, rate: float) -> None:
    """Sets each phase's learning rate to its own times `rate`, the schedule's factor."""
    for phase in phases:
        for group in phase.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * rate * phase.slowed(progress)


def run_phases(
    method: Trainable,
    phases: list[Phase],
    step: Step,
    *,
    precision: str,
    device: torch.device,
    see: Callable[[list[str], list[Tensor]], None] | None = None,
) -> dict[str, Tensor]:
    """The work of a step on its device: what of it depends on the step's index is `step.drawn`.

    Args:
        method: phases and losses.
        phases: those that take part, their rates set.
        step: batch and all, on `device`.
        precision: as `--precision`.
        device: of networks and batch.
        see: is shown every phase's terms, by name, before they are minimized.

    Returns: weighted terms, detached, and the notes.
    """
    logged: dict[str, Tensor] = {}
    ranks = current()
    step.minimize = partial(_minimize, device=device)
    for phase in phases:
        ranks.place = (step.index + 1, phase.name)
        only_these_require_grad(phase, method.phases())
        phase.optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision):
            losses = method.losses(phase.name, step)
        if see is not None and ranks.size == 1:
            names = [f"{phase.name}/{name}" for name in losses]
            see(names, [term.detach().float() for term in losses.values()])
        losses = step.minimize(losses)
        if ranks.size > 1:
            losses = _averaged(ranks, phase, step, losses, see)
        phase.optimizer.step()
        if phase.after is not None:
            phase.after(step.index)
        logged |= {f"{phase.name}/{name}": term for name, term in losses.items()}
    ranks.place = None
    return logged | step.notes


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """The autocast context of `precision`: bf16 for `bf16`, none for `fp32`."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _averaged(
    ranks: Ranks,
    phase: Phase,
    step: Step,
    losses: dict[str, Tensor],
    see: Callable[[list[str], list[Tensor]], None] | None,
) -> dict[str, Tensor]:
    """Gives all ranks the mean of their gradients of `phase`, its terms and its notes.

    Nothing that is frozen takes part: a phase's gradients are those of its module. `see` is shown
    the mean terms and whose were not finite, the same on all ranks, before anything is changed.
    """
    notes = [name for name in step.notes if name.startswith(f"{phase.name}/")]
    values = [*losses.values(), *(step.notes[name] for name in notes)]
    means, troubles = ranks.average(
        list(dict.fromkeys(phase.module.parameters())),
        torch.stack([value.detach().float() for value in values]),
    )
    step.notes |= dict(zip(notes, means[len(losses) :].unbind(), strict=True))
    losses = dict(zip(losses, means.unbind(), strict=False))
    if see is not None and troubles is not None:
        names = [f"{phase.name}/{name}" for name in losses]
        names += [f"terms of rank {rank}" for rank in range(ranks.size)]
        names.append(f"{phase.name}: gradients of other weights on some ranks")
        see(names, [*losses.values(), *troubles.unbind()])
    return losses


def _minimize(terms: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Adds the gradients of those terms that still have a graph; returns all, detached."""
    open_terms = [term.float() for term in terms.values() if term.requires_grad]
    if open_terms:
        with torch.autocast(device.type, enabled=False):  # it is meant for forward passes only
            torch.autograd.backward(torch.stack(open_terms).sum())
    return {name: term.detach() for name, term in terms.items()}


def only_these_require_grad(phase: Phase, phases: list[Phase]) -> None:
    """Turns gradients on for what `phase` changes or hands on with its graph, else off."""
    wanted = {
        id(item) for module in (phase.module, *phase.keeps_graph_of) for item in module.parameters()
    }
    for other in phases:
        for parameter in other.module.parameters():
            parameter.requires_grad_(id(parameter) in wanted)


@dataclass(frozen=True)
class _Seen:
    step: int
    names: Sequence[str]
    terms: Tensor  # on the CPU once `copied` has happened
    copied: torch.cuda.Event | None


class FiniteWatch:
    """Refuses non-finite loss terms by their names.

    On the CPU at once, before anything is changed. On a GPU looking at a number means waiting for
    all work queued so far, so terms are copied aside and looked at one step later: the offending
    step has then been taken, but nothing is saved, logged or scored before `settle` has looked.

    Args:
        late: look one step later.
    """

    def __init__(self, *, late: bool) -> None:
        self.late = late
        self._pending: deque[_Seen] = deque()

    def see(self, step: int, names: Sequence[str], terms: Tensor) -> None:
        """Takes note of the terms `(len(names),)` of a phase of step `step`, counted from 0.

        Raises:
            TrainingError: naming the terms that are not finite, now or in an earlier step.
        """
        if not self.late:
            _refuse_non_finite(_Seen(step, names, terms, None))
            return
        self._pending.append(_copied_aside(step, names, terms))
        self.settle(before=step)

    def settle(self, before: int | None = None) -> None:
        """Looks at what is still unseen of the steps below `before`, by default of all.

        Raises:
            TrainingError: naming the terms that are not finite.
        """
        while self._pending and (before is None or self._pending[0].step < before):
            seen = self._pending.popleft()
            if seen.copied is not None:
                seen.copied.synchronize()
            _refuse_non_finite(seen)


def _copied_aside(step: int, names: Sequence[str], terms: Tensor) -> _Seen:
    if terms.device.type != "cuda":
        return _Seen(step, names, terms.clone(), None)
    host = torch.empty(terms.shape, dtype=terms.dtype, pin_memory=True)
    host.copy_(terms, non_blocking=True)
    copied = torch.cuda.current_stream(terms.device).record_event()
    return _Seen(step, names, host, copied)


def _refuse_non_finite(seen: _Seen) -> None:
    if bool(torch.isfinite(seen.terms).all()):
        return
    values = zip(seen.names, seen.terms.tolist(), strict=True)
    bad = ", ".join(f"{name} = {value}" for name, value in values if not math.isfinite(value))
    raise TrainingError(
        f"step {seen.step + 1}: {bad}; stopped, the last good checkpoint stays. "
        "Try a lower `lr` or `precision` fp32, then go on with `resume=True`"
    )
