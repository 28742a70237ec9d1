"""The processes of `bench scale`: each takes its share of a step whenever its number has a turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from gancomp.bench.sides import WAYS
from gancomp.bench.traffic import Team, Traffic
from gancomp.bench.train import build, made_up_images, optimize
from gancomp.engine.device import choose_device
from gancomp.engine.group import joined
from gancomp.engine.meeting import all_or_none
from gancomp.engine.phases import Progress, Step
from gancomp.engine.speed import keep_freed_memory
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.engine.stopping import StopWish
from gancomp.errors import GancompError
from gancomp.launch import PATIENCE_S
from gancomp.networks.whole_batch import look_at_whole_batches
from gancomp.ranks import Ranks, working_with
from gancomp.threads import compute_on

if TYPE_CHECKING:
    from gancomp.bench.scale import ScaleRequest

WAY_OUT = "start it again, with a smaller `batch_size` or `size` if a rank lacked memory"
Work = Callable[[Ranks], object]


@dataclass(frozen=True)
class Turn:
    """One step of so many ranks, by one rank's clock; or by all of theirs, once put together.

    Attributes:
        slowest_ms: from the moment all are there.
        collective_ms: of that, in collectives; the mean over ranks.
        processor_ms: that processors worked; the sum over ranks.
        bytes: that a rank handed in, by phase.
        threads: of each rank.
        processors: of this machine.
    """

    slowest_ms: float
    collective_ms: float
    processor_ms: float
    bytes: dict[str, int]
    threads: int
    processors: int


def take_turns(request: ScaleRequest) -> dict[int, list[Turn]] | GancompError:
    """One rank's turns, by number of ranks, or what the user can fix; torchrun's worker."""
    if request.threads is not None or max(request.ranks) > 1:
        compute_on(request.threads or 1)
    try:
        with joined(PATIENCE_S, WAY_OUT) as everyone:
            work = stepper(request)
            teams = {count: team_of(count, everyone) for count in request.ranks}
            found: dict[int, list[Turn]] = {count: [] for count in request.ranks}
            for round_number in range(request.warm_up + request.rounds):
                for count, team in teams.items():
                    everyone.barrier()
                    if team is None:
                        continue
                    turn = taken(work, team)
                    if round_number >= request.warm_up:
                        found[count].append(turn)
            return found
    except GancompError as error:
        return error


def team_of(count: int, everyone: Ranks) -> Ranks | None:
    """The first `count` ranks, if this one is among them; every rank comes here for each number."""
    if count == 1:
        return Ranks() if everyone.leads else None
    group = dist.new_group(list(range(count)))
    if everyone.rank >= count:
        return None
    return Team(
        everyone.rank,
        count,
        reduce=partial(dist.all_reduce, group=group),
        gather=partial(dist.all_gather, group=group),
    )


def taken(work: Work, team: Ranks) -> Turn:
    """One step of the team."""
    traffic = Traffic()  # a rank alone has none
    if isinstance(team, Team):
        team.traffic = traffic
    began, worked = time.perf_counter(), time.process_time()
    with working_with(team):
        work(team)
    elapsed, worked = time.perf_counter() - began, time.process_time() - worked
    traffic.settled()
    return Turn(
        elapsed * 1e3,
        traffic.seconds * 1e3,
        worked * 1e3,
        traffic.bytes(),
        torch.get_num_threads(),
        os.cpu_count() or 1,
    )


def stepper(request: ScaleRequest) -> Work:
    """What takes this rank's share of a step, and returns once the step is done.

    The learning rate is 0: teams differ in what they have trained, and need equal weights.
    """
    device = choose_device(request.device)
    if device.type == "cpu":
        keep_freed_memory()
    method = build(request.step()).to(device)
    optimize(method, WAYS["plain"])
    look_at_whole_batches(method)
    whole, watch = made_up_images(request.step()), FiniteWatch(late=device.type == "cuda")

    def share_of(team: Ranks) -> dict[str, Tensor]:
        rows = team.positions(request.images())
        return {
            name: images[rows].to(device).contiguous(memory_format=torch.channels_last)
            for name, images in whole.items()
        }

    def work(team: Ranks) -> list[float]:
        batch = all_or_none(partial(share_of, team), StopWish())
        assert batch is not None
        losses = take_step(
            method,
            Step(0, batch),
            Progress(0, 0, 1),
            rate=0.0,
            precision="fp32",
            device=device,
            watch=watch,
        )
        return torch.stack(list(losses.values())).tolist()

    return work


def all_turns(found: Mapping[int, Any]) -> dict[int, list[Turn]]:
    """The turns of all ranks put together, by number of ranks.

    Args:
        found: by rank, what `take_turns` returned.
    """
    together: dict[int, list[Turn]] = {}
    for count, leads in found[0].items():
        ranks = [found[rank][count] for rank in range(count)]
        together[count] = [
            Turn(
                max(turn.slowest_ms for turn in turns),
                sum(turn.collective_ms for turn in turns) / count,
                sum(turn.processor_ms for turn in turns),
                leads[0].bytes,
                leads[0].threads,
                leads[0].processors,
            )
            for turns in zip(*ranks, strict=True)
        ]
    return together
