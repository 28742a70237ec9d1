"""What a training step of each method costs on your data: a few steps of each, one after another.

    python examples/methods_cost.py --dataset horse2zebra --out runs/methods-cost

For each method that has settings for the task, it does in a process of its own what
`gancomp distill --dataset horse2zebra --method dcd --max-steps 10 --batch-size 1` does for that
one (two images for `cat`, which compares them with each other), and the first method once more at
the end: how far its two rows are apart is how far this machine's figures may be trusted. A step's
seconds are the median of all but the first step, in processor time (all threads), which other work
on the machine disturbs least; the memory is the whole process's, at most. Each loss term of each
step must be finite; the table names those that are not the teacher's or its discriminator's.

What is finished is in OUT/METHOD/cost.json and is not done again; the table is in OUT/table.md. Set
OMP_NUM_THREADS=1 for one thread. Weights of VGG are found as ever (GANCOMP_VGG16).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gancomp.api.arguments import overrides
from gancomp.api.boundary import LogView
from gancomp.api.run import Run
from gancomp.presets import all_presets
from gancomp.recipes.distill import distill

LEAST_BATCH = {"cat": 2}  # it relates the images of a batch to each other
AGAIN = "-again"  # after the name of the first method's second folder


class Stopwatch(LogView):
    """Notes the processor time at which each step was logged, and what was logged."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.records: list[dict[str, Any]] = []

    def advance(self, record: dict[str, Any]) -> None:
        """A step was logged."""
        self.times.append(time.process_time())
        self.records.append(record)


def measure(method: str, given: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Trains `given.steps` steps in this process; what they cost, and their terms."""
    options = dict(
        (name.replace("-", "_"), json.loads(value))
        for name, value in (pair.split("=", 1) for pair in given.set)
    )
    watch = Stopwatch()
    asked = {"dataset": given.dataset, "task": given.task, "method": method, "out": out}
    asked |= {"max_steps": given.steps, "log_every": 1, "workers": 0, "device": "cpu"}
    asked["batch_size"] = LEAST_BATCH.get(method, 1)
    distill(overrides("distill", asked | options), watch)
    terms = {name for record in watch.records for name in record["losses"]}
    wrong = [
        f"step {record['step']}: {name} is {value}"
        for record in watch.records
        for name, value in record["losses"].items()
        if not math.isfinite(value)
    ]
    if wrong or len(watch.records) != given.steps:
        sys.exit(f"{method}: {len(watch.records)} steps; {', '.join(wrong) or 'all finite'}")
    steps = [later - sooner for sooner, later in zip(watch.times, watch.times[1:], strict=False)]
    networks = {role: one.network for role, one in Run(out).generators.items()}
    return {
        "method": method,
        "batch_size": asked["batch_size"],
        "networks": {
            role: f"{network.arch} {network.width}, {num_parameters(network) / 1e6:.2f}M"
            for role, network in networks.items()
        },
        "seconds_per_step": statistics.median(steps),
        "each": [round(seconds, 3) for seconds in steps],
        "peak_memory_mb": watch.records[-1]["memory_mb"],
        "terms": sorted(terms),
    }


def num_parameters(network: torch.nn.Module) -> int:
    """All of its weights."""
    return sum(parameter.numel() for parameter in network.parameters())


def methods_of(task: str) -> list[str]:
    """The methods with settings for `task`, in the order of `gancomp methods`."""
    rows = [row for row in all_presets() if row.command == "distill" and row.task == task]
    return list(dict.fromkeys(row.method for row in rows))


def table(costs: list[dict[str, Any]]) -> str:
    """The costs in Markdown, each beside the first one's."""
    first = costs[0]
    names = f"times {first['method']}"
    lines = [
        f"| method | teacher; student | steps | seconds each | {names} | peak memory | terms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for index, cost in enumerate(costs):
        note = ", again" if index and cost["method"] == first["method"] else ""
        note += f", batch {cost['batch_size']}" if cost["batch_size"] > 1 else ""
        seconds = cost["seconds_per_step"]
        networks = "; ".join(cost["networks"][role] for role in ("teacher", "student"))
        lines.append(
            f"| `{cost['method']}`{note} | {networks} | {len(cost['each']) + 1} | {seconds:.2f} | "
            f"{seconds / first['seconds_per_step']:.2f} | {cost['peak_memory_mb'] / 1024:.1f} GiB "
            f"| {shown(cost['terms'])} |"
        )
    return "\n".join(lines) + "\n"


def shown(terms: list[str]) -> str:
    """The names of the terms but those of the teacher's own GAN, those of one module together."""
    modules: dict[str, list[str]] = {}
    for term in terms:
        module, _, name = term.partition("/")
        if module not in ("teacher", "discriminator"):
            modules.setdefault(module, []).append(name)
    return "; ".join(f"{module}: {', '.join(names)}" for module, names in modules.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="folder, or a known name")
    parser.add_argument("--task", default="unpaired", choices=["unpaired", "paired"])
    parser.add_argument("--methods", nargs="*", help="default: all of the task, dcd first")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/methods-cost"))
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=JSON", help="further options of every run"
    )
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "RUN"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        method, out = given.one
        cost = measure(method, given, Path(out))
        (Path(out) / "cost.json").write_text(json.dumps(cost, indent=2) + "\n")
        return
    costs = []
    methods = given.methods or methods_of(given.task)
    for index, method in enumerate([*methods, methods[0]]):
        out = given.out / (f"{method}{AGAIN}" if index == len(methods) else method)
        if not (out / "cost.json").exists():
            print(f"{time.strftime('%H:%M:%S')} {method}", flush=True)
            command = [sys.executable, *sys.argv, "--one", method, str(out)]
            if subprocess.run(command, check=False).returncode != 0:
                sys.exit(f"{method} failed; see above")
        costs.append(json.loads((out / "cost.json").read_text()))
        (given.out / "table.md").write_text(table(costs))
    print(table(costs))


if __name__ == "__main__":
    main()
