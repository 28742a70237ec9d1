"""The plainest student: the same kind of network with a fraction of the teacher's channels."""

from __future__ import annotations

from gancomp.declare import PRUNED, NoOptions
from gancomp.errors import ConfigError
from gancomp.registry import NETWORKS
from gancomp.settings import Json, NetworkSettings
from gancomp.settings.networks import declared_of
from gancomp.shrink.base import ShrinkRequest, Shrunk


class Ratio:
    """A budget of channels: `25%` or `0.25` of the teacher's.

    Source: OMGD and DCD, whose students have 1/4 of the teacher's channels.
    """

    example = "25%"
    from_settings = True
    Options = NoOptions

    def __init__(self, options: NoOptions) -> None:
        self.options = options

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
        """The student with that share of the teacher's width."""
        return Shrunk(narrowed(request.student, request.budget))


def narrowed(network: NetworkSettings, ratio: float) -> NetworkSettings:
    """The settings with `ratio` times the width, and what the network says follows from it.

    Where the number of blocks is a setting, it shrinks alike: SRGAN's student has half of both.

    Args:
        network: as wide as the teacher.
        ratio: channels of the student over channels of the teacher, in (0, 1].
    """
    changes: Json = {"width": max(1, round(network.width * ratio)), PRUNED: None}
    for name, declared in declared_of(network.arch) if network.arch in NETWORKS else ():
        value = network.own.get(name)
        if declared.on_shrink == "drop":
            changes[name] = None
        elif declared.on_shrink == "scale" and value is not None:
            changes[name] = max(1, round(value * ratio))
    return network.changed(**changes)
