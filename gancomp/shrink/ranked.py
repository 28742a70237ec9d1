"""A network's channels by how much they matter, and the widths that are left within a budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gancomp.networks.base import TappedNetwork
from gancomp.shrink.explicit import FIRST_MARK, LayerWidths

NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
Shared = Literal["mean", "first"]


@dataclass(frozen=True)
class Maker:
    """A convolution that makes channels, and the norm behind it, if it has scales."""

    name: str
    convolution: nn.Conv2d | nn.ConvTranspose2d
    norm: nn.Module | None

    def scores(self, *, summed: bool = False) -> Tensor:
        """`(C,)`: absolute scales of the norm, else the filters' mean absolute weights.

        Args:
            summed: of filters the L1 norms instead, which grow with the number of inputs.
        """
        if self.norm is not None:
            return self.norm.get_parameter("weight").detach().abs()
        weight = self.convolution.weight.detach().abs()
        along = 1 if isinstance(self.convolution, nn.ConvTranspose2d) else 0
        filters: Tensor = weight.transpose(0, along).flatten(1)
        return filters.sum(1) if summed else filters.mean(1)


class Channels:
    """The channels of a network, counted by its `layer_widths`.

    Which convolutions make as many channels as each of the widths says is found by building the
    network with a width of its own in each of them; those along a residual path share one.

    Attributes:
        widths: that can be chosen.
        makers: of each, the convolutions that make its channels, in the order of the network.
    """

    def __init__(self, network: TappedNetwork) -> None:
        self.network, self.widths = network, LayerWidths(network)
        marks = [FIRST_MARK + k if w else 0 for k, w in enumerate(self.widths.widths)]
        marked = dict(self.widths.built(marks).named_modules())
        made = {name: _made(module) for name, module in marked.items()}
        self.makers = [
            [maker for maker in _makers(network) if mark and made.get(maker.name) == mark]
            for mark in marks
        ]

    def scores(self, shared: Shared = "mean", *, summed: bool = False) -> list[Tensor]:
        """Of each width's channels `(C,)`, on the CPU in float64.

        Args:
            shared: how the makers of shared channels agree: their `mean`, or the `first` decides.
            summed: see `Maker.scores`.

        Returns: what stays whatever the threshold has infinite ones: in a network whose norms have
            scales, the channels of layers without such a norm.
        """
        found, by_scales = [], any(maker.norm for makers in self.makers for maker in makers)
        for makers, width in zip(self.makers, self.widths.widths, strict=True):
            each = [
                maker.scores(summed=summed).double().cpu()
                for maker in makers
                if maker.norm or not by_scales
            ]
            if not each:
                found.append(torch.full((width,), float("inf"), dtype=torch.float64))
            else:
                found.append(each[0] if shared == "first" else torch.stack(each).mean(0))
        return found


def of_channels(channels: Channels, kept: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """The state of a network without all but those channels of each width.

    Which of a tensor's sides is of which width is known by the marks; a branch of CAT's generator
    that loses all channels is left out.
    """
    counts = [FIRST_MARK + k if w else 0 for k, w in enumerate(channels.widths.widths)]
    marked = channels.widths.built(counts).state_dict()
    names = _names_left(channels.network, [len(each) for each in kept])
    state: dict[str, Tensor] = {}
    for name, value in channels.network.state_dict().items():
        new = names(name)
        if new is None:
            continue
        for side, length in enumerate(marked[name].shape):
            if length >= FIRST_MARK:
                index = torch.tensor(kept[length - FIRST_MARK], device=value.device)
                value = value.index_select(side, index.long())
        state[new] = value.detach().clone()
    return state


BRANCH = re.compile(r"blocks\.(\d+)\.(res_ops|dw_ops)\.(\d+)\.(.*)")
NUM_KERNELS, NUM_OUTSIDE = 3, 5  # of CAT's branches of a kind; widths outside of its blocks


def _names_left(network: TappedNetwork, widths: list[int]) -> Callable[[str], str | None]:
    """What a tensor is called in the narrower network; None where its branch is gone."""
    if "branches" not in network.layer_widths:
        return lambda name: name
    before = list(network.layer_widths["branches"])
    flat = iter(widths[NUM_OUTSIDE:])
    after = [[next(flat) for _ in block] for block in before]

    def renamed(name: str) -> str | None:
        match = BRANCH.fullmatch(name)
        if match is None:
            norm = re.match(r"blocks\.(\d+)\.pw_bn", name)
            return None if norm and not any(after[int(norm[1])]) else name
        block, start = int(match[1]), NUM_KERNELS * (match[2] == "dw_ops")
        places = [k for k in range(start, start + NUM_KERNELS) if before[block][k]]
        place = places[int(match[3])]
        if not after[block][place]:
            return None
        index = sum(bool(after[block][k]) for k in range(start, place))
        return f"blocks.{block}.{match[2]}.{index}.{match[4]}"

    return renamed


def _made(module: nn.Module) -> int:
    """How many channels a convolution makes out of others; a depthwise one makes none."""
    if isinstance(module, CONVOLUTIONS) and module.groups == 1:
        return int(module.out_channels)
    return 0


def _makers(network: nn.Module) -> Iterator[Maker]:
    """Each convolution that is not depthwise, with the norm that comes next, if of its channels."""
    modules = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, (*CONVOLUTIONS, *NORMS))
    ]
    following = [module for _, module in modules[1:]]
    for (name, module), after in zip(modules, [*following, None], strict=True):
        if isinstance(module, CONVOLUTIONS) and module.groups == 1:
            scales = getattr(after, "weight", None) if isinstance(after, NORMS) else None
            fits = scales is not None and len(scales) == module.out_channels
            yield Maker(name, module, after if fits else None)


def kept_above(scores: Sequence[Tensor], floors: Sequence[int], threshold: float) -> list[int]:
    """How many channels of each width score above a threshold, but no fewer than its floor."""
    return [
        max(min(floor, len(values)), int((values > threshold).sum()))
        for values, floor in zip(scores, floors, strict=True)
    ]


@dataclass(frozen=True)
class Cut:
    """Widths within a budget.

    Attributes:
        threshold: over which channels score that stay.
        widths: that are left.
        cost: of them.
    """

    threshold: float
    widths: list[int]
    cost: float


def cut_to(
    scores: Sequence[Tensor],
    floors: Sequence[int],
    *,
    cost: Callable[[list[int]], float],
    limit: float,
    tried: Callable[[Cut], None] = lambda cut: None,
) -> Cut | None:
    """The lowest global threshold whose widths meet a limit, by bisection; None if none does.

    Args:
        scores: of each width's channels.
        floors: what each keeps at least.
        cost: of a network of given widths.
        limit: of the cost.
        tried: is told each cut that was looked at.
    """
    everything = sorted({0.0, *torch.cat(list(scores)).tolist()} - {float("inf")})
    low, high = -1, len(everything) - 1  # below every score nothing goes

    def at(index: int) -> Cut:
        threshold = everything[index] if index >= 0 else -1.0
        widths = kept_above(scores, floors, threshold)
        cut = Cut(threshold, widths, cost(widths))
        tried(cut)
        return cut

    whole, best = at(low), at(high)
    if whole.cost <= limit:
        return whole
    if best.cost > limit:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        cut = at(middle)
        if cut.cost <= limit:
            high, best = middle, cut
        else:
            low = middle
    return best


def filled_up(
    cut: Cut,
    scores: Sequence[Tensor],
    *,
    cost: Callable[[list[int]], float],
    limit: float,
    close: float = 0.995,
    most: int = 64,
) -> Cut:
    """A cut with the best of the channels that went back, as far as they fit into the limit.

    Channels cost differently: the one that a threshold stops at may be one too many, while others
    of nearly its score would still fit.
    """
    ranked = sorted(
        (
            (float(values.sort(descending=True).values[kept]), place)
            for place, (values, kept) in enumerate(zip(scores, cut.widths, strict=True))
            if kept < len(values)
        ),
        reverse=True,
    )
    for _ in range(most):
        if cut.cost >= close * limit or not ranked:
            break
        _, place = ranked.pop(0)
        widths = [width + (k == place) for k, width in enumerate(cut.widths)]
        if (now := cost(widths)) > limit:
            continue  # one of another width may be cheaper
        cut = Cut(cut.threshold, widths, now)
        if widths[place] < len(scores[place]):
            values = scores[place].sort(descending=True).values
            ranked = sorted([*ranked, (float(values[widths[place]]), place)], reverse=True)
    return cut


def cut_within(
    scores: Sequence[Tensor],
    floors: Sequence[int],
    *,
    cost: Callable[[list[int]], float],
    again: Callable[[list[int]], float] | None,
    limit: float,
    tried: Callable[[Cut], None] = lambda cut: None,
) -> Cut | None:
    """A cut that uses a limit up, whether costs are counted or measured; None if there is none.

    Args:
        scores: of each width's channels.
        floors: what each keeps at least.
        cost: of a network of given widths.
        again: measures once more, as a single measurement may meet the limit by luck; None where
            costs are counted. Single channels are then not tried: they are less than a clock tells.
        limit: of the cost.
        tried: is told each cut that was looked at.
    """
    if again is None:
        cut = cut_to(scores, floors, cost=cost, limit=limit, tried=tried)
        return None if cut is None else filled_up(cut, scores, cost=cost, limit=limit)
    for percent in range(100, 0, -2):
        cut = cut_to(scores, floors, cost=cost, limit=limit * percent / 100, tried=tried)
        if cut is None or again(cut.widths) <= limit:
            return cut
    return None
