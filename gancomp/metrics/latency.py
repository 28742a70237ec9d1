"""How long a network takes on this machine: warm, in turns with the others, by the median."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NUM_RUNS = 20


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one forward pass.

    Attributes:
        median_ms: the figure to quote.
        min_ms: fastest pass.
        max_ms: slowest pass; far from the median on a busy machine.
        num_runs: passes that were timed, after the warm-up.
    """

    median_ms: float
    min_ms: float
    max_ms: float
    num_runs: int


def measure_latency(
    networks: Sequence[nn.Module],
    inputs: Sequence[Tensor],
    *,
    num_runs: int = NUM_RUNS,
    warm_up: int = 3,
) -> list[Latency]:
    """Times each network on its input, one after the other in every round (A B A B ...).

    Taking turns keeps a comparison fair while the machine's speed drifts.

    Args:
        networks: in the mode and on the device they are to be timed in.
        inputs: one per network, on its device.
        num_runs: timed rounds.
        warm_up: rounds before that, for caches and lazy initialisation.

    Returns: one latency per network, in their order.
    """
    times_ms: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for index in range(warm_up + num_runs):
            for network, images, kept in zip(networks, inputs, times_ms, strict=True):
                elapsed_ms = _time_ms(network, images)
                if index >= warm_up:
                    kept.append(elapsed_ms)
    return [Latency(statistics.median(kept), min(kept), max(kept), num_runs) for kept in times_ms]


def _time_ms(network: nn.Module, images: Tensor) -> float:
    _finish(images.device)
    start = time.perf_counter()
    network(images)
    _finish(images.device)
    return (time.perf_counter() - start) * 1e3


def _finish(device: torch.device) -> None:
    if device.type == "cuda":  # kernels run behind our back
        torch.cuda.synchronize(device)
