"""`--compile`: what each way turns on, and which one `auto` takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import trial_stand_ins
from builders import small_method

from gancomp.console import ConsoleView
from gancomp.data.demo_set import write_demo_set
from gancomp.engine.graphs import Graphs
from gancomp.engine.trials import FAILED, Limit
from gancomp.networks.fused import Chain
from gancomp.planning.plan import Plan, make_plan
from gancomp.recipes.distill import distill
from gancomp.settings import Json, Overrides, RunSettings
from gancomp.training import ways
from gancomp.training.steps import make_reader
from gancomp.training.ways import (
    WAYS,
    Chosen,
    Silent,
    Trial,
    choose_way,
    fastest,
    trial_of,
    use_way,
    without_a_gpu,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CARD = "A GPU"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    write_demo_set(root, size=32, train=3, test=2)
    return root


def values_of(dataset: Path) -> Json:
    return {
        "data": {"dataset": str(dataset), "size": 32, "load_size": 32},
        "teacher": {"network": {"arch": "mobile-resnet6", "width": 4}},
        "student": {"width": 2},
        "discriminator": {"width": 4, "layers": 1},
        "perceptual": {"source": "none"},
        "run": {"workers": 0, "device": "cpu"},
    }


def plan_of(dataset: Path, out: Path) -> Plan:
    return make_plan("distill", Overrides(settings=values_of(dataset), out=out), print)


def test_every_way_is_a_value_of_the_option() -> None:
    for way in ("auto", *WAYS):
        assert RunSettings(compile=way).compile == way


def test_a_way_turns_on_what_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "speed_up", lambda *_, compiled, say: done.append(compiled))
    monkeypatch.setattr(ways, "why_not_fused", lambda device: None)
    monkeypatch.setattr(ways, "why_no_graphs", lambda method, device: None)
    monkeypatch.setattr(ways, "Graphs", lambda method, **_: "graphs")
    seen = {}
    for way in WAYS:
        done: list[str] = []
        method = small_method(perceptual=False)
        graphs = use_way(method, CUDA, way, precision="fp32", say=pytest.fail)
        fused = {item.fused for item in method.modules() if isinstance(item, Chain)}
        assert len(fused) == 1
        seen[way] = (done, fused.pop(), graphs)
    assert seen == {
        "off": (["off"], False, None),
        "graphs": (["off"], False, "graphs"),
        "fused": (["off"], True, None),
        "fused+graphs": (["off"], True, "graphs"),
        "on": (["on"], False, None),
        "on+graphs": (["on"], False, "graphs"),
    }


def test_what_does_not_work_here_is_said_and_left_out() -> None:
    said: list[str] = []
    method = small_method(perceptual=False)
    assert use_way(method, CPU, "fused+graphs", precision="fp32", say=said.append) is None
    assert said == [
        f"`compile` fused+graphs: {reason} need an NVIDIA GPU; training goes on without"
        for reason in ("fused norms", "CUDA graphs")
    ]
    assert not any(item.fused for item in method.modules() if isinstance(item, Chain))


@pytest.mark.usefixtures("ready_processes")
def test_the_fastest_way_is_taken_and_none_that_fails_is_slower_or_does_something_else() -> None:
    tried = ("off", "slow", "fails", "other losses", "fast", "dies")
    chosen = fastest(trial_stand_ins.prepared, tried, Limit(seconds=60))
    assert chosen.way == "fast"
    assert chosen.trials["other losses"] == {FAILED: "a is 3 instead of 1.02"}
    assert chosen.sentence().startswith("`compile` auto takes fast after ")
    assert "s of trials (images/s: off 10.0, slow 5.0, fast 30.0; fails failed: Val" in (
        chosen.sentence()
    )
    assert chosen.to_json()["trials"]["fast"]["images_per_second"] == 30.0


@pytest.mark.usefixtures("ready_processes")
def test_without_a_plain_way_to_compare_with_the_plain_way_is_taken() -> None:
    chosen = fastest(trial_stand_ins.unprepared, ("off",), Limit(seconds=60))
    assert chosen.way == "off"
    assert "nothing could be timed; off failed: RuntimeError: no networks" in chosen.sentence()


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, way: str = "graphs") -> list[float]:
    """`choose_way` as it is where there is a GPU; notes for how long trials may go on."""
    limits: list[float] = []

    def tried(prepare: Any, names: Any, limit: Limit) -> Chosen:
        limits.append(limit.seconds)
        return Chosen(way, {"off": {FAILED: "so"}}, 1.0)

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: CARD)
    monkeypatch.setattr(ways, "fastest", tried)
    return limits


def test_auto_tries_on_a_gpu_and_only_for_a_run_that_is_long_enough(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, plan = on_a_gpu(monkeypatch), plan_of(dataset, tmp_path / "run")
    reader = make_reader(plan, Silent())

    def way_of(device: torch.device = CUDA, run: Json | None = None, **schedule: Any) -> str:
        settings = replace(
            plan.settings,
            run=replace(plan.settings.run, **(run or {})),
            schedule=replace(plan.settings.schedule, **schedule),
        )
        changed = replace(plan, settings=settings)
        return choose_way(changed, reader, device, say=lambda line: None).way

    assert way_of(CPU) == "off"
    assert way_of(CPU, run={"compile": "on"}) == "on"
    assert way_of(run={"compile": "on+graphs"}) == "on+graphs"
    assert way_of(max_steps=999) == "off"
    assert limits == []
    assert way_of(max_steps=1000) == "graphs"
    assert way_of(max_seconds=300.0) == "graphs"
    assert limits == [90.0, 30.0]


def test_what_needs_a_gpu_is_said_and_not_recorded_as_taken() -> None:
    said: list[str] = []
    assert [without_a_gpu(way, said.append) for way in ("on+graphs", "fused+graphs")] == [
        "on",
        "off",
    ]
    assert said == [
        f"`compile` {way}: needs an NVIDIA GPU; training goes on without"
        for way in ("on+graphs", "fused+graphs")
    ]


def test_a_run_that_goes_on_takes_what_it_took_on_the_same_gpu(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = on_a_gpu(monkeypatch, way="fused")
    plan = plan_of(dataset, tmp_path)
    reader = make_reader(plan, Silent())
    chosen = Chosen("graphs", {"off": {"images_per_second": 1.0}}, 3.0, CARD)
    config = {"settings": {}, "speed": chosen.to_json()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    say: Callable[[str], None] = lambda line: None  # noqa: E731  # shorter than a function
    assert choose_way(plan, reader, CUDA, say=say).way == "fused"
    resumed = replace(plan, resume=True)
    assert choose_way(resumed, reader, CUDA, say=say) == chosen
    config["speed"]["device"] = "another GPU"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert choose_way(resumed, reader, CUDA, say=say).way == "fused"
    assert len(limits) == 2


@pytest.mark.usefixtures("ready_processes")
def test_a_plan_s_ways_are_tried_by_another_process_on_the_plan_s_own_networks(
    dataset: Path, tmp_path: Path
) -> None:
    plan = plan_of(dataset, tmp_path / "run")
    before = torch.get_rng_state()
    prepare = trial_of(plan, make_reader(plan, Silent()), CPU)
    chosen = fastest(prepare, ("off", "graphs", "fused"), Limit(seconds=120))
    assert torch.equal(torch.get_rng_state(), before)
    assert not (tmp_path / "run").exists()
    off, graphs, fused = chosen.trials.values()
    assert off["images_per_second"] > 0
    assert set(off["losses"]) >= {"teacher/gan_forward", "student/gan"}
    assert chosen.way == "off"
    for found, name in ((graphs, "CUDA graphs"), (fused, "fused norms")):
        assert f"{name} need an NVIDIA GPU" in found[FAILED]


def test_every_way_is_tried_from_the_same_weights(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Call:
        def warm_up(self, work: Any) -> Any:
            return work()

        def record(self, work: Any) -> Any:
            return work

    def replayed(method: Any, device: Any, way: str, *, precision: str, say: Any) -> Any:
        if way != "graphs":
            return use_way(method, device, way, precision=precision, say=say)
        return Graphs(method, precision=precision, device=device, say=say, recorder=Call())

    monkeypatch.setattr(ways, "TIMED", 1)
    plan = plan_of(dataset, tmp_path / "run")
    trial = trial_of(plan, make_reader(plan, Silent()), CPU)()
    assert isinstance(trial, Trial)
    first = trial("off")["losses"]
    monkeypatch.setattr(ways, "use_way", replayed)
    assert trial("graphs")["losses"] == first == trial("off")["losses"]


def test_the_way_is_recorded_in_the_run(dataset: Path, tmp_path: Path) -> None:
    values = values_of(dataset) | {"schedule": {"max_steps": 1}}
    distill(Overrides(settings=values, out=tmp_path / "run"), ConsoleView())
    speed = json.loads((tmp_path / "run" / "config.json").read_text())["speed"]
    assert (speed["way"], speed["trials"], speed["device"]) == ("off", {}, "")
