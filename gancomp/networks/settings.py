"""The settings of generators and discriminators, checked once, and the norm they choose."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from gancomp.errors import ConfigError
from gancomp.networks.layers import InstanceNorm2d

NORMS = ("instance", "batch")
# far above every published network, and low enough to be built without memory in a second
MAX_CHANNELS, MAX_BLOCKS, MAX_LAYERS, MAX_CLASSES = 8192, 512, 64, 1_000_000


@dataclass(frozen=True)
class GeneratorSettings:
    """What the image-to-image generators can be asked for.

    With `channels` (a pruned network) every width is explicit and `width` becomes the first one;
    0 is the width of a block that is gone, where the network can do without.

    Raises:
        ConfigError: for a value that no network can be built with.
    """

    width: int
    in_channels: int
    out_channels: int
    norm: str
    dropout: float
    channels: Sequence[int] | None

    def __post_init__(self) -> None:
        if self.channels is not None:
            widths = tuple(self.channels)
            for index, width in enumerate(widths):
                check_count("channels", width, at_least=0 if index else 1)
            object.__setattr__(self, "channels", widths)
            object.__setattr__(self, "width", widths[0] if widths else 0)
        check_count("`width`", self.width)
        check_count("`in_channels`", self.in_channels)
        check_count("`out_channels`", self.out_channels)
        check_norm(self.norm)
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout {self.dropout!r}: must be at least 0 and below 1")

    def as_dict(self, uniform: Sequence[int]) -> dict[str, Any]:
        """The keyword arguments of the factory, fit for JSON.

        `channels` is among them only if they are not `uniform`, what `width` gives by itself.
        """
        settings: dict[str, Any] = {
            "width": self.width,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "norm": self.norm,
            "dropout": self.dropout,
        }
        if self.channels is not None and list(self.channels) != list(uniform):
            settings["channels"] = list(self.channels)
        return settings

    def explicit_channels(
        self, uniform: Sequence[int], meaning: str, *, removable: Container[int] = ()
    ) -> tuple[int, ...]:
        """`channels` if given, else `uniform`, which also says how many there must be.

        Args:
            uniform: the widths that `width` gives by itself.
            meaning: what each of them is.
            removable: which of them, counted from 0, may be 0.

        Raises:
            ConfigError: if `channels` has another length; the message says what each one is.
        """
        if self.channels is None:
            return tuple(uniform)
        if len(self.channels) != len(uniform):
            raise ConfigError(
                f"channels: {len(self.channels)} widths given, {len(uniform)} needed: {meaning}"
            )
        for index, width in enumerate(self.channels):
            check_count("channels", width, at_least=0 if index in removable else 1)
        return tuple(self.channels)


def check_count(
    named: str, value: object, *, at_least: int = 1, at_most: int = MAX_CHANNELS
) -> None:
    """Refuses anything but a whole number in the range, before a network of that size is built.

    Raises:
        ConfigError: beginning with `named` and `value`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigError(f"{named} {value!r}: must be a whole number, {at_least} or more")
    if value > at_most:
        raise ConfigError(f"{named} {value}: must be {at_most:,} or less")


def check_norm(norm: object) -> None:
    """Refuses an unknown normalization.

    Raises:
        ConfigError: naming the known ones.
    """
    if norm not in NORMS:
        raise ConfigError(f"`norm` {norm!r}: unknown; choose one of {', '.join(NORMS)}")


def norm_layer(norm: str, channels: int) -> nn.Module:
    """InstanceNorm without weights or running statistics, or BatchNorm with both.

    A convolution before it needs a bias of its own only in the first case.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return InstanceNorm2d(channels)
