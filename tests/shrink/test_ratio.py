"""A share of the teacher's channels: what a budget allows, and what is nearest."""

from __future__ import annotations

import pytest

from gancomp.errors import ConfigError
from gancomp.planning.shrinking import make_way, ratio_way, shrunk_at_once
from gancomp.settings import NetworkSettings

TEACHER = NetworkSettings("mobile-resnet9", 64)


def width_by(budget: str, width: int = 64) -> int:
    way = make_way("ratio", budget, f"`budget` {budget}", {})
    return shrunk_at_once(TEACHER.changed(width=width), "mobile-resnet9", way, 256).width


@pytest.mark.parametrize("budget", ["50%", "25%", "26%", "27.9%", "0.3", "1.5625%"])
def test_a_budget_of_channels_is_never_exceeded(budget: str) -> None:
    share = float(budget.strip("%")) / (100 if "%" in budget else 1)
    assert share - 1 / 64 < width_by(budget) / 64 <= share


def test_what_a_computer_rounds_down_is_no_channel_less() -> None:
    assert 100 * 0.29 < 29
    assert width_by("29%", width=100) == 29


def test_less_than_a_channel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`budget` 1%: one channel of 64 is 1.56%; give"):
        width_by("1%")


def test_a_ratio_takes_the_nearest_width_as_before() -> None:
    for ratio, width in ((0.26, 17), (0.25, 16), (0.001, 1)):
        way = ratio_way(ratio)
        assert shrunk_at_once(TEACHER, "mobile-resnet9", way, 256).width == width
