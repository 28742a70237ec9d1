"""What ranks hand to each other: collectives, bytes and time, by the phase of a step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gancomp.engine.group import Group

AGREEMENT = "agreement"  # between two steps


@dataclass
class Handed:
    """What a rank has handed in within one phase: collectives of each kind, and their bytes."""

    sums: int = 0
    sum_bytes: int = 0
    gathers: int = 0
    gather_bytes: int = 0


@dataclass
class Traffic:
    """What one rank has handed in so far.

    Attributes:
        phases: by phase.
        seconds: spent in it, waiting for other ranks included; those on a GPU once `settled`.
    """

    phases: dict[str, Handed] = field(default_factory=dict)
    seconds: float = 0.0
    _on_gpu: list[tuple[torch.Event, torch.Event]] = field(default_factory=list)

    def bytes(self) -> dict[str, int]:
        """Bytes of all kinds, by phase."""
        return {name: one.sum_bytes + one.gather_bytes for name, one in self.phases.items()}

    def settled(self) -> Traffic:
        """Itself, with what the GPU has done, which is waited for."""
        for began, ended in self._on_gpu:
            ended.synchronize()
            self.seconds += began.elapsed_time(ended) / 1e3
        self._on_gpu.clear()
        return self

    def add(self, phase: str, values: Tensor, *, is_sum: bool) -> None:
        """Counts one collective in which this rank hands in `values`."""
        found, size = (
            self.phases.setdefault(phase, Handed()),
            values.numel() * values.element_size(),
        )
        if is_sum:
            found.sums += 1
            found.sum_bytes += size
        else:
            found.gathers += 1
            found.gather_bytes += size

    @contextlib.contextmanager
    def timed(self, values: Tensor) -> Iterator[None]:
        """Times one."""
        if values.is_cuda:
            began, ended = (torch.Event("cuda", enable_timing=True) for _ in range(2))
            began.record()
            yield
            ended.record()
            self._on_gpu.append((began, ended))
            return
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started


class Team(Group):
    """Ranks of a group that is there already, counting what they hand to each other.

    Args:
        rank: of this process among them.
        size: how many they are.
        reduce: adds up a tensor over them, in its place.
        gather: fills a list of tensors with all ranks' values.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        *,
        reduce: Callable[[Tensor], object],
        gather: Callable[[list[Tensor], Tensor], object],
    ) -> None:
        self.rank, self.size, self.traffic = rank, size, Traffic()
        self._open, self._reduce, self._gather = True, reduce, gather
        self._dist: Any = self  # a group calls torch.distributed by these two names

    def all_reduce(self, values: Tensor) -> None:
        """As torch's, among the team."""
        self.traffic.add(self._phase(), values, is_sum=True)
        with self.traffic.timed(values):
            self._reduce(values)

    def all_gather(self, whole: list[Tensor], values: Tensor) -> None:
        """As torch's, among the team."""
        self.traffic.add(self._phase(), values, is_sum=False)
        with self.traffic.timed(values):
            self._gather(whole, values)

    def _phase(self) -> str:
        return AGREEMENT if self.place is None else self.place[1]


def mirrored(size: int = 2) -> Team:
    """A rank that takes itself for all others, too: a step's traffic without other processes."""

    def reduce(values: Tensor) -> None:
        values.mul_(size)

    def gather(whole: list[Tensor], values: Tensor) -> None:
        for place in whole:
            place.copy_(values)

    return Team(0, size, reduce=reduce, gather=gather)
