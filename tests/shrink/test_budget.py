"""Budgets of milliseconds in searches: met twice, and measured once for all sittings."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import small_generator
from shrink_builders import KilledError, kept_in, setup_of, unscored

from gancomp.errors import ConfigError, RunError
from gancomp.networks.agd import uniform_widths
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings
from gancomp.shrink.agd import Agd
from gancomp.shrink.budget import TIMES, Clock
from gancomp.shrink.cat import Cat
from gancomp.shrink.dmad import Dmad
from gancomp.shrink.gcc import Gcc
from gancomp.shrink.kept import KeptLines
from gancomp.shrink.once_for_all import OnceForAll
from gancomp.shrink.ranked import cut_within
from gancomp.shrink.search_options import (
    AgdSearchOptions,
    CatOptions,
    DmadSearchOptions,
    GccOptions,
    OnceForAllOptions,
)

TEACHER = NetworkSettings("mobile-resnet6", 2, norm="batch")


def channels_of(network: TappedNetwork) -> list[int]:
    own = network.layer_widths.get("channels") or network.settings().get("channels")
    return list(own or uniform_widths(network.width))


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """All that was measured, by a clock that goes by the channels and is 2 % off, up or down."""
    found: list[float] = []

    def by_width(clock: Clock, network: TappedNetwork) -> float:
        clock._medians.append(16.0 + len(found))
        exact = sum(channels_of(network)) / 10
        found.append(exact * (1 + 0.02 * math.sin(len(found))))
        return found[-1]

    monkeypatch.setattr(Clock, "ms", by_width)
    return found


def begun(by: str, folder: Path) -> Any:
    if by == "gcc":
        shrinker: Any = Gcc(GccOptions())
        return shrinker.begin(setup_of(shrinker, "4.5ms", settings=TEACHER, folder=folder))
    if by == "agd":
        shrinker = Agd(AgdSearchOptions(start_width=8))
        return shrinker.begin(setup_of(shrinker, "30ms", teacher=small_generator(4), folder=folder))
    shrinker = OnceForAll(
        OnceForAllOptions(channel_choices="4,3,2", population=4, generations=3, slack=0.2)
    )
    return shrinker.begin(setup_of(shrinker, "9ms", teacher=small_generator(4), folder=folder))


def judge(network: TappedNetwork) -> float:
    return -float(channels_of(network)[0]) - channels_of(network)[-1]


@pytest.mark.parametrize("by", ["gcc", "once-for-all", "agd"])
def test_a_search_in_time_that_is_killed_measures_nothing_anew(
    by: str, tmp_path: Path, measured: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kept_in(tmp_path / "whole")
    whole.file.parent.mkdir()
    scored = unscored if by == "gcc" else judge
    found = begun(by, whole.file.parent).choose(scored, whole).found
    assert found["measured_ms"] <= {"gcc": 4.5, "once-for-all": 9, "agd": 30}[by]
    lines = (whole.file.with_name(TIMES)).read_text()
    assert len(lines.splitlines()) == len(measured)
    assert found["teacher_ms"] > 16

    measured.clear()
    file, clock, calls = tmp_path / "cut" / "search.jsonl", Clock.ms, itertools.count(1)
    file.parent.mkdir()

    def dies(self: Clock, network: TappedNetwork) -> float:
        if next(calls) == 6:
            raise KilledError
        return clock(self, network)

    monkeypatch.setattr(Clock, "ms", dies)
    with pytest.raises(KilledError):
        begun(by, file.parent).choose(judge, kept_in(file.parent))
    monkeypatch.setattr(Clock, "ms", clock)
    assert begun(by, file.parent).choose(judge, kept_in(file.parent)).found == found
    assert file.read_text() == whole.file.read_text()
    assert file.with_name(TIMES).read_text() == lines


def test_what_is_chosen_meets_the_time_twice(tmp_path: Path, measured: list[float]) -> None:
    search = begun("once-for-all", tmp_path)
    shrunk = search.choose(judge, kept_in(tmp_path))
    shape = tuple(shrunk.found["shape"])
    times = [search.affordable.cost(shape, again=again) for again in (False, True)]
    assert max(times) <= 9
    assert times[0] != times[1]
    assert shrunk.found["measured_ms"] == round(times[1], 3)


BOTH = r"(\d\S*) ms and, measured again, (\d\S*) ms \(\d+ threads\)"


def kept_and_told(shrunk: Any, measured: list[float], told: list[str]) -> None:
    """That both times are told, that they are two measurements, and the longer one is kept."""
    (both,) = [found for text in told if (found := re.search(BOTH, text))]
    times = [float(value) for value in both.groups()]
    shown = {float(f"{value:.3g}") for value in measured}
    assert times[0] != times[1]
    assert {*times} <= shown
    assert float(f"{shrunk.found['measured_ms']:.3g}") in times


@pytest.mark.parametrize("by", ["gcc", "once-for-all", "agd"])
def test_both_times_that_met_the_budget_are_told(
    by: str, tmp_path: Path, measured: list[float]
) -> None:
    told: list[str] = []
    search = begun(by, tmp_path)
    request = replace(search.setup.request, say=told.append)
    search.setup = replace(search.setup, request=request)
    kept_and_told(search.choose(judge, kept_in(tmp_path)), measured, told)


def test_a_time_that_nothing_met_twice_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, candidates, calls = (
        begun("once-for-all", tmp_path),
        kept_in(tmp_path),
        itertools.count(1),
    )

    def slower_and_slower(clock: Clock, network: TappedNetwork) -> float:
        clock._medians.append(16.0)
        return 9.0 + next(calls)

    monkeypatch.setattr(Clock, "ms", slower_and_slower)
    for shape in (search.space.narrowest, search.space.widest):
        candidates.score(shape, {"cost": 9.0}, lambda: 0.0)
    with pytest.raises(
        ConfigError, match=r"of 2 candidates that met it none did so twice; .* took 10 ms .*; give"
    ):
        search.affordable.met_again(candidates)


def test_a_cut_that_met_the_time_by_luck_gives_way_to_a_narrower_one() -> None:
    scores, asked = [torch.arange(1.0, 21.0).double()], []

    def again(widths: list[int]) -> float:
        asked.append(widths[0])
        return widths[0] * 1.1  # the first time it was faster

    cut = cut_within(scores, [1], cost=lambda widths: widths[0], again=again, limit=10.0)
    assert cut is not None
    assert cut.widths == [9]
    assert asked == [10, 9]
    counted = cut_within(scores, [1], cost=lambda widths: widths[0], again=None, limit=10.0)
    assert counted is not None
    assert counted.widths == [10]


def test_pruning_by_scales_takes_a_time_too(measured: list[float]) -> None:
    teacher = small_generator(4, norm="batch")
    shrinker = Cat(CatOptions())
    with torch.no_grad():
        for name, value in teacher.named_parameters():
            if value.ndim == 1:
                value.uniform_(0.5, 1, generator=torch.Generator().manual_seed(len(name)))
    told: list[str] = []
    request = replace(setup_of(shrinker, "9ms", teacher=teacher).request, say=told.append)
    shrunk = shrinker.shrink(request)
    assert 7 < shrunk.found["measured_ms"] <= 9
    kept_and_told(shrunk, measured, told)


def test_masks_take_no_time() -> None:
    with pytest.raises(ConfigError, match=r"`budget` 9ms: masks close by what is counted; give M"):
        Dmad(DmadSearchOptions()).read("`budget` 9ms", "9ms")


def test_what_was_kept_and_cannot_be_read_is_named(tmp_path: Path) -> None:
    clock = Clock(build_network("mobile-resnet6", width=1), 16, torch.device("cpu"))
    (tmp_path / TIMES).write_text('{"network": "a", "ms": "fast"}\n')
    with pytest.raises(RunError, match=r"times.jsonl: .*ms.* remove line 1"):
        clock.keep_in(KeptLines(tmp_path / TIMES))
