"""Structured pruning: a trained generator without the channels whose weights are smallest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import Json
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.budget import Budget, Meter, costs, input_shape, read_budget
from gancomp.shrink.coupled import Coupled
from gancomp.shrink.options import MagnitudeOptions
from gancomp.shrink.prunable import Group, Prunable, Removed
from gancomp.shrink.traced import Traced

CLOSE = 0.995  # of the budget: near enough
MOST_REFILLS = 32  # channels that are tried again once the budget is met
Channel = tuple[str, int]  # the layer of its group, and its index
MOST_NAMES = 5  # of layers that are kept whole
TRACED_SIZE = 64  # of the image that dependencies are found with, where the network takes it


class Magnitude:
    """Channels go by the norm of their weights over all the layers that share them, lowest first.

    Layers that share channels (those along a residual path) decide once. Norms are compared over
    the whole network, each relative to the mean of its group. What is left keeps its weights.

    Source: Li et al. 2017 (Pruning Filters for Efficient ConvNets); groups of layers: Fang et al.
    2023 (DepGraph), by the library Torch-Pruning where a network has settings for the width of each
    layer. Others (pixel shuffles, modulated convolutions, code of one's own) are followed operator
    by operator, see `Traced`.
    """

    example = "50%"
    from_settings = False
    prunes = True
    Options = MagnitudeOptions

    def __init__(self, options: MagnitudeOptions) -> None:
        self.options = options

    def read(self, asked: str, budget: str) -> Budget:
        """The budget; a share is of the teacher's MACs."""
        return read_budget(asked, budget)

    def shrink(self, request: ShrinkRequest) -> Shrunk:
        """The pruned teacher, its settings and weights.

        Raises:
            ConfigError: if the teacher is not trained, cannot be pruned, or not so far.
        """
        if request.open_teacher is None:
            raise ConfigError(f"{request.asked}: prunes a trained teacher; give `teacher` FILE")
        if request.student.arch != request.teacher.arch:
            raise ConfigError(
                f"{request.asked}: prunes the teacher, {request.teacher.arch}; remove "
                f"`student_arch` {request.student.arch}"
            )
        teacher = request.open_teacher()
        meter = Meter.for_request(request, self.options)
        shape = _traced_shape(teacher)
        prunable: Prunable = (
            Coupled(teacher, shape, request.asked)
            if teacher.layer_widths
            else Traced(teacher, shape, request.asked)
        )
        if prunable.skipped:
            request.say(f"{request.asked}: {_kept_whole(prunable.skipped)}")
        removed = removed_within(prunable, meter, self.options.min_share, request.asked)
        return _shrunk(prunable, removed, meter, request)


def _kept_whole(layers: list[str]) -> str:
    shown = ", ".join(layers[:MOST_NAMES]) + (", ..." if len(layers) > MOST_NAMES else "")
    return f"keeps {shown} whole: what these layers' channels are coupled to cannot be followed"


def removed_within(prunable: Prunable, meter: Meter, min_share: float, asked: str) -> Removed:
    """The lowest channels whose removal meets the budget, fewer where some would not have to go.

    Raises:
        ConfigError: beginning with `asked`, if the budget is too small.
    """
    limit, order = meter.limit(prunable.network), _ranked(prunable.groups, min_share)

    def cost(channels: list[Channel]) -> float:
        removed = _by_layer(channels)
        if meter.budget.measure == "ms":
            return meter.of_settings(prunable.settings(removed))
        return meter.of(prunable.ghost(removed))

    if cost([]) <= limit:
        return {}
    if (least := cost(order)) > limit:
        raise ConfigError(
            f"{asked}: with every layer at its least share {prunable.network.arch} still takes "
            f"{meter.worded(least)}; give more, or a smaller `min_share`"
        )
    num = _fewest(len(order), lambda num: cost(order[:num]) <= limit)
    if meter.budget.measure != "ms":
        return _by_layer(_refilled(order[:num], cost, limit))
    # a clock is too coarse to tell single channels apart, and no two measurements are equal
    while num < len(order) and cost(order[:num]) > limit:
        num = min(len(order), num + math.ceil(len(order) / 100))
    return _by_layer(order[:num])


def _ranked(groups: list[Group], min_share: float) -> list[Channel]:
    """Layer and channel of all that may go, what matters least first."""
    ranked: list[tuple[float, str, int]] = []
    for group in groups:
        kept = max(1, math.ceil(min_share * len(group.scores)))
        lowest = torch.argsort(group.scores, stable=True)[: len(group.scores) - kept]
        ranked += [(float(group.scores[index]), group.layer, int(index)) for index in lowest]
    return [(layer, index) for _, layer, index in sorted(ranked)]


def _by_layer(channels: list[Channel]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for layer, index in channels:
        found.setdefault(layer, []).append(index)
    return found


def _fewest(most: int, meets: Callable[[int], bool]) -> int:
    """The smallest number that meets a condition, by bisection; `most` does."""
    fails, found = 0, most
    while found - fails > 1:
        middle = (fails + found) // 2
        if meets(middle):
            found = middle
        else:
            fails = middle
    return found


def _refilled(
    gone: list[Channel], cost: Callable[[list[Channel]], float], limit: float
) -> list[Channel]:
    """Without the most important ones that fit in after all: layers differ in what they cost."""
    reached = cost(gone)
    for channel in gone[::-1][1 : 1 + MOST_REFILLS]:
        if reached >= CLOSE * limit:
            break
        fewer = [other for other in gone if other != channel]
        if (now := cost(fewer)) <= limit:
            gone, reached = fewer, now
    return gone


def _shrunk(prunable: Prunable, removed: Removed, meter: Meter, request: ShrinkRequest) -> Shrunk:
    teacher, pruned = prunable.network, prunable.without(removed)
    weights = {name: value.detach() for name, value in pruned.state_dict().items()}
    student = prunable.settings(removed)
    built = build_network(student.arch, **student.arguments())
    built.load_state_dict(weights)
    found: Json = {
        "teacher": costs(teacher, request.size),
        **costs(built, request.size),
        "removed": {layer: len(channels) for layer, channels in removed.items()},
        "kept_whole": prunable.skipped,
        "difference_from_masked": difference(prunable, removed, built),
    }
    timed = ""
    if meter.budget.measure == "ms":
        ms = meter.of(built)
        found |= meter.clock.facts(ms)
        timed = f"; takes {meter.worded(ms)}"
    share = found["macs"] / found["teacher"]["macs"]
    request.say(
        f"{request.asked}: {sum(map(len, removed.values()))} channels go; "
        f"{found['macs'] / 1e9:.4g}G MACs ({share:.1%}), {found['params']:,} parameters are left"
        f"{timed}"
    )
    return Shrunk(student, weights, found)


@torch.no_grad()
def difference(prunable: Prunable, removed: Removed, pruned: TappedNetwork) -> float:
    """The largest difference of the pruned network's output from that of the masked one.

    On noise with the values of images. 0 but for rounding where nothing but the removed channels
    changed.
    """
    generator = torch.Generator().manual_seed(0)
    inputs: Any = prunable.network.example_input(prunable.shape)
    if isinstance(inputs, Tensor):
        inputs = torch.rand(inputs.shape, generator=generator) * 2 - 1
    else:
        inputs = replace(inputs, z=torch.randn(inputs.z.shape, generator=generator))
    outputs = [net.eval()(inputs) for net in (prunable.masked(removed), pruned)]
    return float((outputs[0] - outputs[1]).abs().max())


def _traced_shape(network: TappedNetwork) -> tuple[int, ...]:
    multiple = network.size_multiple
    return input_shape(network, max(1, math.ceil(TRACED_SIZE / multiple)) * multiple)
