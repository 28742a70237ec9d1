"""A network with a knob of its own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from gancomp.declare import Declared, setting
from gancomp.networks.base import SequentialNetwork, construct


@dataclass(frozen=True)
class PlainOptions:
    """The knob, and the channels that every generator of translation has."""

    depth: int = setting(
        1,
        "--depth",
        "Its hidden convolutions.",
        least=1,
        most=16,
        student=Declared(
            "--student-depth", "The student's hidden convolutions.", shown="as `depth`"
        ),
    )
    in_channels: int = setting(3, least=3, most=3)
    out_channels: int = setting(3, least=3, most=3)


class PlainNet(SequentialNetwork):
    """Convolutions in a row."""

    default_taps = ("model.1",)
    size_multiple = 1

    def __init__(self, width: int, depth: int) -> None:
        settings = {"width": width, "depth": depth, "in_channels": 3, "out_channels": 3}
        super().__init__("plain-net", settings)
        self.width, self.tap_channels = width, {"model.1": width}
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())


def plain_net(
    width: int = 64, *, depth: int = 1, in_channels: int = 3, out_channels: int = 3
) -> PlainNet:
    """A generator without norms."""
    assert (in_channels, out_channels) == (3, 3)
    return construct(lambda: PlainNet(width, depth))


GANCOMP = {
    "networks": {"plain-net": plain_net},
    "network_options": {"plain-net": PlainOptions},
}
