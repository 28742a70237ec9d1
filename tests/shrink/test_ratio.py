"""A share of the teacher's channels: what a budget allows, and what is nearest."""

from __future__ import annotations

import pytest

from gancomp.errors import ConfigError
from gancomp.planning.shrinking import make_way, ratio_way, shrunk_at_once
from gancomp.settings import NetworkSettings
from gancomp.shrink.budget import built_on_meta

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


def test_layers_in_multiples_of_8_are_within_the_share_or_refused() -> None:
    """The network `agd` rounds the widths of its layers; the nearest were above the share."""

    def channels_by(budget: str) -> set[int]:
        way = make_way("ratio", budget, f"`budget` {budget}", {})
        teacher = NetworkSettings("agd", 64)
        return set(built_on_meta(shrunk_at_once(teacher, "agd", way, 256)).tap_channels.values())

    assert channels_by("50%") == {128}
    assert channels_by("30%") == {72}  # the stem has 16 of 64; the nearest, 24, were above
    with pytest.raises(ConfigError, match="agd of width 1 has .*% of the channels; give that"):
        channels_by("2%")
