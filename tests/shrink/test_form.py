"""Budgets of time in the form that will be deployed, by a clock that counts channels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import small_generator
from commands import run_command, write_model
from shrink_builders import setup_of

from gancomp.data.demo_set import write_demo_set
from gancomp.engine.run import writing_run
from gancomp.errors import ConfigError, RunError
from gancomp.metrics.latency import Latency
from gancomp.networks.base import TappedNetwork
from gancomp.planning.plan import Plan, make_plan
from gancomp.recipes.shrink import show_shrunk
from gancomp.registry import SHRINKERS, options_type, resolve
from gancomp.settings import NetworkSettings, Overrides
from gancomp.shrink.base import ShrinkRequest
from gancomp.shrink.budget import TIMES, Clock
from gancomp.shrink.kept import KeptLines
from gancomp.shrink.options import FormOptions, WidthOptions
from gancomp.shrink.width import Width
from gancomp.training.steps import describe_run

TEACHER = NetworkSettings("mobile-resnet6", 8)


class Opened:
    """A network that was turned into the form."""

    how = "runtime 1.0, bf16"

    def __init__(self, network: TappedNetwork) -> None:
        self.network = network

    def __call__(self, inputs: Any, /) -> Any:
        return inputs


class StandIn:
    """A form that remembers what was turned into it."""

    def __init__(self, format: str, precision: str = "fp32") -> None:
        self.name = f"{format} {precision}"
        self.widths: list[int] = []

    def __call__(self, network: TappedNetwork, size: Any) -> Opened:
        self.widths.append(network.width)
        return Opened(network)


@pytest.fixture(autouse=True)
def form(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form, a network takes as many ms as its width; the last layers add a little."""
    monkeypatch.setattr("gancomp.planning.shrinking.DeployedForm", StandIn)

    def by_width(clock: Clock, network: TappedNetwork) -> float:
        assert clock.form is not None
        clock.form(network, clock.size)
        clock._medians.append(16.0)
        return network.width + sum(network.layer_widths["channels"][-2:]) / 100

    monkeypatch.setattr(Clock, "ms", by_width)


def request(most: str, say: Callable[[str], None] = lambda text: None) -> ShrinkRequest:
    read = Width(WidthOptions()).read("", most)
    form = StandIn("openvino", "bf16")
    return ShrinkRequest(TEACHER, TEACHER, read, f"`budget` {most}", 32, "cpu", say=say, form=form)


def test_all_ways_that_take_times_take_their_form() -> None:
    having = [name for name in SHRINKERS if issubclass(options_type(name, "shrinker"), FormOptions)]
    assert set(SHRINKERS) - set(having) == {"ratio", "dmad"}
    assert {item.name for item in fields(FormOptions)} == {"budget_format", "budget_precision"}


def test_few_networks_are_exported_and_what_was_found_says_in_which_form() -> None:
    said: list[str] = []
    wanted = request("5.5ms", said.append)
    shrunk = Width(WidthOptions()).shrink(wanted)
    assert shrunk.found["width"] == 5
    told = {"runtime": "runtime 1.0, bf16", "device": "cpu", "teacher_ms": 16.0}
    assert shrunk.found.items() >= told.items()
    (line,) = said
    assert f"ms ({torch.get_num_threads()} threads, runtime 1.0, bf16) for one 32x32" in line

    assert isinstance(wanted.form, StandIn)
    # the teacher, three widths and one again, six of each of two fillings, and what is chosen again
    assert len(wanted.form.widths) <= 18


def test_a_time_that_cannot_be_reached_is_refused_with_the_least_and_the_form() -> None:
    with pytest.raises(
        ConfigError,
        match=r"`budget` 0.9ms: .* of width 1 takes 1.\d+ ms \(.*, runtime 1.0, bf16\) .*; give m",
    ):
        Width(WidthOptions()).shrink(request("0.9ms"))


def test_single_layers_that_met_a_time_by_luck_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def lucky_once(clock: Clock, network: TappedNetwork) -> float:
        clock._medians.append(16.0)
        channels = tuple(network.layer_widths["channels"])
        seen.append(channels)
        is_whole = len({*channels[3:-2]} | {channels[2]}) == 1 and network.settings().get(
            "channels"
        ) in (None, [])
        return network.width + (0.0 if is_whole or seen.count(channels) == 1 else 0.9)

    monkeypatch.setattr(Clock, "ms", lucky_once)
    shrunk = Width(WidthOptions()).shrink(request("5.5ms"))
    assert shrunk.student.width == 5
    assert shrunk.student == TEACHER.changed(width=5)


def test_teacher_and_student_are_timed_in_the_same_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # of the clock that counts channels
    form = StandIn("openvino", "bf16")
    clock = Clock(small_generator(4), 16, torch.device("cpu"), num_runs=3, form=form)

    def timed(runs: Any, **given: Any) -> Any:
        for run in runs.values():
            run()
        return {name: Latency(ms, ms, ms, 3) for name, ms in (("teacher", 40), ("student", 10))}

    monkeypatch.setattr("gancomp.shrink.budget.time_in_turns", timed)
    assert clock.ms(small_generator(2)) == 10.0
    assert form.widths == [4, 2]
    assert clock.facts(10.0)["runtime"] == "runtime 1.0, bf16"


def test_times_of_another_form_are_refused(tmp_path: Path) -> None:
    def clock(form: Any) -> Clock:
        found = Clock(small_generator(4), 16, torch.device("cpu"), form=form)
        found.keep_in(KeptLines(tmp_path / TIMES))
        return found

    clock(StandIn("openvino")).of_settings(NetworkSettings("mobile-resnet6", 3))
    (line,) = (tmp_path / TIMES).read_text().splitlines()
    assert json.loads(line)["form"] == "openvino fp32"
    again = StandIn("openvino")
    clock(again).of_settings(NetworkSettings("mobile-resnet6", 3))
    assert again.widths == [4]  # the teacher alone
    for other, name in ((StandIn("onnx"), "onnx fp32"), (None, "gancomp")):
        with pytest.raises(RunError, match=rf"line 1 is a time of openvino fp32, .* {name}; remo"):
            clock(other)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets") / "toy"
    write_demo_set(root, size=32, train=2, test=1)
    return root


def plan(toy: Path, **given: Any) -> Plan:
    overrides = {
        "data": {"dataset": str(toy), "size": 32},
        "teacher": {"network": {"width": 8}},
        "perceptual": {"source": "none"},
        "run": {"device": "cpu"},
    }
    return make_plan("distill", Overrides(overrides, **given), lambda text: None)


OPENVINO = {"budget_format": "openvino", "budget_precision": "bf16"}


def test_a_resumed_run_keeps_its_form(toy: Path, tmp_path: Path) -> None:
    asked = {"latency_budget": "5.5ms"}
    begun = plan(toy, out=tmp_path / "run", shrink_options=OPENVINO, **asked)
    assert begun.settings.student is not None
    assert begun.settings.student.width == 5
    assert begun.shrink is not None
    assert begun.shrink["options"] == OPENVINO
    with writing_run(begun.out, resume=False) as folder:
        folder.write_config(describe_run(begun, None))

    def resumed(**options: Any) -> Plan:
        return plan(toy, out=begun.out, resume=True, shrink_options=options, **asked)

    for options in (OPENVINO, {}):
        student = resumed(**options).settings.student
        assert student is not None
        assert student.width == 5
    for other in ({"budget_format": "onnx"}, {**OPENVINO, "budget_precision": "fp32"}):
        with pytest.raises(ConfigError, match=r"`budget_\w+` \w+: the run in .* another"):
            resumed(**other)


def test_a_form_is_of_times_alone(toy: Path) -> None:
    with pytest.raises(ConfigError, match="`budget_format` openvino: .* 2G is no time; remove"):
        plan(toy, shrink="width", budget="2G", shrink_options=OPENVINO)
    with pytest.raises(ConfigError, match="`budget_precision` bf16: needs `budget_format` openv"):
        plan(toy, latency_budget="5ms", shrink_options={"budget_precision": "bf16"})
    with pytest.raises(
        ConfigError, match=r"`budget_format`: `shrink` dmad has no such option; .* latency\|width"
    ):
        plan(toy, shrink="dmad", budget="2G", shrink_options=OPENVINO)


def test_without_a_way_to_shrink_only_those_that_take_a_form_are_offered(toy: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(toy, ratio=0.5, shrink_options=OPENVINO)
    said = str(caught.value)
    offered = said.partition("needs `shrink` ")[2].removesuffix(" or `latency_budget`").split("|")
    assert said == f"`budget_format`: needs `shrink` {'|'.join(offered)} or `latency_budget`"
    takes_one = [
        name for name in SHRINKERS if issubclass(options_type(name, "shrinker"), FormOptions)
    ]
    assert offered == takes_one
    with pytest.raises(ConfigError, match=r"`min_share`: needs `shrink` [a-z|-]+$"):
        plan(toy, shrink_options={"min_share": 0.2})


@pytest.mark.parametrize("name", ["cat", "magnitude"])
def test_pruning_takes_a_form_too(name: str) -> None:
    if name == "magnitude":
        pytest.importorskip("torch_pruning", reason="needs the extra prune")
    shrinker = resolve(SHRINKERS, "shrink", name)(options_type(name, "shrinker")())
    asked = setup_of(shrinker, "4.1ms", teacher=small_generator(4, norm="batch")).request
    said: list[str] = []
    found = shrinker.shrink(replace(asked, form=StandIn("onnx"), say=said.append)).found
    assert "threads, runtime 1.0, bf16)" in said[-1]
    assert found["runtime"] == "runtime 1.0, bf16"
    assert found["measured_ms"] <= 4.1


def test_the_saved_student_is_timed_once_more_in_the_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, out = write_model(tmp_path / "t.safetensors", width=4), tmp_path / "s.safetensors"
    by_width = Clock.ms

    def slower_at_last(clock: Clock, network: TappedNetwork) -> float:
        return by_width(clock, network) * (2 if out.exists() else 1)

    monkeypatch.setattr(Clock, "ms", slower_at_last)
    typed = f"shrink {teacher} --by width --budget 6ms --budget-format openvino -o {out} --json"
    outcome = run_command(capsys, *typed.split())
    document = outcome.document
    assert document["runtime"] == document["shrink"]["runtime"] == "runtime 1.0, bf16"
    assert document["shrink"]["measured_ms"] <= 6 < 8 < document["student"]["ms"]
    assert "warning: --by width --budget 6ms: measured once more, it took 8" in outcome.err
    show_shrunk(document)
    assert "ms (runtime 1.0, bf16," in capsys.readouterr().out
