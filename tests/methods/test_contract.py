"""What every method must keep, run over each line of the registry and both tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from builders import random_batch, small_generator, small_method, small_task, snapshot

from gancomp.config import RunSettings, ScheduleSettings
from gancomp.engine.fit import Loop, run_step
from gancomp.engine.run import RunFolder
from gancomp.methods.base import Method
from gancomp.registry import METHODS

CASES = [(method, task, frozen) for method in METHODS for task in ("unpaired", "paired")
         for frozen in (False, True) if not (frozen and method == "teacher-only")]  # fmt: skip


def loop_of(method: Method) -> Loop:
    return Loop(
        method=method,
        run=RunFolder(Path("unused")),
        settings=RunSettings(),
        schedule=ScheduleSettings(),
        device=torch.device("cpu"),
        steps_per_epoch=10,
        batches=lambda step: iter(()),
        periodic=[],
        saved=lambda step: None,
        view=None,
    )


def built(name: str, task: str, frozen: bool) -> Method:
    return small_method(name, small_task(task, frozen=frozen))


def test_the_cases_cover_every_method_and_task() -> None:
    assert len(CASES) >= 2 * len(METHODS)


@pytest.mark.parametrize(("name", "task", "frozen"), CASES)
def test_each_phase_changes_its_module_and_nothing_else(name: str, task: str, frozen: bool) -> None:
    method = built(name, task, frozen)
    phases = method.phases()
    for phase in phases:
        method._phases = [phase]
        before = snapshot({"": method})
        if phase.name == "discriminator" and not frozen:
            # its losses lean on what the teacher's phase computed in the same step
            method._phases = [phases[0], phase]
        run_step(loop_of(method), 0, random_batch())
        changed = {
            key
            for key, value in snapshot({"": method}).items()
            if not torch.equal(value, before[key])
        }
        allowed = parameters_of(method, method._phases)
        method._phases = phases
        assert changed
        assert {key for key in changed if not is_statistic(key)} <= allowed


def parameters_of(method: Method, phases: list) -> set[str]:
    ids = {id(item) for phase in phases for item in phase.module.parameters()}
    return {f".{name}" for name, item in method.named_parameters() if id(item) in ids}


def is_statistic(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize(("name", "task", "frozen"), CASES)
def test_ten_steps_are_finite_and_named(name: str, task: str, frozen: bool) -> None:
    method = built(name, task, frozen)
    for index in range(10):
        losses = run_step(loop_of(method), index, random_batch(seed=index))
        assert all(torch.isfinite(term) for term in losses.values())
        assert {key.split("/")[0] for key in losses} == {phase.name for phase in method.phases()}


@pytest.mark.parametrize("task", ["unpaired", "paired"])
def test_a_frozen_teacher_does_not_change_in_any_bit(task: str) -> None:
    method = built("dcd", task, True)
    before = snapshot({"teacher": method.task.generator})
    for index in range(5):
        run_step(loop_of(method), index, random_batch(seed=index))
    after = snapshot({"teacher": method.task.generator})
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize(("name", "task", "frozen"), CASES)
def test_a_step_is_the_same_bit_for_bit_when_repeated_from_the_same_seed(
    name: str, task: str, frozen: bool
) -> None:
    results = []
    for _ in range(2):
        method = built(name, task, frozen)
        for index in range(3):
            run_step(loop_of(method), index, random_batch(seed=index))
        results.append(snapshot(method.networks()))
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


@pytest.mark.parametrize("name", [name for name in METHODS if name != "teacher-only"])
def test_no_network_runs_more_often_than_the_equations_ask(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = built(name, "unpaired", False)
    counts: dict[str, int] = {}
    for role, network in (("teacher", method.task.generator), ("student", method.student)):
        monkeypatch.setattr(network, "walk", counted(network.walk, counts, role))
    run_step(loop_of(method), 0, random_batch())
    # teacher: the translation, the cycle back to the target, the identity; student: once
    assert counts == {"teacher": 3, "student": 1}


def counted(walk: object, counts: dict[str, int], role: str) -> object:
    def call(images: torch.Tensor) -> object:
        counts[role] = counts.get(role, 0) + 1
        return walk(images)

    return call


def test_a_frozen_teacher_with_batch_norm_keeps_its_running_statistics_from_the_first_step() -> (
    None
):
    teacher = small_generator(norm="batch")
    task = small_task("paired", frozen=True, generator=teacher)
    method = small_method("dcd", task)
    before = snapshot({"teacher": teacher})
    run_step(loop_of(method), 0, random_batch())
    after = snapshot({"teacher": teacher})
    assert any(key.endswith("running_mean") for key in before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
