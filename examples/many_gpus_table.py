"""What ranks hand to each other in a training step, counted, and how long that takes, by a model.

    python examples/many_gpus_table.py

For each of the runs below, with the networks and options of its preset, it takes steps on the CPU
as one of two ranks would, and counts every collective, its bytes and the floating-point operations
of a step (by torch's own counter: convolutions and products). Then it applies a model of a cluster
to them: machines of 8 GPUs; a collective takes its latency, and its bytes divided by the bandwidth.
The last line says what was assumed; `--machine-gbs`, `--network-gbs`, `--tflops`, ... change it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gancomp.api.arguments import overrides
from gancomp.bench.traffic import AGREEMENT, Traffic, mirrored
from gancomp.data.demo_set import write_demo_set
from gancomp.data.loader import batches
from gancomp.engine.meeting import all_or_none
from gancomp.engine.phases import Progress, Step
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.engine.stopping import StopWish
from gancomp.networks.plain import use_torch_frozen
from gancomp.networks.whole_batch import look_at_whole_batches
from gancomp.planning.plan import make_plan
from gancomp.ranks import working_with
from gancomp.recipes.distill import build
from gancomp.training.steps import images_per_step, make_reader
from gancomp.training.ways import Silent

GPUS = (8, 16, 32, 64, 128, 256, 512)
PER_MACHINE = 8
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A run whose steps are counted.

    Attributes:
        command: `distill` or `pretrain`.
        options: of it.
        images: of each rank while it is counted; StyleGAN2's deviation needs two.
    """

    command: str
    options: dict[str, Any]
    images: int = 1


CASES = {
    "dcd, unpaired, 256 px": Case("distill", {"method": "dcd", "task": "unpaired"}),
    "dgl, StyleGAN2, 256 px": Case(
        "distill", {"method": "dgl", "task": "synthesis", "arch": "stylegan2"}, images=2
    ),
    "srgan, x4, 96 px": Case("pretrain", {"task": "super-resolution"}),
}


@dataclass
class Cluster:
    """The model: what is assumed of the machines.

    Attributes:
        machine_gbs: GB/s at which each GPU adds up with the others of its machine.
        network_gbs: GB/s of a whole machine's network.
        machine_us: latency of a collective within a machine.
        network_us: what each doubling of the number of machines adds to it.
        agreement_us: of the agreement between two steps, by TCP, for each rank.
        tflops: 10^12 operations per second that a GPU does on average in a step.
    """

    machine_gbs: float = 200.0
    network_gbs: float = 50.0
    machine_us: float = 30.0
    network_us: float = 20.0
    agreement_us: float = 50.0
    tflops: float = 20.0

    def latency(self, gpus: int) -> float:
        """Seconds that a collective takes if there is nothing to hand on."""
        machines = gpus / PER_MACHINE
        return (self.machine_us + self.network_us * math.log2(max(machines, 1))) / 1e6

    def reduce(self, gpus: int, size: float) -> float:
        """Seconds of a sum of `size` bytes over all: a ring in each machine, one over machines."""
        inside, machines = min(gpus, PER_MACHINE), gpus / PER_MACHINE
        seconds = 2 * (inside - 1) / inside * size / self.machine_gbs
        if machines > 1:
            seconds += 2 * (machines - 1) / machines * size / self.network_gbs
        return self.latency(gpus) + seconds / 1e9

    def gather(self, gpus: int, size: float) -> float:
        """Seconds until all have the `size` bytes of each."""
        outside = max(gpus - PER_MACHINE, 0) / self.network_gbs
        seconds = (min(gpus, PER_MACHINE) - 1) / self.machine_gbs + outside
        return self.latency(gpus) + seconds * size / 1e9


class Operations(TorchDispatchMode):
    """Counts floating-point operations, of backward passes and their gradients too."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Runs the operator."""
        made = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.count += count(*args, **(kwargs or {}), out_val=made)
        return made


class Watched:
    """A method whose floating-point operations are noted whenever a phase begins."""

    def __init__(self, method: Any, counter: Operations) -> None:
        self.method, self.counter = method, counter
        self.phases = method.phases
        self.marks: list[tuple[str, int]] = []

    def losses(self, phase: str, step: Step) -> Any:
        """The method's, in that phase."""
        self.marks.append((phase, self.counter.count))
        return self.method.losses(phase, step)

    def operations(self) -> dict[str, int]:
        """By phase."""
        ends = [count for _, count in self.marks[1:]] + [self.counter.count]
        return {name: end - start for (name, start), end in zip(self.marks, ends, strict=True)}


@dataclass
class Counted:
    """What a step was counted to cost, in the mean over the steps until the lazy phases repeat.

    Attributes:
        phases: of each phase, what a rank hands in when it has its turn, and every how many steps.
        sums: all-reduces of a step.
        sum_bytes: of these, whatever the batch.
        gathers: all-gathers of a step, the agreement between two steps left out.
        gather_bytes: of these, for each image of the rank.
        operations: floating-point operations for each image.
    """

    phases: dict[str, dict[str, float]]
    sums: float = 0.0
    sum_bytes: float = 0.0
    gathers: float = 0.0
    gather_bytes: float = 0.0
    operations: float = 0.0


def counted(case: Case, folder: Path, **smaller: Any) -> Counted:
    """Takes the first step of the run, in which all phases have their turn, as one of two ranks."""
    write_demo_set(folder, size=288, train=2 * case.images, test=1)
    dataset = folder if case.options["task"] == "unpaired" else folder / "trainA"
    asked = {"dataset": dataset, "batch_size": 2 * case.images, "perceptual": "random"}
    asked |= case.options | smaller
    if case.options["task"] == "synthesis":
        del asked["perceptual"]
    plan = make_plan(case.command, overrides(case.command, asked), lambda message: None)
    method = build(plan, Silent(), CPU).method
    use_torch_frozen(method)  # of whose short cuts the counter knows nothing
    look_at_whole_batches(method)
    method.train()
    reader = make_reader(plan, Silent())
    whole = next(batches(reader, batch_size=images_per_step(plan), seed=0, workers=0))
    team, watch = mirrored(), FiniteWatch(late=False)
    with working_with(team), Operations() as counter:
        share = {name: value[: len(value) // 2] for name, value in whole.items()}
        batch = all_or_none(lambda: share, StopWish())
        watched = Watched(method, counter)
        take_step(
            watched,  # type: ignore[arg-type]  # all of it that a step needs
            Step(0, batch or {}),
            Progress(0, 0, 1),
            rate=1.0,
            precision="fp32",
            device=CPU,
            watch=watch,
        )
        operations = watched.operations()
    every = {phase.name: phase.every for phase in method.phases()}
    return summed_up(team.traffic, operations, every, case.images)


def summed_up(
    traffic: Traffic, operations: dict[str, int], every: dict[str, int], images: int
) -> Counted:
    """The mean step."""
    result = Counted({})
    for name, count in operations.items():
        handed, turns = traffic.phases[name], every[name]
        result.phases[name] = asdict(handed) | {"every": turns}
        result.sums += handed.sums / turns
        result.sum_bytes += handed.sum_bytes / turns
        result.gathers += handed.gathers / turns
        result.gather_bytes += handed.gather_bytes / turns / images
        result.operations += count / turns / images
    assert traffic.phases[AGREEMENT].gathers == 1
    return result


def collectives_s(cost: Counted, cluster: Cluster, gpus: int, images: int) -> float:
    """Seconds of a step in collectives, none of which goes on behind the computing."""
    sums = max(cost.sums, 1e-9)
    gathers = max(cost.gathers, 1e-9)
    return (
        sums * cluster.reduce(gpus, cost.sum_bytes / sums)
        + gathers * cluster.gather(gpus, images * cost.gather_bytes / gathers)
        + cluster.agreement_us * gpus / 1e6
    )


def computing_s(cost: Counted, cluster: Cluster, images: int) -> float:
    """Seconds that a GPU computes in a step."""
    return images * cost.operations / cluster.tflops / 1e12


def count_table(costs: dict[str, Counted]) -> str:
    """What was counted, in Markdown."""
    lines = [
        "| run | phase | in each | summed, MB | gathered, KB | collectives |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, cost in costs.items():
        for phase, row in cost.phases.items():
            step = "step" if row["every"] == 1 else f"{row['every']} steps"
            lines.append(
                f"| {name} | {phase} | {step} | {row['sum_bytes'] / 1e6:.2f} | "
                f"{row['gather_bytes'] / 1e3:.1f} | {row['sums'] + row['gathers']} |"
            )
        lines.append(
            f"| {name} | mean step | | {cost.sum_bytes / 1e6:.2f} | {cost.gather_bytes / 1e3:.1f} "
            f"per image | {cost.sums + cost.gathers:.1f} |"
        )
    return "\n".join(lines)


def model_table(
    costs: dict[str, Counted], cluster: Cluster, images: Sequence[int] = (1, 4, 16)
) -> str:
    """By the model: milliseconds in collectives, and the share of time that GPUs compute."""
    many = " | ".join(f"{count} image{'s' if count > 1 else ''} each" for count in images)
    lines = [f"| run | GPUs | {many} |", "| --- | --- |" + " --- |" * len(images)]
    for name, cost in costs.items():
        for gpus in GPUS:
            cells = []
            for count in images:
                talk = collectives_s(cost, cluster, gpus, count)
                share = (work := computing_s(cost, cluster, count)) / (work + talk)
                cells.append(f"{talk * 1e3:.1f} ms, {share:.0%}")
            lines.append(f"| {name} | {gpus} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add, known = parser.add_argument, Cluster()
    add("--machine-gbs", type=float, default=known.machine_gbs)
    add("--network-gbs", type=float, default=known.network_gbs)
    add("--machine-us", type=float, default=known.machine_us)
    add("--network-us", type=float, default=known.network_us)
    add("--agreement-us", type=float, default=known.agreement_us)
    add("--tflops", type=float, default=known.tflops)
    add("--counts", type=Path, help="where the counts are kept, once made")
    given = vars(parser.parse_args())
    kept: Path | None = given.pop("counts")
    cluster, costs = Cluster(**given), {}
    if kept is not None and kept.exists():
        costs = {name: Counted(**row) for name, row in json.loads(kept.read_text()).items()}
    for name, case in CASES.items():
        if name not in costs:
            print(f"{name}: one step on the CPU", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                costs[name] = counted(case, Path(folder))
            if kept is not None:
                kept.write_text(json.dumps({key: asdict(row) for key, row in costs.items()}))
    print(count_table(costs), model_table(costs, cluster), sep="\n\n")
    print("\nthe model: " + ", ".join(f"{name} {value:g}" for name, value in given.items()))


if __name__ == "__main__":
    main()
