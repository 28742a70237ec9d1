"""The widths of a network's layers one by one: which layer each is of; settings with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings

FIRST_MARK = 2000  # wider than any layer; what is concatenated out of two marks is no mark


class LayerWidths:
    """The widths in a network's `layer_widths`, in their order.

    Which layer each is of is found by building the network with a width of its own, a mark, in each
    of them, so that it holds for any network that says its `layer_widths`.

    Attributes:
        layers: path of the layer that makes as many channels; empty for a layer that is gone.
        widths: of each.
    """

    def __init__(self, network: TappedNetwork) -> None:
        self._network = network
        self.widths = list(_flat(network.layer_widths.values()))
        marks = iter(range(FIRST_MARK, FIRST_MARK + len(self.widths)))
        marked = self.built([next(marks) if width else 0 for width in self.widths])
        found: dict[int, str] = {}
        for name, value in marked.state_dict().items():
            for length in value.shape:
                found.setdefault(length, name.rpartition(".")[0])
        self.layers = [found.get(mark, "") for mark in _flat(marked.layer_widths.values())]

    def built(self, widths: list[int]) -> TappedNetwork:
        """The network with other widths, on the meta device."""
        given = iter(widths)
        explicit = _each(self._network.layer_widths, lambda _: next(given))
        with torch.device("meta"):
            return build_network(self._network.arch, **(self._network.settings() | explicit))

    def settings(self, widths: list[int]) -> NetworkSettings:
        """Of the network with other widths."""
        return NetworkSettings(self._network.arch, **self.built(widths).settings())


def _flat(values: Any) -> Iterator[int]:
    for value in values:
        if isinstance(value, int):
            yield value
        else:
            yield from _flat(value)


def _each(widths: Mapping[str, Any], change: Callable[[int], int]) -> dict[str, Any]:
    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, int) else tuple(changed(item) for item in value)

    return {name: changed(value) for name, value in widths.items()}
