"""What pruning needs of a network: its groups of channels, and the network without some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from gancomp.networks.base import TappedNetwork
from gancomp.settings import NetworkSettings

NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)
Removed = Mapping[str, Sequence[int]]  # channels, by the layer of their group


@dataclass(frozen=True)
class Group:
    """Channels that several layers share, each of which is kept or removed in all of them.

    Attributes:
        layer: path of the layer by which they are counted.
        makers: paths of all layers that make them.
        scores: how much each of them matters, about 1 on average.
    """

    layer: str
    makers: frozenset[str]
    scores: Tensor


class Prunable(Protocol):
    """A network whose channels are known.

    Attributes:
        network: as it is.
        shape: of an input that it takes.
        groups: of channels that each go or stay as one.
        skipped: layers whose couplings are not known, so that they are kept whole.
    """

    network: TappedNetwork
    shape: tuple[int, ...]
    groups: list[Group]
    skipped: list[str]

    def settings(self, removed: Removed) -> NetworkSettings:
        """Of the network without those channels."""

    def ghost(self, removed: Removed) -> TappedNetwork:
        """The network without those channels and without values, to be counted."""

    def without(self, removed: Removed) -> TappedNetwork:
        """A copy without those channels."""

    def masked(self, removed: Removed) -> TappedNetwork:
        """A copy in which those channels are there, but 0 behind every layer that makes them."""
