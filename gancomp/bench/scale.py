"""`gancomp bench scale`: a training step shared by 1, 2, 4, ... processes that torchrun starts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from gancomp import console
from gancomp.bench import report
from gancomp.bench.ranks_turns import Turn, all_turns, take_turns
from gancomp.bench.train import TrainRequest
from gancomp.engine.device import choose_device
from gancomp.errors import ConfigError, GancompError, RunError
from gancomp.metrics.latency import Latency
from gancomp.ranks import Ranks, refuse_uneven
from gancomp.settings import Json
from gancomp.signals import handlers_restored
from gancomp.threads import at_most

GLOO, NCCL = "gloo", "nccl"
TAKEN = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")  # signals that torchrun's launcher keeps


@dataclass(frozen=True)
class ScaleRequest:
    """What is trained, DCD's step of `bench train`, and by how many ranks.

    Attributes:
        ranks: counts of processes, each of which takes the whole step in its turn.
        batch_size: images per step in all; None for one image for each of the most ranks.
        size: height and width in pixels.
        width: of the teacher (ngf); the student has a quarter of it.
        d_width: of the discriminators (ndf).
        rounds: timed steps of each count.
        warm_up: rounds before that.
        device: as `--device`; on GPUs each rank has one of its own.
        threads: CPU threads of each rank; None: as torchrun has it, 1 where there are several.
    """

    ranks: tuple[int, ...]
    batch_size: int | None = None
    size: int = 256
    width: int = 64
    d_width: int = 64
    rounds: int = 5
    warm_up: int = 1
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be run.

        Raises:
            ConfigError: naming the option.
        """
        most = at_most()
        if not self.ranks or min(self.ranks) < 1 or max(self.ranks) > most:
            raise ConfigError(f"`ranks` {shown(self.ranks)}: use numbers from 1 to {most}")
        if len(set(self.ranks)) < len(self.ranks):
            raise ConfigError(f"`ranks` {shown(self.ranks)}: name each number once")
        if self.rounds < 1:
            raise ConfigError(f"`rounds` {self.rounds}: must be at least 1")
        self.step()
        self.refuse_few_devices()
        for count in self.ranks:
            ranks = Ranks()
            ranks.size = count
            refuse_uneven(self.images(), 1, ranks)

    def refuse_few_devices(self) -> None:
        """Raises ConfigError if there are fewer GPUs than ranks."""
        device, most = choose_device(self.device), max(self.ranks)
        if device.type == "mps":
            raise ConfigError("`device` mps: several processes cannot share it; use `device` cpu")
        there = torch.cuda.device_count() if device.type == "cuda" else most
        if device.index is not None and most > 1:
            raise ConfigError(
                f"`device` {self.device}: each of {most} processes has a GPU of its own; use "
                "`device` cuda"
            )
        if most > there:
            raise ConfigError(
                f"`ranks` {shown(self.ranks)}: this machine has {there} GPUs, one for each "
                f"process; use up to {there}, or `device` cpu"
            )

    def images(self) -> int:
        """The images of a step in all."""
        return max(self.ranks) if self.batch_size is None else self.batch_size

    def step(self) -> TrainRequest:
        """The step that is shared."""
        return TrainRequest(
            size=self.size,
            batch_size=self.images(),
            width=self.width,
            d_width=self.d_width,
            threads=self.threads,
            device=self.device,
        )


def counts_of(text: str) -> tuple[int, ...]:
    """The numbers in `1,2,4`.

    Raises:
        ConfigError: if they are none.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and len(word) < 6 for word in words):
        raise ConfigError(f"`ranks` {text}: give numbers of processes, as in 1,2,4")
    return tuple(map(int, words))


def shown(counts: Sequence[int]) -> str:
    """`1,2,4`."""
    return ",".join(map(str, counts))


def bench_scale(request: ScaleRequest, say: Callable[[str], None]) -> Json:
    """Times the step by each number of ranks, in turns, among processes that torchrun starts.

    They are started once, as many as the largest number; in each turn the first ones share the
    step, and the others wait.

    Returns: the document of `bench scale --json`. Of each number of ranks: the slowest rank's
        milliseconds; those in collectives, waiting for other ranks included; those that all
        processors worked; images/s; by how much faster per rank than the smallest number.

    Raises:
        ConfigError: for a device that is not there.
        RunError: if a rank fails.
    """
    device = choose_device(request.device)
    say(f"torchrun starts {max(request.ranks)} processes")
    turns = all_turns(launched(request))
    timed = {named(count): latency_of(turns[count]) for count in request.ranks}
    first = min(request.ranks)
    document = report.document(
        "scale",
        f"joint DCD step, {request.size} px, batch {request.images()} in all, teacher "
        f"mobile-resnet9 {request.width}, student {request.width // 4}, random VGG16",
        timed,
        of=named(first),
        device=device,
        num_images=request.images(),
    )
    medians = {count: timed[named(count)].median_ms for count in request.ranks}
    for count in request.ranks:
        document["contestants"][named(count)] |= {
            "ranks": count,
            "collectives_ms": collective_ms(turns[count]),
            "efficiency": round(medians[first] * first / (medians[count] * count), 4),
        }
    any_turn = turns[max(request.ranks)][0]
    document["machine"]["threads"] = any_turn.threads
    return document | {
        "backend": NCCL if device.type == "cuda" else GLOO,
        "bytes": any_turn.bytes,
        "notes": notes_of(request, device, any_turn),
    }


def named(count: int) -> str:
    """`1 rank`, `2 ranks`."""
    return f"{count} rank{'s' if count > 1 else ''}"


def latency_of(turns: Sequence[Turn]) -> Latency:
    """A step takes as long as its slowest rank, and the processor time of all of them."""
    times = [turn.slowest_ms for turn in turns]
    return Latency(
        statistics.median(times),
        min(times),
        max(times),
        len(times),
        statistics.median(turn.processor_ms for turn in turns),
    )


def collective_ms(turns: Sequence[Turn]) -> float:
    """Milliseconds of a step in collectives, the ranks' mean, the rounds' median."""
    return round(statistics.median(turn.collective_ms for turn in turns), 3)


def notes_of(request: ScaleRequest, device: torch.device, turn: Turn) -> list[str]:
    """What a reader should know beside the numbers."""
    notes = [
        "efficiency is how much faster than "
        f"{named(min(request.ranks))}, by rank; in collectives: waiting for other ranks included",
        "MB that each rank hands to the others in a step, by phase: "
        + ", ".join(f"{name} {count / 1e6:.3g}" for name, count in turn.bytes.items()),
    ]
    if device.type == "cpu" and max(request.ranks) * turn.threads > turn.processors:
        notes.append(
            f"this machine has {turn.processors} processors: with more ranks than that, ranks wait "
            "for processors, and efficiency says nothing about GPUs"
        )
    return notes


def launched(request: ScaleRequest) -> dict[int, Any]:
    """What each rank returns, by rank; torchrun's own launcher starts them and ends them.

    Raises:
        RunError: if one fails.
        GancompError: that a rank met.
        KeyboardInterrupt: at a signal, after the ranks were ended.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=max(request.ranks),
        run_id=f"bench-scale-{time.time_ns()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="forkserver",  # of "spawn", each would import torch anew
    )
    try:
        with handlers_restored(*TAKEN):
            results = elastic_launch(config, take_turns)(request)
    except SignalException as error:
        raise KeyboardInterrupt from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise RunError(
            f"bench scale: rank {rank} ended ({first_line(failure.message)}); use a smaller "
            "`batch_size` or `size` if it lacks memory"
        ) from error
    for result in results.values():
        if isinstance(result, GancompError):
            raise result
    return cast(dict[int, Any], results)


def first_line(message: Any) -> str:
    """The line of an error that says most."""
    text = message.get("message", "") if isinstance(message, dict) else str(message)
    return (text.strip().splitlines() or ["no reason given"])[0][:200]


def show_scale(document: Json) -> None:
    """Prints the document as a table."""
    titles = ["", "median ms", "min to max", "images/s", "efficiency", "in collectives"]
    table = [
        [
            name,
            f"{row['median_ms']:.1f}",
            f"{row['min_ms']:.1f} to {row['max_ms']:.1f}",
            f"{row['images_per_second']:.2f}",
            f"{row['efficiency']:.0%}",
            f"{row['collectives_ms']:.1f} ms, {row['collectives_ms'] / row['median_ms']:.0%}",
            f"{row['processor_ms']:.0f}",
        ]
        for name, row in document["contestants"].items()
    ]
    console.print_table([*titles, "processor ms"], table)
    facts = document["machine"]
    console.stdout.print(
        f"{document['what']}; {document['backend']}; {facts['device']}, {facts['threads']} threads "
        f"per rank, torch {facts['torch']}, Python {facts['python']}, gancomp {facts['gancomp']}"
    )
    for note in document["notes"]:
        console.stdout.print(note)
