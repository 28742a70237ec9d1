"""AGD's cells and generators: costs and outputs of the released code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_values import assert_golden, fill, g, golden

from gancomp.errors import ConfigError
from gancomp.metrics.cost import measure_cost
from gancomp.networks.agd import FULL_WIDTHS, OPERATIONS, Cell, agd_generator, divisible_width

SIDES = [("skip", 24), ("conv3x3", 24), *((op, w) for op in OPERATIONS[2:] for w in (24, 16))]
SHARES = {"0.333": 4 / 12, "0.667": 8 / 12, "1.000": 1.0}


@pytest.mark.parametrize(("operation", "target"), SIDES)
def test_cells_are_those_of_the_released_code(operation: str, target: int) -> None:
    entry = golden(f"agd/op {operation} 16->{target} forward")
    cell = fill(Cell(operation, 16, target), 100)
    assert [[k, list(v.shape)] for k, v in cell.state_dict().items()] == entry["keys"]
    assert_golden(cell(g((2, 16, 8, 8), 12)), entry["value"])


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_costs_equal_those_of_the_released_networks_exactly(operation: str, share: str) -> None:
    name = f"agd/derived net, every cell {operation}, every width {share}"
    entry = golden(name)["value"]
    with torch.device("meta"):
        channels = [divisible_width(full, SHARES[share]) for full in FULL_WIDTHS]
        cost = measure_cost(agd_generator(operations=[operation] * 9, channels=channels))
    found = (cost.params, cost.macs, cost.macs_torchprofile)
    assert found == (entry["params"], entry["B"], entry["A"])


def test_widths_are_the_released_multiples_of_eight() -> None:
    for full, expected in golden("agd/make_divisible widths")["value"].items():
        found = [divisible_width(int(full), times / 12) for times in (4, 6, 8, 10, 12)]
        assert found == expected


def test_mixed_cells_make_an_image_and_taps_have_the_declared_channels() -> None:
    operations = [*OPERATIONS, *OPERATIONS, "skip"]
    channels = [2, 3, 4, 4, 5, 6, 7, 7, 8, 8, 4, 6, 3, 2]
    network = agd_generator(operations=operations, channels=channels)
    images = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
    output, maps = network.forward_with_taps(images, network.default_taps)
    assert output.shape == images.shape
    assert output.abs().max() <= 1
    assert {tap: m.shape[1] for tap, m in maps.items()} == network.tap_channels
    again = agd_generator(**network.settings())
    assert list(again.state_dict()) == list(network.state_dict())
    assert not any(name.endswith("bias") for name in network.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operations": ["skip"] * 8}, "need 9, each out of skip, conv3x3, residual, dwsblock"),
        ({"operations": ["pool"] * 9}, "need 9, each out of"),
        ({"channels": [8] * 3}, "channels: 3 widths given, 14 needed"),
        ({"channels": [0] * len(FULL_WIDTHS)}, "channels 0"),
    ],
)
def test_a_bad_choice_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        agd_generator(**settings)
