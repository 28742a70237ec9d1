"""`distill --latency-budget`: its syntax, the search, and what a run remembers of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gancomp.data.demo_set import write_demo_set
from gancomp.declare import NoOptions
from gancomp.engine.run import writing_run
from gancomp.errors import ConfigError
from gancomp.metrics.latency import Latency as LatencyOf
from gancomp.networks.base import TappedNetwork
from gancomp.planning.plan import Plan, make_plan
from gancomp.registry import build_network
from gancomp.settings import Overrides
from gancomp.shrink.budget import Clock
from gancomp.shrink.latency import Latency
from gancomp.shrink.search import widest_within
from gancomp.training.steps import describe_run


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("25ms", 25), ("25", 25), ("0.025s", 25), (" 1.5 ms ", 1.5), (".5", 0.5), ("2s", 2000)],
)
def test_budgets_are_read_as_they_are_written(text: str, wanted: float) -> None:
    assert Latency(NoOptions()).read("", text) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["", "ms", "fast", "-3ms", "0", "0s", "nan", "inf", "1e2", "2m"])
def test_what_is_no_budget_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"`latency_budget`: is no time; write 25ms or 0.025s"):
        Latency(NoOptions()).read("`latency_budget`", text)


@pytest.mark.parametrize("most", [1, 2, 3, 16, 64])
def test_the_widest_that_meets_the_budget_is_found(most: int) -> None:
    for wanted in range(most + 1):
        choice = widest_within(wanted + 0.5, most=most, cost_of=float)
        assert (choice.width if choice else 0) == wanted
        assert choice is None or choice.measured == wanted


def test_few_widths_are_measured() -> None:
    asked: list[int] = []

    def latency_ms(width: int) -> float:
        asked.append(width)
        return float(width)

    assert widest_within(20, most=64, cost_of=latency_ms)
    assert len(asked) <= 8  # 64 is halved six times, at most seven; and the confirmation
    assert len(set(asked)) == len(asked) - 1


def test_a_width_that_met_the_budget_by_luck_gives_way_to_the_next_smaller() -> None:
    asked: list[int] = []

    def latency_ms(width: int) -> float:
        asked.append(width)
        lucky = width == 5 and asked.count(5) == 1
        return 3.5 if lucky else float(width)

    choice = widest_within(4, most=8, cost_of=latency_ms)
    assert choice is not None
    assert (choice.width, choice.measured) == (4, 4.0)
    assert asked.count(5) == 2


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets") / "toy"
    write_demo_set(root, size=32, train=2, test=1)
    return root


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The widths whose latency was asked for; it is twice as many milliseconds."""
    widths: list[int] = []

    def by_width(clock: Clock, network: TappedNetwork) -> float:
        assert (network.arch, clock.size, clock.device.type) == ("mobile-resnet9", 32, "cpu")
        widths.append(network.width)
        clock._medians.append(16.0)
        return 2.0 * network.width + sum(network.layer_widths["channels"][-2:]) / 100

    monkeypatch.setattr(Clock, "ms", by_width)
    return widths


def plan(toy: Path, say: Any = None, **given: Any) -> Plan:
    overrides = {
        "data": {"dataset": str(toy), "size": 32},
        "teacher": {"network": {"width": 8}},
        "perceptual": {"source": "none"},
        "run": {"device": "cpu"},
    }
    overrides |= given.pop("overrides", {})
    return make_plan("distill", Overrides(overrides, **given), say or (lambda text: None))


def test_the_student_is_as_wide_as_the_budget_allows_and_all_are_told(toy: Path) -> None:
    said: list[str] = []
    chosen = plan(toy, say=said.append, latency_budget="11ms")
    assert chosen.settings.student is not None
    assert chosen.settings.student.width == 5
    assert chosen.settings.teacher.network.width == 8
    assert "r0.625" in chosen.out.name
    assert chosen.shrink is not None
    told = {
        "by": "latency",
        "budget": "11ms",
        "asked_ms": 11.0,
        "width": 5,
        "teacher_ms": 16.0,
        "size": 32,
        "device": "cpu",
        "threads": torch.get_num_threads(),
    }
    assert chosen.shrink.items() >= told.items()
    assert 10 < chosen.shrink["measured_ms"] <= 11
    assert chosen.shrink["macs"] > 0
    assert describe_run(chosen, None)["shrink"] == chosen.shrink
    (line,) = said
    assert line.startswith(
        "`latency_budget` 11ms: mobile-resnet9 of width 5 and more in some layers"
    )
    assert "for one 32x32 image on cpu" in line


def test_the_student_is_never_wider_than_the_teacher(toy: Path) -> None:
    chosen = plan(toy, latency_budget="1s")
    assert chosen.settings.student is not None
    assert chosen.settings.student.width == 8


def test_a_budget_that_nothing_meets_costs_one_line_with_what_there_is(toy: Path) -> None:
    with pytest.raises(ConfigError, match="`latency_budget` 1ms: .* width 1 takes 2.* ms .* 32x32"):
        plan(toy, latency_budget="1ms")


@pytest.mark.parametrize(
    "given",
    [
        {"ratio": 0.5},
        {"student_width": 4},
        {"overrides": {"student": {"width": 4}}},
        {"overrides": {"student": {"channels": [1] * 14}}},
    ],
)
def test_a_width_that_is_given_otherwise_contradicts_a_budget(
    toy: Path, given: dict[str, Any], measured: list[int]
) -> None:
    with pytest.raises(ConfigError, match="`latency_budget`: give one of them"):
        plan(toy, latency_budget="11ms", **given)
    assert measured == []


def test_mistakes_in_other_options_are_found_before_anything_is_measured(
    toy: Path, measured: list[int]
) -> None:
    with pytest.raises(ConfigError, match="lambda_l1"):
        plan(toy, latency_budget="11ms", overrides={"adversarial": {"lambda_l1": 3.0}})
    assert measured == []


@pytest.fixture
def run(toy: Path, tmp_path: Path) -> Path:
    begun = plan(toy, latency_budget="11ms", out=tmp_path / "run")
    with writing_run(begun.out, resume=False) as folder:
        folder.write_config(describe_run(begun, None))
    return begun.out


@pytest.mark.parametrize("budget", [None, "11ms", "0.011s"])
def test_a_resumed_run_keeps_its_width_and_measures_nothing(
    toy: Path, run: Path, budget: str | None, measured: list[int]
) -> None:
    measured.clear()
    resumed = plan(toy, out=run, resume=True, latency_budget=budget)
    assert resumed.settings.student is not None
    assert resumed.settings.student.width == 5
    assert measured == []


def test_a_resumed_run_takes_no_other_budget(toy: Path, run: Path) -> None:
    with pytest.raises(ConfigError, match="`latency_budget` 12ms: the run in .* another"):
        plan(toy, out=run, resume=True, latency_budget="12ms")
    with pytest.raises(ConfigError, match="`shrink` ratio `budget` 50%: the run in .* another"):
        plan(toy, out=run, resume=True, shrink="ratio", budget="50%")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"shrink": None}))
    with pytest.raises(ConfigError, match="`latency_budget` 11ms: the run in .* or none"):
        plan(toy, out=run, resume=True, latency_budget="11ms")


def test_a_run_of_before_goes_on_with_its_budget(toy: Path, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    older = {"latency_budget": {"asked_ms": 11.0, "width": 5}, "shrink": None}
    (run / "config.json").write_text(json.dumps(config | older))
    assert plan(toy, out=run, resume=True, latency_budget="11ms").resume
    with pytest.raises(ConfigError, match="`latency_budget` 12ms: the run in .* another"):
        plan(toy, out=run, resume=True, latency_budget="12ms")


def test_resuming_by_the_default_name_would_need_the_width(toy: Path) -> None:
    with pytest.raises(ConfigError, match="`resume=True` with `latency_budget`: .*`out`"):
        plan(toy, resume=True, latency_budget="11ms")


def test_a_clock_measures_the_student_in_turns_with_the_teacher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # of what measures by the width
    teacher, student = (build_network("mobile-resnet6", width=width).eval() for width in (4, 2))
    clock = Clock(teacher, 16, torch.device("cpu"), num_runs=3)
    load = iter([1.0, 2.0])  # the second time the machine is half as fast

    def timed(runs: Any, **given: Any) -> Any:
        for run in runs.values():
            run()
        slower = next(load)
        return {
            name: LatencyOf(ms * slower, ms, ms, 3)
            for name, ms in (("teacher", 40.0), ("student", 10.0))
        }

    monkeypatch.setattr("gancomp.shrink.budget.time_in_turns", timed)
    assert clock.ms(student) == 10.0
    assert clock.ms(student) == 10.0 * 1.5  # a quarter of the teacher's median so far
