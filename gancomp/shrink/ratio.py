"""The plainest student: the same kind of network with a fraction of the teacher's channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from gancomp.declare import PRUNED, NoOptions
from gancomp.errors import ConfigError
from gancomp.registry import NETWORKS
from gancomp.settings import Json, NetworkSettings
from gancomp.settings.networks import declared_of
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.budget import built_on_meta

ROUNDING = 1e-9  # 29 % of 100 channels are 29, and 28.999999999999996 by the computer


class Ratio:
    """A budget of channels: `25%` or `0.25` of the teacher's.

    Args:
        options: none.
        nearest: the width nearest to the share, as `--ratio` has it, not the widest within it.

    Source: OMGD and DCD, whose students have 1/4 of the teacher's channels.
    """

    example: ClassVar[str] = "25%"
    from_settings: ClassVar[bool] = True
    Options: ClassVar[type] = NoOptions

    def __init__(self, options: NoOptions, *, nearest: bool = False) -> None:
        self.options, self.nearest = options, nearest

    def read(self, asked: str, budget: str) -> float:
        """The share.

        Raises:
            ConfigError: if it is not more than 0 and at most 1.
        """
        text = budget.strip()
        try:
            ratio = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            raise ConfigError(f"{asked}: is no share; write 25% or 0.25") from None
        if not 0 < ratio <= 1:
            raise ConfigError(f"{asked}: must be greater than 0 and at most 1")
        return ratio

    def shrink(self, request: ShrinkRequest) -> Shrunk:
        """The student with that share of the teacher's width.

        Raises:
            ConfigError: if that is less than one channel.
        """
        width = request.student.width
        if not self.nearest and width * request.budget + ROUNDING < 1:
            raise ConfigError(
                f"{request.asked}: one channel of {width} is {1 / width:.2%}; give that or more"
            )
        found = narrowed(request.student, request.budget, nearest=self.nearest)
        if self.nearest or found.arch not in NETWORKS:
            return Shrunk(found)
        whole = _sides(request.student)
        while (widest := _widest_share(found, whole)) > request.budget + ROUNDING:
            if found.width == 1:  # whose layers are wider: those of agd are multiples of 8
                raise ConfigError(
                    f"{request.asked}: {found.arch} of width 1 has {widest:.2%} of the channels; "
                    "give that or more"
                )
            found = found.changed(width=found.width - 1)
        return Shrunk(found)


def _sides(network: NetworkSettings) -> dict[str, tuple[int, ...]]:
    """Of each weight of the network in its own widths, by name."""
    plain = built_on_meta(network.changed(**dict.fromkeys((PRUNED, "channels"))))
    return {name: tuple(value.shape) for name, value in plain.named_parameters()}


def _widest_share(student: NetworkSettings, whole: Mapping[str, tuple[int, ...]]) -> float:
    """The largest share of the channels of a layer that has more than one."""
    shares = (
        own / theirs
        for name, sides in _sides(student).items()
        for own, theirs in zip(sides, whole.get(name, ()), strict=False)
        if own not in (1, theirs)
    )
    return max(shares, default=0.0)


def narrowed(network: NetworkSettings, ratio: float, *, nearest: bool = True) -> NetworkSettings:
    """The settings with `ratio` times the width, and what the network says follows from it.

    Where the number of blocks is a setting, it shrinks alike: SRGAN's student has half of both.

    Args:
        network: as wide as the teacher.
        ratio: channels of the student over channels of the teacher, in (0, 1].
        nearest: round to the nearest number; else down, since a budget is never exceeded.
    """

    def part(number: float) -> int:
        share = number * ratio
        return max(1, round(share) if nearest else math.floor(share + ROUNDING))

    changes: Json = {"width": part(network.width), PRUNED: None}
    for name, declared in declared_of(network.arch) if network.arch in NETWORKS else ():
        value = network.own.get(name)
        if declared.on_shrink == "drop":
            changes[name] = None
        elif declared.on_shrink == "scale" and value is not None:
            changes[name] = part(value)
    return network.changed(**changes)
