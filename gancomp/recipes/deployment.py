"""`gancomp profile --latency` with exported files: every way to run them, in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from gancomp import console
from gancomp.export.deployed import DeployedGenerator
from gancomp.metrics.latency import time_in_turns
from gancomp.networks.accelerate import accelerate
from gancomp.networks.base import TappedNetwork
from gancomp.networks.plain import plain_copy
from gancomp.settings import Json
from gancomp.threads import compute_on

THREADS = (1, 2)
MOST_S = 60.0  # no further round is begun after so many seconds, once five are done
EAGER, OURS = "PyTorch, eager", "gancomp"


def time_everywhere(
    networks: Sequence[TappedNetwork], inputs: Sequence[Any], threads: Sequence[int] = THREADS
) -> list[list[Json]]:
    """The milliseconds of every way to run each network, on each number of threads.

    Args:
        networks: in eval mode on the CPU.
        inputs: one for each.
        threads: numbers of them; of one, all that torch, we and the runtimes compute on.

    Returns: for each network, a list of `way`, `threads`, `ms`, `range_ms` and `processor_ms`, the
        medians of warm passes that take turns, and how many `runs` these were.
    """
    keys: dict[str, tuple[int, str, int]] = {}
    contestants: dict[str, Callable[[], object]] = {}
    for index, (network, given) in enumerate(zip(networks, inputs, strict=True)):
        for way, run in _ways(network).items():
            for number in threads:
                key = f"{index} {way} {number}"
                keys[key], contestants[key] = (index, way, number), partial(run, given)

    def ready(key: str) -> None:
        index, _, number = keys[key]
        compute_on(number)
        network = networks[index]
        if isinstance(network, DeployedGenerator):
            network.session().prepare()

    before = torch.get_num_threads()
    try:
        with torch.inference_mode():
            timed = time_in_turns(contestants, before=ready, settled=True, seconds=MOST_S)
    finally:
        torch.set_num_threads(before)
    found: list[list[Json]] = [[] for _ in networks]
    for key, (index, way, number) in keys.items():
        latency = timed[key]
        worked = latency.processor_ms
        found[index].append(
            {
                "way": way,
                "threads": number,
                "ms": round(latency.median_ms, 3),
                "range_ms": [round(latency.min_ms, 3), round(latency.max_ms, 3)],
                "processor_ms": None if worked is None else round(worked, 3),
                "runs": latency.num_runs,
            }
        )
    return found


def _ways(network: TappedNetwork) -> dict[str, Callable[[Any], object]]:
    if isinstance(network, DeployedGenerator):
        return {network.how: network}
    return {EAGER: plain_copy(network), OURS: accelerate(network)}


def add_ways(rows: list[Json], networks: Sequence[TappedNetwork], threads: int | None) -> Json:
    """Times every way, adds `ways` to each row; returns what they were timed on.

    A row's `latency_ms` is that of the most threads, as gancomp or the file's runtime runs it.
    """
    counts = THREADS if threads is None else (threads,)
    inputs = [
        network.example_input(row["input"]) for network, row in zip(networks, rows, strict=True)
    ]
    for row, ways in zip(rows, time_everywhere(networks, inputs, counts), strict=True):
        row["ways"] = ways
        own = [way for way in ways if way["way"] != EAGER][-1]
        row["latency_ms"], row["latency_range_ms"] = own["ms"], own["range_ms"]
        for way in ways:
            if way["way"] == EAGER and way["threads"] == own["threads"]:
                row["latency_eager_ms"] = way["ms"]
    ways_named = dict.fromkeys(way["way"] for row in rows for way in row["ways"])
    return {
        "latency": {
            "device": "cpu",
            "threads": counts[-1],
            "runs": rows[0]["ways"][0]["runs"],
            "backend": f"torch {torch.__version__}, float32; {'; '.join(ways_named)}",
        }
    }


def show_ways(rows: list[Json]) -> None:
    """Prints a line for each way to run each model, with a column for each number of threads."""
    counts = list(dict.fromkeys(way["threads"] for row in rows for way in row["ways"]))
    table = []
    for row in rows:
        for way in dict.fromkeys(item["way"] for item in row["ways"]):
            cells = [
                f"{item['ms']:.1f} ({item['processor_ms']:.1f})"
                for item in row["ways"]
                if item["way"] == way
            ]
            table.append([f"{row['role']} {row['arch']} {row['width']}", way, *cells])
    columns = [f"{count} thread{'s' * (count > 1)}" for count in counts]
    console.print_table(["model", "ms (of all processors)", *columns], table)
