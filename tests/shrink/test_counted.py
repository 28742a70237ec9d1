"""Costs by widths: as those of the networks themselves, and few of them are built."""

from __future__ import annotations

from typing import Any

import pytest

from gancomp.networks.base import TappedNetwork
from gancomp.settings import NetworkSettings
from gancomp.shrink import counted
from gancomp.shrink.budget import Budget, Meter, built_on_meta, costs
from gancomp.shrink.explicit import LayerWidths
from gancomp.shrink.options import BudgetOptions


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "_KNOWN", {})


@pytest.mark.parametrize(
    ("arch", "own", "size", "few"),
    [
        ("mobile-resnet6", {}, 16, True),
        ("resnet6", {"norm": "batch"}, 16, True),
        ("unet128", {}, 128, False),  # whose skips are joined
    ],
)
def test_they_are_the_networks_own(arch: str, own: Any, size: int, few: bool) -> None:
    layers = LayerWidths(built_on_meta(NetworkSettings(arch, 4, **own)))
    number = len(layers.widths)
    measured: list[list[int]] = []

    def built(widths: list[int]) -> TappedNetwork:
        measured.append(list(widths))
        return layers.built(widths)

    meter = Meter(Budget("macs", 1.0), BudgetOptions(), size, "cpu")
    widths = [1 + (2 * place) % 5 for place in range(number)]
    assert meter.counts(built, widths) == costs(layers.built(widths), size)
    before = len(measured)
    meter.counts(built, [4] * number)
    assert (len(measured) == before) == few
    again = Meter(Budget("macs", 1.0), BudgetOptions(), size, "cpu")
    again.counts(built, [3] * number)
    assert len(measured) <= before + 2 + (not few)
