"""Structured pruning: a trained generator without the channels whose weights are smallest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import Json
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.budget import Budget, Meter, costs, input_shape, read_budget
from gancomp.shrink.coupled import Coupled, Group, Removed
from gancomp.shrink.explicit import LayerWidths
from gancomp.shrink.options import MagnitudeOptions

CLOSE = 0.995  # of the budget: near enough
MOST_REFILLS = 32  # channels that are tried again once the budget is met
Channel = tuple[str, int]  # the layer of its group, and its index
TRACED_SIZE = 64  # of the image that dependencies are found with, where the network takes it


class Magnitude:
    """Channels go by the norm of their weights over all the layers that share them, lowest first.

    Layers that share channels (those along a residual path) decide once. Norms are compared over
    the whole network, each relative to the mean of its group. What is left keeps its weights.

    Source: Li et al. 2017 (Pruning Filters for Efficient ConvNets); groups of layers: Fang et al.
    2023 (DepGraph), by the library Torch-Pruning.
    """

    example = "50%"
    from_settings = False
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
        if not teacher.layer_widths:
            raise ConfigError(
                f"{request.asked}: {teacher.arch} has no settings for the width of each layer; "
                "choose width instead"
            )
        meter = Meter(request.budget, self.options, request.size, request.device)
        coupled, widths = (
            Coupled(teacher, _traced_shape(teacher), request.asked),
            LayerWidths(teacher),
        )
        removed = removed_within(coupled, widths, meter, self.options.min_share, request.asked)
        return _shrunk(coupled, removed, widths, meter, request)


def removed_within(
    coupled: Coupled, widths: LayerWidths, meter: Meter, min_share: float, asked: str
) -> Removed:
    """The lowest channels whose removal meets the budget, fewer where some would not have to go.

    Raises:
        ConfigError: beginning with `asked`, if the budget is too small.
    """
    limit, order = meter.limit(coupled.network), _ranked(coupled.groups, min_share)

    def cost(channels: list[Channel]) -> float:
        return meter.of_settings(widths.settings(_left(coupled, widths, _by_layer(channels))))

    if cost([]) <= limit:
        return {}
    if (least := cost(order)) > limit:
        raise ConfigError(
            f"{asked}: with every layer at its least share {coupled.network.arch} still takes "
            f"{meter.worded(least)}; give more, or a smaller `min_share`"
        )
    gone = order[: _fewest(len(order), lambda num: cost(order[:num]) <= limit)]
    # a clock is too coarse to tell single channels apart
    return _by_layer(gone if meter.budget.measure == "ms" else _refilled(gone, cost, limit))


def _left(coupled: Coupled, widths: LayerWidths, removed: Removed) -> list[int]:
    """The width of each layer once channels were removed."""
    gone = {
        maker: len(removed.get(group.layer, ()))
        for group in coupled.groups
        for maker in group.makers
    }
    pairs = zip(widths.layers, widths.widths, strict=True)
    return [width - gone.get(layer, 0) for layer, width in pairs]


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


def _shrunk(
    coupled: Coupled,
    removed: Removed,
    widths: LayerWidths,
    meter: Meter,
    request: ShrinkRequest,
) -> Shrunk:
    teacher, pruned = coupled.network, coupled.without(removed)
    weights = {name: value.detach() for name, value in pruned.state_dict().items()}
    student = widths.settings(_left(coupled, widths, removed))
    built = build_network(student.arch, **student.arguments())
    built.load_state_dict(weights)
    found: Json = {
        "teacher": costs(teacher, request.size),
        **costs(built, request.size),
        "removed": {layer: len(channels) for layer, channels in removed.items()},
        "kept_whole": coupled.skipped,
        "difference_from_masked": difference(coupled, removed, built),
    }
    if meter.budget.measure == "ms":
        found["measured_ms"] = round(meter.of(built), 3)
        found["threads"] = torch.get_num_threads()
    share = found["macs"] / found["teacher"]["macs"]
    request.say(
        f"{request.asked}: {sum(map(len, removed.values()))} channels go; "
        f"{found['macs'] / 1e9:.4g}G MACs ({share:.1%}), {found['params']:,} parameters are left"
    )
    return Shrunk(student, weights, found)


@torch.no_grad()
def difference(coupled: Coupled, removed: Removed, pruned: TappedNetwork) -> float:
    """The largest difference of the pruned network's output from that of the masked one.

    On noise with the values of images. 0 but for rounding where nothing but the removed channels
    changed.
    """
    generator = torch.Generator().manual_seed(0)
    inputs: Any = coupled.network.example_input(coupled.shape)
    if isinstance(inputs, Tensor):
        inputs = torch.rand(inputs.shape, generator=generator) * 2 - 1
    outputs = [net.eval()(inputs) for net in (coupled.masked(removed), pruned)]
    return float((outputs[0] - outputs[1]).abs().max())


def _traced_shape(network: TappedNetwork) -> tuple[int, ...]:
    multiple = network.size_multiple
    return input_shape(network, max(1, math.ceil(TRACED_SIZE / multiple)) * multiple)
